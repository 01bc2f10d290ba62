package recordings

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

const ms = rate / 1000 // frames

// packet of a simulated sender.
type packet struct {
	spoken  float64 // when its first sample was, on the timeline
	arrival int64
	ts      uint32
	silent  bool
}

// sender speaks packets of 20 ms for so many seconds.
type sender struct {
	seconds float64
	ppm     float64 // how much faster than ours its crystal is
	ts      uint32  // of its first packet
	delay   int64   // of the path, in frames
	jitter  int64   // at most, added to delay
	loss    float64 // share
	twice   float64 // share sent twice
	talks   bool    // has pauses: 2 s of speech, 0.6 s of silence
}

func (s sender) sends(r *rand.Rand) (out []packet) {
	n := int(s.seconds * 50 * (1 + s.ppm/1e6))
	for i := range n {
		spoken := float64(i) * 160 / (1 + s.ppm/1e6)
		p := packet{spoken: spoken, ts: s.ts + uint32(i*160)}
		p.silent = s.talks && i%130 >= 100
		p.arrival = int64(spoken) + 160 + s.delay
		if s.jitter > 0 {
			p.arrival += r.Int64N(s.jitter)
		}
		if i == 0 || r.Float64() >= s.loss {
			out = append(out, p)
		}
		if i > 0 && r.Float64() < s.twice {
			p.arrival += r.Int64N(100 * ms)
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b packet) int { return cmp.Compare(a.arrival, b.arrival) })
	return out
}

// floorAt is how far the file is settled when a packet arrives.
func floorAt(arrival int64) int64 { return max(0, arrival-settle-1) }

