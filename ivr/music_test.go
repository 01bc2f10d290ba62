package ivr

import (
	"bytes"
	"math"
	"testing"
	"time"

	"hotline/sip/media"
)

func TestMusic(t *testing.T) {
	pcm := compose()
	if !bytes.Equal(media.NewClip(pcm).Bytes(media.PCMU), Music().Bytes(media.PCMU)) {
		t.Error("the music is not the same twice")
	}
	if first := Music(); first != Music() {
		t.Error("the music is computed more than once")
	}
	if d := Music().Duration(); d < 30*time.Second || d > 60*time.Second {
		t.Errorf("the loop takes %v", d)
	}

	x := make([]float64, len(pcm))
	for i, v := range pcm {
		x[i] = float64(v) / 32768
	}
	if level := rms(x); level < -26 || level > -20 {
		t.Errorf("the level is %.1f dB", level)
	}
	if peak := loudest(x); peak > 0.7 {
		t.Errorf("the loudest sample is %.2f of full scale", peak)
	}
	// It never falls silent and never jumps out at the caller.
	for i := 0; i+musicRate/2 <= len(x); i += musicRate / 2 {
		if level := rms(x[i : i+musicRate/2]); level < -34 || level > -15 {
			t.Errorf("the level at %.1f s is %.1f dB", float64(i)/musicRate, level)
		}
	}

	// No step, at the seam least of all: the second difference of what is played
	// twice is nowhere larger than the notes themselves make it.
	bend := func(i int) float64 {
		n := len(x)
		return math.Abs(x[(i+1)%n] - 2*x[i%n] + x[(i+n-1)%n])
	}
	var most float64
	for i := musicRate; i < len(x)-musicRate; i++ {
		most = max(most, bend(i))
	}
	if most > 0.15 {
		t.Errorf("there is a click: a bend of %.3f", most)
	}
	for i := len(x) - 100; i < len(x)+100; i++ {
		if b := bend(i); b > most {
			t.Errorf("sample %d from the seam bends by %.3f, the rest by %.3f at most", i-len(x), b, most)
		}
	}

	// Both laws carry it.
	for _, law := range []media.Codec{media.PCMU, media.PCMA} {
		decode := media.DecodeULaw
		if law == media.PCMA {
			decode = media.DecodeALaw
		}
		noise := make([]float64, len(x))
		for i, b := range Music().Bytes(law) {
			noise[i] = float64(decode(b))/32768 - x[i]
		}
		if snr := rms(x) - rms(noise); snr < 33 {
			t.Errorf("%v carries the music with %.1f dB over its noise", law, snr)
		}
	}
}

func BenchmarkCompose(b *testing.B) {
	for b.Loop() {
		compose()
	}
}
