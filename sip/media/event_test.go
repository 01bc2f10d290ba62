package media

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// sendAll presses the keys for d each and gives all packets with their times.
func sendAll(t testing.TB, s *sender, d time.Duration, pressed string) (packets []keyPacket) {
	var k keyPresser
	for _, key := range []byte(pressed) {
		code, ok := eventCode(key)
		if !ok || !k.press(code, d) {
			t.Fatalf("cannot press %c", key)
		}
	}
	for now := time.Duration(0); ; now += time.Millisecond {
		for {
			h, e, ok := k.next(s, 101, now)
			if !ok {
				break
			}
			packets = append(packets, keyPacket{now, h, e})
		}
		if _, more := k.deadline(); !more {
			return packets
		}
	}
}

type keyPacket struct {
	at time.Duration
	h  header
	e  event
}

func TestTimetableOfOnePress(t *testing.T) {
	s := sender{seq: 100, zero: 8000}
	var got string
	for _, p := range sendAll(t, &s, 50*time.Millisecond, "7") {
		got += fmt.Sprintf("%3d %d %d M%v E%v %d\n", p.at.Milliseconds(), p.h.seq, p.h.ts, p.h.marker, p.e.end, p.e.duration)
		if p.e.code != 7 || p.h.pt != 101 {
			t.Errorf("code %d, payload type %d", p.e.code, p.h.pt)
		}
	}
	const expect = `  0 100 8000 Mtrue Efalse 160
  0 101 8000 Mfalse Efalse 160
  0 102 8000 Mfalse Efalse 160
 20 103 8000 Mfalse Efalse 320
 40 104 8000 Mfalse Etrue 400
 60 105 8000 Mfalse Etrue 400
 80 106 8000 Mfalse Etrue 400
`
	if got != expect {
		t.Errorf("sent\n%sexpected\n%s", got, expect)
	}
	if s.next != 8400 || s.seq != 107 {
		t.Errorf("after it the sender is at %d, %d", s.next, s.seq)
	}
}

func TestPressIsNeitherTooShortNorTooLong(t *testing.T) {
	for _, d := range []time.Duration{0, time.Millisecond, time.Hour} {
		s := sender{}
		packets := sendAll(t, &s, d, "1")
		last := packets[len(packets)-1].e
		if !last.end || last.duration != 320 && last.duration != 65535 {
			t.Errorf("%v: ends with %+v", d, last)
		}
	}
}

func hear(k *keyListener, packets []keyPacket) (keys string) {
	for _, p := range packets {
		if key, ok := k.packet(p.h, p.e, p.at); ok {
			keys += string(key)
		}
	}
	return keys
}

func TestEachPressIsHeardOnce(t *testing.T) {
	s := sender{zero: 0xFFFFFF00} // wraps
	const all = "0123456789*#ABCD1123"
	var k keyListener
	if got := hear(&k, sendAll(t, &s, 80*time.Millisecond, all)); got != all {
		t.Errorf("heard %q", got)
	}
}

// Whatever single packets are lost, doubled or swapped, each press of which any
// packet arrives is heard once, in order.
func TestPressesSurviveABadNetwork(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 0))
		s := sender{zero: rng.Uint32()}
		const all = "1122*#90"
		var arrive []keyPacket
		presses := map[uint32]bool{}
		expect := ""
		i := -1
		for _, p := range sendAll(t, &s, time.Duration(40+rng.IntN(300))*time.Millisecond, all) {
			if p.h.marker {
				i++
			}
			if rng.IntN(100) < 30 {
				continue
			}
			arrive = append(arrive, p)
			if rng.IntN(100) < 10 {
				arrive = append(arrive, p)
			}
			if !presses[p.h.ts] {
				presses[p.h.ts] = true
				expect += all[i : i+1]
			}
		}
		for i := 1; i < len(arrive); i++ { // swap neighbours of one press
			if rng.IntN(100) < 10 && arrive[i].h.ts == arrive[i-1].h.ts {
				arrive[i].h, arrive[i-1].h = arrive[i-1].h, arrive[i].h
				arrive[i].e, arrive[i-1].e = arrive[i-1].e, arrive[i].e
			}
		}
		var k keyListener
		if got := hear(&k, arrive); got != expect {
			t.Fatalf("seed %d: heard %q, expected %q", seed, got, expect)
		}
	}
}

