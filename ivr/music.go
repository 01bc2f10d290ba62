package ivr

import (
	"math"
	"sync"

	"hotline/sip/media"
)

// Music is what callers hear while they wait: 48 s of our own making, to be
// looped; its end runs into its beginning. It is computed once, when it is
// first asked for, and is the same on every run.
func Music() *media.Clip { return music() }

var music = sync.OnceValue(func() *media.Clip { return media.NewClip(compose()) })

const (
	musicRate  = 8000
	beat       = musicRate * 3 / 4 // 80 beats a minute
	bar        = 4 * beat
	bars       = 16
	musicLevel = 0.075 // RMS of full scale: -22.5 dBFS
)

// Chords as MIDI notes, low to high, one per bar: a slow turn through G major
// that never quite arrives, so that the loop has no obvious end.
var harmony = [bars][4]int{
	{43, 59, 62, 67}, {40, 59, 64, 67}, {48, 60, 64, 67}, {50, 57, 62, 66},
	{43, 59, 62, 67}, {47, 57, 62, 66}, {48, 60, 64, 71}, {50, 60, 62, 66},
	{40, 59, 64, 67}, {45, 60, 64, 67}, {50, 57, 62, 66}, {43, 59, 62, 66},
	{48, 60, 64, 67}, {47, 59, 62, 67}, {45, 60, 64, 67}, {50, 57, 60, 66},
}

// The arpeggio walks over the chord in eighths; the second pattern is the
// answer to the first.
var walks = [2][8]int{{1, 2, 3, 2, 1, 3, 2, 3}, {3, 2, 1, 2, 3, 1, 2, 1}}

// compose renders the loop. What rings over the end goes on at the beginning.
func compose() []int16 {
	mix := make([]float64, bars*bar)
	for i, chord := range harmony {
		start := i * bar
		for _, note := range chord[1:] {
			pad(mix, start, note, 0.10)
		}
		bass := pluck{note: chord[0] + 12, gain: 0.32, fade: 1.4}
		bass.ring(mix, start)
		bass.gain = 0.18
		bass.ring(mix, start+2*beat+beat/2)
		for j, k := range walks[i%2] {
			p := pluck{note: chord[k] + 12, gain: 0.22, fade: 0.7}
			if j%4 != 0 {
				p.gain = 0.15
			}
			p.ring(mix, start+j*beat/2)
		}
	}

	var power float64
	for _, x := range mix {
		power += x * x
	}
	scale := musicLevel * 32768 / math.Sqrt(power/float64(len(mix)))
	pcm := make([]int16, len(mix))
	for i, x := range mix {
		pcm[i] = int16(math.Round(x * scale))
	}
	return pcm
}

// pluck is a struck string: a few harmonics, the higher ones gone sooner.
type pluck struct {
	note int     // MIDI
	gain float64 // of the fundamental
	fade float64 // s until the fundamental has a third of its strength
}

func (p pluck) ring(mix []float64, start int) {
	for harmonic, strength := range [...]float64{1, 0.35, 0.12} {
		n := float64(harmonic + 1)
		fade := p.fade / n
		length := int(5 * fade * musicRate)
		decay := math.Exp(-1 / (fade * musicRate))
		s := sine(pitch(p.note) * n)
		level := p.gain * strength
		for i, at := 0, start; i < length; i, at = i+1, at+1 {
			if at == len(mix) {
				at = 0
			}
			x := level * s.next()
			if edge := min(i, length-i); edge < 80 { // 10 ms: no click
				x *= float64(edge) / 80
			}
			mix[at] += x
			level *= decay
		}
	}
}

// pad is a held note that swells and goes, a little longer than its bar so that
// one chord melts into the next.
func pad(mix []float64, start, note int, gain float64) {
	const length = bar + beat
	a, b := sine(pitch(note)*0.9985), sine(pitch(note)*1.0015)
	swell := sine(1 / (2 * float64(length))) // half a wave over the note
	for i, at := 0, start; i < length; i, at = i+1, at+1 {
		if at == len(mix) {
			at = 0
		}
		mix[at] += gain * swell.next() * (a.next() + b.next())
	}
}

// pitch of a MIDI note in cycles a sample.
func pitch(note int) float64 {
	return 440 * math.Exp2(float64(note-69)/12) / musicRate
}

// oscillator makes a sine by recurrence: one multiplication a sample.
type oscillator struct{ turn, last, this float64 }

// sine starts at phase 0; cycles is the frequency in cycles a sample.
func sine(cycles float64) oscillator {
	w := 2 * math.Pi * cycles
	return oscillator{turn: 2 * math.Cos(w), last: math.Sin(-w)}
}

func (o *oscillator) next() float64 {
	x := o.this
	o.last, o.this = o.this, o.turn*o.this-o.last
	return x
}
