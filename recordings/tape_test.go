package recordings

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"hotline/sip/media"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		recordUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

const packetTime = 20 * time.Millisecond

// word is a sample that tells its own number: a code that is never silence, and
// whose neighbours differ.
func word(i int) byte { return byte(i%97) + 1 }

// phone speaks words into a tap, 20 ms at a time.
type phone struct {
	tap  media.Tap
	law  media.Codec
	ts   uint32
	next int // the next word
}

// packet is the next 20 ms.
func (p *phone) packet() (uint32, []byte) {
	b := make([]byte, 160)
	for i := range b {
		b[i] = word(p.next + i)
	}
	ts := p.ts + uint32(p.next)
	p.next += len(b)
	return ts, b
}

func (p *phone) speaks() {
	ts, b := p.packet()
	p.tap.Heard(time.Now(), ts, p.law, b)
}

// loses is a packet that never arrives.
func (p *phone) loses() { p.packet() }

// records starts a tape at the bubble's now.
func records(t *testing.T, law media.Codec) *Tape {
	t.Helper()
	tape, err := Start(Options{Dir: t.TempDir(), Call: "c1", Started: time.Now(), Codec: law})
	if err != nil {
		t.Fatal(err)
	}
	return tape
}

func closes(t *testing.T, tape *Tape) Summary {
	t.Helper()
	s, err := tape.Close()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lasts expects a length to the frame.
func (s sound) lasts(t *testing.T, d time.Duration) {
	t.Helper()
	if got := length(int64(len(s.left))); got != d || len(s.left) != len(s.right) {
		t.Errorf("the file lasts %v left and %v right, want %v", got, length(int64(len(s.right))), d)
	}
}

// says expects so many words on one side, word i at frame from+i, silence where
// missing says so, and silence around them.
func says(t *testing.T, side []byte, hush byte, from, words int, missing func(i int) bool) {
	t.Helper()
	for frame, b := range side {
		i := frame - from
		want := hush
		if i >= 0 && i < words && (missing == nil || !missing(i)) {
			want = word(i)
		}
		if b != want {
			t.Fatalf("frame %d is %#x, want %#x (word %d)", frame, b, want, i)
		}
	}
}

func TestBothSidesAreWhereTheyWereSpoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tape := records(t, media.PCMU)
		caller := &phone{tap: tape.Caller(), ts: 77}
		agent := &phone{tap: tape.Agent(), ts: 4_294_960_000} // wraps around after 0.9 s
		time.Sleep(time.Second)
		for range 100 {
			caller.speaks()
			time.Sleep(10 * time.Millisecond)
			agent.speaks()
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(500 * time.Millisecond)
		s := closes(t, tape)
		got := read(t, tape.File())
		got.lasts(t, 3500*time.Millisecond)
		says(t, got.left, 0xFF, 8000, 16000, nil)
		says(t, got.right, 0xFF, 8080, 16000, nil)
		if want := (Summary{File: tape.File(), Length: 3500 * time.Millisecond, Bytes: 58 + 56000}); s != want {
			t.Errorf("summary %+v, want %+v", s, want)
		}
	})
}

func TestFile(t *testing.T) {
	started := time.Date(2031, 1, 2, 1, 30, 0, 0, time.FixedZone("Hanoi", 7*3600)) // still 1 January in UTC
	dir := t.TempDir()
	o := Options{Dir: dir, Call: "01J-a.b", Started: started}
	tape, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "2031/01/01/01J-a.b.wav"); tape.File() != want {
		t.Errorf("the file is %s, want %s", tape.File(), want)
	}
	if st, err := os.Stat(tape.File()); err != nil || st.Mode().Perm()&^0o640 != 0 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if st, err := os.Stat(filepath.Dir(tape.File())); err != nil || st.Mode().Perm()&^0o750 != 0 {
		t.Errorf("mode of the folder %v, %v", st.Mode(), err)
	}
	read(t, tape.File()) // valid from the first moment
	if _, err := Start(o); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second recording of the call: %v", err)
	}
	first, err := tape.Close()
	if err != nil {
		t.Fatal(err)
	}
	if second, err := tape.Close(); err != nil || second != first {
		t.Errorf("closed again: %+v, %v; first %+v", second, err, first)
	}
	tape.Caller().Heard(time.Now(), 1, media.PCMU, make([]byte, 160)) // nobody minds

	for name, o := range map[string]Options{
		"no name":    {Dir: dir, Started: started},
		"a path":     {Dir: dir, Call: "../x", Started: started},
		"a folder":   {Dir: dir, Call: "x/y", Started: started},
		"hidden":     {Dir: dir, Call: ".x", Started: started},
		"no time":    {Dir: dir, Call: "x"},
		"no law":     {Dir: dir, Call: "x", Started: started, Codec: 9},
		"not a path": {Dir: tape.File(), Call: "x", Started: started},
	} {
		if tape, err := Start(o); err == nil {
			t.Errorf("%s: recording to %s", name, tape.File())
		}
	}
}