func TestPresses(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	start := func(at int, ts uint32, code uint8) keyPacket {
		return keyPacket{ms(at), header{marker: true, ts: ts, ssrc: 1}, event{code: code, duration: 160}}
	}
	update := func(at int, ts uint32, code uint8, d uint16) keyPacket {
		return keyPacket{ms(at), header{ts: ts, ssrc: 1}, event{code: code, duration: d}}
	}
	end := func(at int, ts uint32, code uint8, d uint16) keyPacket {
		return keyPacket{ms(at), header{ts: ts, ssrc: 1}, event{code: code, duration: d, end: true}}
	}
	for _, c := range []struct {
		name    string
		packets []keyPacket
		keys    string
	}{
		{"only the end arrives", []keyPacket{end(0, 1000, 5, 800)}, "5"},
		{"ends lost, the same key again", []keyPacket{start(0, 1000, 5), start(120, 1960, 5)}, "55"},
		{"ends and the next marker lost", []keyPacket{start(0, 1000, 5), update(300, 3400, 5, 320)}, "55"},
		{"copies of the end come late", []keyPacket{start(0, 1000, 5), end(80, 1000, 5, 640), end(2000, 1000, 5, 640)}, "5"},
		{"an overtaken end of the press before", []keyPacket{start(0, 1000, 5), start(90, 1800, 6), end(95, 1000, 5, 640)}, "56"},
		{"held for more than 8 s", []keyPacket{start(0, 1000, 5), update(8100, 1000, 5, 64800), update(8192, 1000, 5, 65535), update(8212, 66535, 5, 160), end(8232, 66535, 5, 320)}, "5"},
		{"a phone whose timestamp grows with each packet", []keyPacket{start(0, 1000, 5), update(20, 1160, 5, 160), update(40, 1320, 5, 160), end(60, 1480, 5, 160)}, "5"},
		{"a flash is no key", []keyPacket{start(0, 1000, 16)}, ""},
		{"another source counts for itself", []keyPacket{start(0, 1000, 5), {ms(20), header{ts: 1000, ssrc: 2}, event{code: 5}}}, "55"},
		{"timestamps begin anew", []keyPacket{start(0, 900000, 5), end(50, 900000, 5, 400), start(5000, 10, 5)}, "55"},
	} {
		var k keyListener
		if got := hear(&k, c.packets); got != c.keys {
			t.Errorf("%s: heard %q, expected %q", c.name, got, c.keys)
		}
	}
}

func TestHeldUpShardSendsNoBurst(t *testing.T) {
	var k keyPresser
	var s sender
	k.press(1, 500*time.Millisecond)
	for now := time.Duration(0); now < 2*time.Second; now += 300 * time.Millisecond {
		n := 0
		for {
			if _, _, ok := k.next(&s, 101, now); !ok {
				break
			}
			n++
		}
		if n > starts {
			t.Errorf("%d packets at once", n)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte{5, 10, 0, 160, 5, 0x8A, 3, 32}, uint32(1000), byte(20))
	f.Fuzz(func(t *testing.T, b []byte, ts uint32, step byte) {
		var k keyListener
		for i := 0; i+eventLength <= len(b); i += eventLength {
			e, ok := parseEvent(b[i:])
			if !ok {
				t.Fatal("four bytes are an event")
			}
			h := header{marker: i%8 == 0, ts: ts + uint32(i)*uint32(step)}
			now := time.Duration(i) * time.Duration(step) * time.Millisecond
			key, pressed := k.packet(h, e, now)
			if _, known := eventCode(key); pressed && !known {
				t.Errorf("pressed %q", key)
			}
			if _, again := k.packet(h, e, now); again {
				t.Error("one packet twice is two presses")
			}
			var out [eventLength]byte
			e.put(out[:])
			if e2, _ := parseEvent(out[:]); e2 != e {
				t.Errorf("%+v written and read is %+v", e, e2)
			}
		}
	})
}
