package media

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// A phone must never notice what we do behind its back: prompt, music, keys,
// one agent, another agent, hold. This test plays random stories through the
// structs that number packets and looks at what comes out.
func TestOneContinuousSource(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := sender{ssrc: 99, seq: uint16(rng.Uint32()), zero: rng.Uint32()}
		var r relay
		now := time.Duration(rng.IntN(1e9))
		var sent []header
		var gaps int // numbers that are missing on purpose: loss that we mirror
		note := func(h header) { sent = append(sent, h) }

		for range 12 {
			switch rng.IntN(4) {
			case 0: // silence
				now += time.Duration(rng.IntN(3000)) * time.Millisecond
			case 1: // a prompt, sometimes cut off, on a jittery shard
				p := player{clips: []*Clip{NewClip(make([]int16, 1+rng.IntN(16000)))}}
				for range rng.IntN(200) {
					for {
						ts, ok, _ := p.next(&s, now)
						if !ok {
							break
						}
						var b [frameSize]byte
						p.fill(b[:], PCMU)
						note(s.take(ts, frameSize, 0))
					}
					now += time.Duration(1+rng.IntN(10)) * time.Millisecond
				}
			case 2: // a key
				var k keyPresser
				k.press(uint8(rng.IntN(16)), time.Duration(rng.IntN(300))*time.Millisecond)
				for {
					for {
						h, _, ok := k.next(&s, 101, now)
						if !ok {
							break
						}
						note(h)
					}
					now += 5 * time.Millisecond
					if _, more := k.deadline(); !more {
						break
					}
				}
			case 3: // a bridge to a phone with loss, comfort noise and keys
				r.part()
				seq, ts, ssrc := uint16(rng.Uint32()), rng.Uint32(), rng.Uint32()
				drift := time.Duration(rng.IntN(9)-4) * 4 * time.Microsecond // per packet: 200 ppm
				first, lost := true, 0
				for i := range rng.IntN(300) {
					switch x := rng.IntN(100); {
					case x < 5:
						lost++
					case x < 8:
						r.skip(header{seq: seq, ts: ts, ssrc: ssrc})
					default:
						h, ok := r.pass(&s, header{seq: seq, ts: ts, ssrc: ssrc}, frameSize, false, now)
						if !ok {
							t.Fatalf("seed %d: packet %d in order did not pass", seed, i)
						}
						if first != h.marker {
							t.Fatalf("seed %d: packet %d: marker %v", seed, i, h.marker)
						}
						if !first {
							gaps += lost
						}
						first, lost = false, 0
						note(h)
					}
					seq++
					ts += frameSize
					now += frame + drift
				}
			}
		}
		for i := 1; i < len(sent); i++ {
			a, b := sent[i-1], sent[i]
			step := b.seq - a.seq
			gaps -= int(step) - 1
			if b.ssrc != 99 || step == 0 || step > 100 {
				t.Fatalf("seed %d: %+v follows %+v", seed, b, a)
			}
			if int32(b.ts-a.ts) < 0 || a.pt != 101 && b.pt != 101 && int32(b.ts-a.ts) < frameSize {
				t.Fatalf("seed %d: timestamps overlap: %+v follows %+v", seed, b, a)
			}
			if b.pt != 101 && a.pt != 101 && step == 1 && b.ts-a.ts > 60*frameSize && !b.marker {
				t.Fatalf("seed %d: no marker after silence: %+v follows %+v", seed, b, a)
			}
		}
		if gaps != 0 {
			t.Fatalf("seed %d: %d numbers too few or too many are missing", seed, -gaps)
		}
		if len(sent) > 0 {
			if ahead := int32(s.next - s.clock(now)); ahead > 8000 {
				t.Fatalf("seed %d: timestamps are %d samples ahead of time", seed, ahead)
			}
		}
	}
}