func seeded(t *testing.T, seed uint64) *rand.Rand {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// Whatever is lost, doubled or overtaken, a packet's place is where its
// timestamp says, counted from the first one.
func TestPlaceIsTheTimestamps(t *testing.T) {
	for seed := range uint64(200) {
		r := seeded(t, seed)
		s := sender{
			seconds: 30,
			ts:      r.Uint32(),
			delay:   r.Int64N(80 * ms),
			jitter:  1 + r.Int64N(35*ms), // beyond 20 ms packets overtake each other
			loss:    r.Float64() * 0.3,
			twice:   r.Float64() * 0.2,
			talks:   seed%2 == 0,
		}
		if seed%3 == 0 {
			s.ts = -uint32(r.IntN(30 * rate)) // wraps around on the way
		}
		var p placer
		var first packet
		var base int64
		for i, k := range s.sends(r) {
			frame, ok := p.place(k.arrival, k.ts, 160, k.silent, floorAt(k.arrival))
			if i == 0 {
				first, base = k, frame
			}
			if want := base + int64(int32(k.ts-first.ts)); !ok && want >= floorAt(k.arrival) || ok && frame != want {
				t.Fatalf("packet %d is at %d, %v; want %d", i, frame, ok, want)
			}
		}
	}
}

// A crystal that is wrong by 200 ppm gains or loses 0.7 s in an hour. The file
// never departs from the truth by more than 100 ms, with pauses or without.
func TestDriftOfAnHour(t *testing.T) {
	for _, ppm := range []float64{-200, 0, 200} {
		for _, talks := range []bool{true, false} {
			r := seeded(t, 1)
			s := sender{seconds: 3600, ppm: ppm, ts: 4_000_000_000, delay: 30 * ms, jitter: 30 * ms, loss: 0.02, talks: talks}
			var p placer
			var corrections, heard int
			var last packet
			var lastFrame int64
			for i, k := range s.sends(r) {
				frame, ok := p.place(k.arrival, k.ts, 160, k.silent, floorAt(k.arrival))
				if !ok {
					t.Fatalf("packet %d found no place", i)
				}
				off := float64(frame) - (k.spoken + 160 + 30*ms)
				if off < -100*ms || off > 100*ms {
					t.Fatalf("%v ppm: packet %d, %.0f s into the call, is off by %.0f ms", ppm, i, k.spoken/rate, off/ms)
				}
				if i > 0 && frame-lastFrame != int64(int32(k.ts-last.ts)) {
					corrections++
					if !k.silent && !last.silent && int32(k.ts-last.ts) == 160 {
						heard++
					}
				}
				last, lastFrame = k, frame
			}
			if talks && heard > 0 {
				t.Errorf("%v ppm: %d of %d corrections were in the middle of speech", ppm, heard, corrections)
			}
			if corrections > 80 {
				t.Errorf("%v ppm: corrected %d times in an hour", ppm, corrections)
			}
			if ppm == 0 && corrections > 0 {
				t.Errorf("corrected %d times without drift", corrections)
			}
		}
	}
}

// step feeds one packet of 20 ms of speech and checks its place.
type step struct {
	arrival int64
	ts      uint32
	frame   int64
}

func (p *placer) walk(t *testing.T, steps []step) {
	t.Helper()
	for i, s := range steps {
		frame, ok := p.place(s.arrival, s.ts, 160, false, floorAt(s.arrival))
		if !ok || frame != s.frame {
			t.Fatalf("step %d: packet %d that arrived at %d is at %d, %v; want %d", i, s.ts, s.arrival, frame, ok, s.frame)
		}
	}
}

func TestJumps(t *testing.T) {
	for name, steps := range map[string][]step{
		"another source":               {{0, 1000, 0}, {160, 1160, 160}, {400, 900_000, 400}, {560, 900_160, 560}},
		"another source, earlier":      {{0, 900_000, 0}, {160, 900_160, 160}, {400, 1000, 400}, {560, 1160, 560}},
		"another source, half around":  {{0, 0, 0}, {160, 160, 160}, {400, 1<<31 + 9, 400}, {560, 1<<31 + 169, 560}},
		"its second packet first":      {{0, 900_000, 0}, {400, 1160, 400}, {560, 1320, 560}, {600, 1160, 400}},
		"clock stopped while on hold":  {{0, 1000, 0}, {80_000, 1160, 80_000}, {80_160, 1320, 80_160}},
		"silence by not sending":       {{0, 1000, 0}, {80_000, 81_000, 80_000}, {80_160, 81_160, 80_160}},
		"right after the one before":   {{0, 1000, 0}, {160, 1160, 160}, {200, 900_000, 320}, {320, 900_160, 480}},
		"the path becomes slower":      {{0, 1000, 0}, {160, 1160, 160}, {3520, 1320, 1919}, {3680, 1480, 2079}},
		"straggler across a new start": {{0, 1000, 0}, {160, 1160, 160}, {480, 900_000, 480}, {500, 1320, 640}},
	} {
		t.Run(name, func(t *testing.T) {
			var p placer
			p.walk(t, steps)
		})
	}
}

// A packet that comes after its place was settled is refused, unless it is the
// newest: then the path has become slower.
func TestTooLate(t *testing.T) {
	var p placer
	p.walk(t, []step{{0, 0, 0}, {160, 160, 160}, {480, 480, 480}})
	if frame, ok := p.place(4000, 320, 160, false, 3000); ok {
		t.Errorf("a packet of long ago is placed at %d", frame)
	}
	if frame, ok := p.place(500, 320, 160, false, 400); !ok || frame != 320 {
		t.Errorf("a packet of which the end fits is at %d, %v", frame, ok)
	}
}

// The first packet was held up on its way: the others are early against it. The
// file returns to the truth in the first pause, and cuts no word for it.
func TestFirstPacketLate(t *testing.T) {
	var p placer
	const held = 70 * ms
	end := int64(0)
	for i := range int64(500) {
		arrival := i * 160
		if i == 0 {
			arrival += held
		}
		silent := i >= 200 && i < 240
		frame, _ := p.place(max(arrival, held), uint32(i*160), 160, silent, 0)
		if !silent && i < 200 && frame < end {
			t.Fatalf("packet %d at %d covers what was said until %d", i, frame, end)
		}
		end = frame + 160
		if i == 499 && frame != arrival {
			t.Errorf("at the end the file is off by %d ms", (frame-arrival)/ms)
		}
	}
}

// FuzzPlace: whatever a peer sends, no packet is placed far from its arrival,
// since the file's memory is bounded by that.
func FuzzPlace(f *testing.F) {
	f.Add([]byte{0, 0, 0, 160, 1, 1, 255, 255, 2, 0, 3, 128})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p placer
		var arrival int64
		var ts uint32
		for ; len(b) >= 4; b = b[4:] {
			arrival += int64(b[0]) << (b[1] % 12)
			switch b[2] % 4 {
			case 0:
				ts += 160
			case 1:
				ts += uint32(b[3]) << (b[1] >> 3)
			case 2:
				ts -= uint32(b[3]) << (b[1] >> 3)
			}
			n := 1 + int64(b[3])%160
			frame, ok := p.place(arrival, ts, n, b[2]&64 != 0, floorAt(arrival))
			if !ok {
				continue
			}
			if frame > arrival+jump+n || frame+n <= floorAt(arrival)-jump {
				t.Fatalf("a packet that arrived at %d is placed at %d", arrival, frame)
			}
		}
	})
}

func BenchmarkPlace(b *testing.B) {
	var p placer
	var i int64
	for b.Loop() {
		p.place(i*160, uint32(i*160), 160, false, i*160-settle)
		i++
	}
}