// The file runs on the wall clock also when nobody speaks, and while it does.
func TestFileIsValidAtEveryMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tape := records(t, media.PCMA)
		caller := &phone{tap: tape.Caller(), law: media.PCMA, ts: 5}
		began := time.Now()
		for i := range 500 {
			if i >= 100 && i < 200 {
				caller.speaks()
			}
			time.Sleep(packetTime)
			synctest.Wait()
			behind := time.Since(began) - length(int64(len(read(t, tape.File()).left)))
			if behind < 0 || behind > 650*time.Millisecond {
				t.Fatalf("after %v the file is %v behind", time.Since(began), behind)
			}
		}
		closes(t, tape)
		got := read(t, tape.File())
		got.lasts(t, 10*time.Second)
		says(t, got.left, 0xD5, 16000, 16000, nil)
		says(t, got.right, 0xD5, 0, 0, nil)
	})
}

func TestStartedEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tape, err := Start(Options{Dir: t.TempDir(), Call: "c", Started: time.Now().Add(-3 * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		caller := &phone{tap: tape.Caller()}
		caller.speaks()
		time.Sleep(packetTime)
		closes(t, tape)
		got := read(t, tape.File())
		got.lasts(t, 3020*time.Millisecond)
		says(t, got.left, 0xFF, 24000, 160, nil)
	})
}

// A side that loses every seventh packet keeps its length.
func TestLossIsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tape := records(t, media.PCMU)
		caller := &phone{tap: tape.Caller(), ts: 1 << 31}
		agent := &phone{tap: tape.Agent()}
		for i := range 1000 {
			agent.speaks()
			if i%7 == 6 {
				caller.loses()
			} else {
				caller.speaks()
			}
			time.Sleep(packetTime)
		}
		closes(t, tape)
		got := read(t, tape.File())
		got.lasts(t, 20*time.Second)
		says(t, got.left, 0xFF, 0, 160_000, func(i int) bool { return i/160%7 == 6 })
		says(t, got.right, 0xFF, 0, 160_000, nil)
	})
}

// Packets come doubled, out of order and up to 60 ms late: the file does not
// show it.
func TestNetworkShuffles(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := seeded(t, seed)
			tape := records(t, media.PCMU)
			caller := &phone{tap: tape.Caller(), ts: r.Uint32()}
			var wait sync.WaitGroup
			var one sync.Mutex // a tap is called by one goroutine at a time
			for i := range 200 {
				ts, b := caller.packet()
				for range 1 + r.IntN(2) {
					late := time.Duration(r.Int64N(int64(60 * time.Millisecond)))
					if i == 0 {
						late = 0
					}
					wait.Go(func() {
						time.Sleep(late)
						one.Lock()
						defer one.Unlock()
						tape.Caller().Heard(time.Now(), ts, media.PCMU, b)
					})
				}
				time.Sleep(packetTime)
			}
			wait.Wait()
			s := closes(t, tape)
			got := read(t, tape.File())
			says(t, got.left, 0xFF, 0, 32_000, nil)
			if s.Lost != 0 || s.Late != 0 {
				t.Errorf("summary %+v", s)
			}
		})
	}
}

func TestLongAndShortPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tape := records(t, media.PCMU)
		next := 0
		for _, n := range []int{80, 160, 240, 480, 800, 1, 7, 1400, 0, 32} {
			b := make([]byte, n)
			for i := range b {
				b[i] = word(next + i)
			}
			tape.Agent().Heard(time.Now(), uint32(next), media.PCMU, b)
			next += n
			time.Sleep(length(int64(n)))
		}
		closes(t, tape)
		says(t, read(t, tape.File()).right, 0xFF, 0, next, nil)
	})
}

// One law per file: the side that speaks the other one is converted.
func TestOneLaw(t *testing.T) {
	for _, law := range []media.Codec{media.PCMU, media.PCMA} {
		synctest.Test(t, func(t *testing.T) {
			tape := records(t, law)
			all := make([]byte, 256)
			for i := range all {
				all[i] = byte(i)
			}
			tape.Caller().Heard(time.Now(), 0, media.PCMU, all)
			tape.Agent().Heard(time.Now(), 0, media.PCMA, all)
			time.Sleep(length(256))
			closes(t, tape)
			got := read(t, tape.File())
			if got.law != law {
				t.Fatalf("the file's law is %v, want %v", got.law, law)
			}
			for i := range all {
				left, right := byte(i), media.ALawToULaw(byte(i))
				if law == media.PCMA {
					left, right = media.ULawToALaw(byte(i)), byte(i)
				}
				if got.left[i] != left || got.right[i] != right {
					t.Fatalf("code %#x is %#x left and %#x right, want %#x and %#x", i, got.left[i], got.right[i], left, right)
				}
			}
		})
	}
}