func TestRelayOfReorderedPackets(t *testing.T) {
	var r relay
	s := sender{ssrc: 99, seq: 500, zero: 0}
	pass := func(seq uint16, expect int) {
		t.Helper()
		h, ok := r.pass(&s, header{seq: seq, ts: uint32(seq) * frameSize, ssrc: 1}, frameSize, false, time.Second)
		if ok != (expect >= 0) || ok && int(h.seq) != expect {
			t.Errorf("%d became %d %v, expected %d", seq, h.seq, ok, expect)
		}
	}
	pass(10, 500)
	pass(12, 502)
	pass(11, 501) // late, in its place
	pass(9, -1)   // from before the bridge
	r.skip(header{seq: 13, ssrc: 1})
	pass(14, 503)
	pass(12, -1) // its number may have been passed on
	pass(15, 504)
	r.skip(header{seq: 14, ssrc: 1}) // late and kept back
	pass(16, 505)
	if s.seq != 506 {
		t.Errorf("the next own packet is %d", s.seq)
	}
}

func TestRelayOfASourceThatCountsAnew(t *testing.T) {
	for name, h := range map[string]header{
		"another SSRC":           {seq: 11, ts: 11 * frameSize, ssrc: 2},
		"timestamp back":         {seq: 11, ts: 5, ssrc: 1},
		"timestamp far ahead":    {seq: 11, ts: 1 << 20, ssrc: 1},
		"sequence far ahead":     {seq: 11000, ts: 11 * frameSize, ssrc: 1},
		"everything at once":     {seq: 40000, ts: 1 << 31, ssrc: 3},
		"key from another world": {seq: 11, ts: 1 << 20, ssrc: 1, pt: 101},
	} {
		var r relay
		s := sender{ssrc: 99, seq: 500}
		first, _ := r.pass(&s, header{seq: 10, ts: 10 * frameSize, ssrc: 1}, frameSize, false, time.Second)
		next, ok := r.pass(&s, h, frameSize, h.pt == 101, time.Second+frame)
		if !ok || next.seq != first.seq+1 || next.ts != first.ts+frameSize || !next.marker {
			t.Errorf("%s: %+v follows %+v", name, next, first)
		}
	}
	// A pause is no new count, however long.
	var r relay
	s := sender{ssrc: 99, seq: 500}
	first, _ := r.pass(&s, header{seq: 10, ts: 0, ssrc: 1}, frameSize, false, 0)
	next, _ := r.pass(&s, header{seq: 11, ts: 80000, ssrc: 1}, frameSize, false, 10*time.Second)
	if next.marker || next.ts-first.ts != 80000 {
		t.Errorf("after a pause: %+v follows %+v", next, first)
	}
}

func TestSenderFollowsTheClockThroughSilence(t *testing.T) {
	s := sender{ssrc: 1, seq: 65535, zero: 1000}
	ts, wait := s.open(time.Second)
	if ts != 9000 || wait != 0 {
		t.Errorf("opens at %d after %v", ts, wait)
	}
	if h := s.take(ts, frameSize, 0); !h.marker || h.seq != 65535 {
		t.Errorf("first packet %+v", h)
	}
	if h := s.take(ts+frameSize, frameSize, 0); h.marker || h.seq != 0 {
		t.Errorf("second packet %+v", h)
	}
	// New sound before the old one was heard to its end waits for that.
	if ts, wait = s.open(time.Second + 35*time.Millisecond); ts != 9320 || wait != 5*time.Millisecond {
		t.Errorf("opens at %d after %v", ts, wait)
	}
	if ts, wait = s.open(10 * time.Second); ts != 81000 || wait != 0 {
		t.Errorf("opens at %d after %v", ts, wait)
	}
	if h := s.take(ts, frameSize, 0); !h.marker {
		t.Error("no marker after silence")
	}
	// A bridged phone whose clock was fast has carried us ahead: no waiting.
	s.reached(81000, 16000)
	if ts, wait = s.open(10 * time.Second); ts != 97000 || wait != 0 || s.clock(10*time.Second) != 97000 {
		t.Errorf("opens at %d after %v", ts, wait)
	}
}

