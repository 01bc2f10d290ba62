package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"hotline/sip/media"
)

// toneLevel is the peak of generated tones, about -12 dB of full scale.
const toneLevel = 8000

// sound reads what --play names: "tone:440" is a sine of that many Hz, everything
// else a WAV file.
func sound(name string) (*media.Clip, error) {
	hz, isTone := strings.CutPrefix(name, "tone:")
	if !isTone {
		pcm, err := readWAV(name)
		if err != nil {
			return nil, err
		}
		return media.NewClip(pcm), nil
	}
	n, err := strconv.Atoi(hz)
	if err != nil || n < 20 || n > 3800 {
		return nil, fmt.Errorf("%q: want tone:FREQUENCY with 20 to 3800 Hz, for example tone:440", name)
	}
	return media.NewClip(sine(n)), nil
}

// sine is one second of a tone at 8 kHz. A whole number of periods fits, so that it
// loops without a click.
func sine(hz int) []int16 {
	pcm := make([]int16, sampleRate)
	for i := range pcm {
		pcm[i] = int16(math.Round(toneLevel * math.Sin(2*math.Pi*float64(hz*i%sampleRate)/sampleRate)))
	}
	return pcm
}