// After a transfer another agent's phone, with another clock, has the right side.
func TestAnotherAgentTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tape := records(t, media.PCMU)
		first := &phone{tap: tape.Agent(), ts: 9000}
		second := &phone{tap: tape.Agent(), ts: 3_000_000_000}
		for range 50 {
			first.speaks()
			time.Sleep(packetTime)
		}
		time.Sleep(time.Second)
		for range 50 {
			second.speaks()
			time.Sleep(packetTime)
		}
		closes(t, tape)
		got := read(t, tape.File())
		says(t, got.right[:12_000], 0xFF, 0, 8000, nil)
		says(t, got.right[12_000:], 0xFF, 4000, 8000, nil)
	})
}

func TestSilence(t *testing.T) {
	for _, law := range []media.Codec{media.PCMU, media.PCMA} {
		decode := media.DecodeULaw
		if law == media.PCMA {
			decode = media.DecodeALaw
		}
		if x := decode(silence(law)); x < -8 || x > 8 {
			t.Errorf("the silence of %v is %d", law, x)
		}
		for code := range 256 {
			x := decode(byte(code))
			if got, want := silent([]byte{byte(code)}, law), x >= -210 && x <= 210; got != want {
				t.Errorf("%v code %#x, which is %d: silent %v", law, code, x, got)
			}
		}
	}
}

func TestHeardDoesNotAllocate(t *testing.T) {
	tape := newTape(Options{Call: "c1", Started: time.Now()}, "x.wav", &fakeDisk{})
	tap, b, now := tape.Caller(), make([]byte, 160), time.Now()
	if n := testing.AllocsPerRun(1000, func() { tap.Heard(now, 1, media.PCMU, b) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

// Shard and writer at full speed, for the race detector: every sound that the
// ring did not refuse comes out, once and in order.
func TestRing(t *testing.T) {
	var r ring
	const packets = 20_000
	done := make(chan struct{})
	go func() { // ends after the last packet
		defer close(done)
		rnd := rand.New(rand.NewPCG(1, 1))
		for i := range uint32(packets) {
			r.push(0, i, media.PCMU, make([]byte, 1+rnd.IntN(160)))
		}
	}()
	var popped, samples int
	last := int64(-1)
	for finished := false; ; {
		h := r.oldest()
		if h == nil {
			if finished {
				break
			}
			select {
			case <-done:
				finished = true
			default:
			}
			continue
		}
		if int64(h.ts) <= last {
			t.Fatalf("%d after %d", h.ts, last)
		}
		last = int64(h.ts)
		popped++
		samples += int(h.samples)
		r.drop()
	}
	if popped == packets && r.lost.Load() > 0 || popped < packets && r.lost.Load() == 0 {
		t.Errorf("%d of %d packets, %d samples lost", popped, packets, r.lost.Load())
	}
}

func BenchmarkHeard(b *testing.B) {
	tape := newTape(Options{Call: "c1", Started: time.Now()}, "x.wav", &fakeDisk{})
	tap, payload, now := tape.Caller(), make([]byte, 160), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		tap.Heard(now, 1, media.PCMU, payload)
		tape.caller.ring.drop()
	}
}

// BenchmarkWriter is the cost of a packet from the ring to the file, with the
// usual two sides and 20 packets a flush.
func BenchmarkWriter(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "x.wav"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	tape := newTape(Options{Call: "c1", Started: time.Now()}, "x.wav", f)
	caller, agent := &phone{tap: tape.Caller()}, &phone{tap: tape.Agent()}
	_, payload := caller.packet()
	at, packets := time.Duration(0), 0
	b.ReportAllocs()
	for b.Loop() {
		for range 20 {
			caller.tap.(*side).ring.push(at, uint32(packets*80), media.PCMU, payload)
			agent.tap.(*side).ring.push(at, uint32(packets*80), media.PCMU, payload)
			at += packetTime
			packets += 2
		}
		now := tape.frame(at)
		tape.collect(now)
		tape.advance(now - settle)
		if tape.written > 1<<24 { // don't fill the disk
			tape.written, tape.base = 0, 0
			tape.caller.place, tape.agent.place = placer{}, placer{}
			tape.pending, at, packets = tape.pending[:0], 0, 0
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*40), "ns/packet")
}