func TestPlayerPacesByAbsoluteTime(t *testing.T) {
	sound := toneIn(PCMU, 1000) // 6.25 packets
	var s sender
	p := player{clips: []*Clip{nil, NewClipG711(PCMU, sound[:333]), NewClipG711(PCMU, nil), NewClipG711(PCMU, sound[333:])}}
	var heard []byte
	n := 0
	for now := 7 * time.Millisecond; ; now += 7 * time.Millisecond { // a tick that fits nothing
		ts, ok, ended := p.next(&s, now)
		if ended {
			// The seventh packet has been heard to its end: 7·20 ms after 7 ms.
			if now != 147*time.Millisecond {
				t.Errorf("ended at %v", now)
			}
			break
		}
		if !ok {
			continue
		}
		if now < 7*time.Millisecond+time.Duration(n)*frame || now >= 14*time.Millisecond+time.Duration(n)*frame {
			t.Errorf("packet %d at %v", n, now)
		}
		if expect := uint32(56 + n*frameSize); ts != expect {
			t.Errorf("packet %d has timestamp %d, expected %d", n, ts, expect)
		}
		b := make([]byte, frameSize)
		p.fill(b, PCMU)
		s.take(ts, frameSize, 0)
		heard = append(heard, b...)
		n++
	}
	expect := append(bytes.Clone(sound), bytes.Repeat([]byte{0xFF}, 7*frameSize-1000)...)
	if !bytes.Equal(heard, expect) {
		t.Error("the clips were not played as they are")
	}
}

func TestPlayerCatchesUpWithoutABurst(t *testing.T) {
	var s sender
	p := player{clips: []*Clip{NewClip(make([]int16, 8000))}}
	count := func(now time.Duration) (n int, last header) {
		for {
			ts, ok, _ := p.next(&s, now)
			if !ok {
				return n, last
			}
			var b [frameSize]byte
			p.fill(b[:], PCMU)
			last = s.take(ts, frameSize, 0)
			n++
		}
	}
	if n, _ := count(0); n != 1 {
		t.Errorf("%d packets at once", n)
	}
	if n, h := count(45 * time.Millisecond); n != 2 || h.marker {
		t.Errorf("a little late: %d packets", n)
	}
	if n, _ := count(time.Second); n != maxCatchUp {
		t.Errorf("very late: %d packets", n)
	}
	if n, h := count(time.Second + frame); n != 1 || !h.marker || h.ts != 8160 {
		t.Errorf("then %d packets, %+v", n, h)
	}
	if played := p.at; played != (1+2+maxCatchUp+1)*frameSize {
		t.Errorf("%d samples were played: some were left out", played)
	}
}

func TestLoopGoesRound(t *testing.T) {
	sound := toneIn(PCMA, 100)
	p := player{clips: []*Clip{NewClipG711(PCMA, sound)}, loop: true, at: 90}
	b := make([]byte, 260)
	p.fill(b, PCMA)
	expect := append(append(append(bytes.Clone(sound[90:]), sound...), sound...), sound[:50]...)
	if !bytes.Equal(b, expect) {
		t.Error("the loop has a seam")
	}
}

func TestPortPairs(t *testing.T) {
	if _, err := newPortPool(PortRange{20001, 20002}); err == nil {
		t.Error("a range without a pair was accepted")
	}
	if _, err := newPortPool(PortRange{}); err == nil {
		t.Error("no range was accepted")
	}
	p, err := newPortPool(PortRange{65527, 65535})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint16]bool{}
	for range 4 {
		n, ok := p.take(0, rand.Uint32())
		if !ok || n%2 != 0 || n < 65528 || seen[n] {
			t.Errorf("took %d %v", n, ok)
		}
		seen[n] = true
	}
	if n, ok := p.take(0, 0); ok {
		t.Errorf("took %d although all are taken", n)
	}
	p.give(65530, 5*time.Second)
	if n, ok := p.take(4*time.Second, 0); ok {
		t.Errorf("took %d although it rests", n)
	}
	if n, ok := p.take(5*time.Second, 1<<31); !ok || n != 65530 {
		t.Errorf("took %d %v after its rest", n, ok)
	}
}

func TestSentinelsAreDistinct(t *testing.T) {
	all := []error{ErrNoPorts, ErrClosed, ErrBridged, ErrReplaced, ErrNoEvents, ErrTooManyKeys, ErrApart}
	for i, a := range all {
		for _, b := range all[i+1:] {
			if errors.Is(a, b) {
				t.Errorf("%v is %v", a, b)
			}
		}
	}
}
