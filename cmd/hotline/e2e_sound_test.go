//go:build e2e

package main_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hotline/sip/media"
)

const soundRate = 8000 // samples a second, everywhere in these tests

// sound is linear samples of each channel at 8 kHz.
type sound [][]int16

// readSound reads a WAV file of 16-bit PCM, µ-law or A-law that a phone wrote.
func readSound(t *testing.T, file string) sound {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("read a sound: %v", err)
	}
	s, err := parseSound(b, false)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return s
}

// readRecording reads one of our recordings: the sizes in the header have to
// agree with the file, and there are two channels.
func readRecording(t *testing.T, file string) (caller, agent []int16) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("read a recording: %v", err)
	}
	s, err := parseSound(b, true)
	if err == nil && len(s) != 2 {
		err = fmt.Errorf("has %d channels", len(s))
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return s[0], s[1]
}

// parseSound: linphone's sizes are a little more than what it wrote.
func parseSound(b []byte, strict bool) (sound, error) {
	le := binary.LittleEndian
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, fmt.Errorf("is not a WAV file (%d bytes)", len(b))
	}
	if n := int64(le.Uint32(b[4:])); strict && n != int64(len(b))-8 {
		return nil, fmt.Errorf("RIFF size is %d in a file of %d bytes", n, len(b))
	}
	var tag, channels, bits int
	for b = b[12:]; len(b) >= 8; {
		id, size := string(b[:4]), int(le.Uint32(b[4:]))
		b = b[8:]
		if size > len(b) && !strict {
			size = len(b)
		}
		if size > len(b) {
			return nil, fmt.Errorf("chunk %q says %d bytes, and %d are left", id, size, len(b))
		}
		body := b[:size]
		b = b[min(size+size%2, len(b)):]
		switch id {
		case "fmt ":
			tag, channels, bits = int(le.Uint16(body)), int(le.Uint16(body[2:])), int(le.Uint16(body[14:]))
			if rate := le.Uint32(body[4:]); rate != soundRate {
				return nil, fmt.Errorf("has %d samples a second", rate)
			}
		case "data":
			return split(tag, channels, bits, body)
		}
	}
	return nil, fmt.Errorf("holds no sound")
}

func split(tag, channels, bits int, body []byte) (sound, error) {
	if channels == 0 {
		return nil, fmt.Errorf("sound before its format")
	}
	var pcm []int16
	switch {
	case tag == 1 && bits == 16:
		for i := 0; i+1 < len(body); i += 2 {
			pcm = append(pcm, int16(binary.LittleEndian.Uint16(body[i:])))
		}
	case tag == 7 && bits == 8:
		pcm = make([]int16, len(body))
		media.DecodeULaws(pcm, body)
	case tag == 6 && bits == 8:
		pcm = make([]int16, len(body))
		media.DecodeALaws(pcm, body)
	default:
		return nil, fmt.Errorf("has format %d with %d bits", tag, bits)
	}
	s := make(sound, channels)
	for i, v := range pcm {
		s[i%channels] = append(s[i%channels], v)
	}
	return s, nil
}

func lengthOf(pcm []int16) time.Duration {
	return time.Duration(len(pcm)) * time.Second / soundRate
}

// middle is the half of a sound around its middle, where a talk is under way.
func middle(pcm []int16) []int16 { return pcm[len(pcm)/4 : len(pcm)*3/4] }

// last is so much of a sound's end.
func last(pcm []int16, d time.Duration) []int16 {
	return pcm[max(0, len(pcm)-int(d.Seconds()*soundRate)):]
}

// share is how much of the energy lies at one frequency, from 0 to 1 (Goertzel's
// algorithm over windows of 100 ms, so that a jump of phase costs one window).
func share(pcm []int16, hz float64) float64 {
	const window = soundRate / 10
	var tone, all float64
	turn := 2 * math.Cos(2*math.Pi*hz/soundRate)
	for ; len(pcm) >= window; pcm = pcm[window:] {
		var s1, s2 float64
		for _, v := range pcm[:window] {
			x := float64(v)
			all += x * x
			s1, s2 = x+turn*s1-s2, s1
		}
		tone += 2 * (s1*s1 + s2*s2 - turn*s1*s2) / window
	}
	if all < 1 {
		return 0
	}
	return tone / all
}

// loudness is the root mean square of the samples.
func loudness(pcm []int16) float64 {
	if len(pcm) == 0 {
		return 0
	}
	var all float64
	for _, v := range pcm {
		all += float64(v) * float64(v)
	}
	return math.Sqrt(all / float64(len(pcm)))
}

// isTone asks that a sound is a tone and nothing much besides.
func isTone(t *testing.T, what string, pcm []int16, hz float64) {
	t.Helper()
	if got := share(pcm, hz); got < 0.9 || loudness(pcm) < 1000 {
		t.Errorf("%s: %.3f of the sound is the tone of %v Hz, want 0.9 (%v, loudness %.0f)",
			what, got, hz, lengthOf(pcm), loudness(pcm))
	}
}

// toneFile writes two minutes of a tone as WAV for phones that play files.
func toneFile(t *testing.T, hz int) string {
	t.Helper()
	const n = 120 * soundRate
	le := binary.LittleEndian
	b := append([]byte("RIFF"), 0, 0, 0, 0)
	le.PutUint32(b[4:], 36+2*n)
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 16)
	b = le.AppendUint16(b, 1)
	b = le.AppendUint16(b, 1)
	b = le.AppendUint32(b, soundRate)
	b = le.AppendUint32(b, 2*soundRate)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 16)
	b = append(b, "data"...)
	b = le.AppendUint32(b, 2*n)
	for i := range n {
		b = le.AppendUint16(b, uint16(int16(8000*math.Sin(2*math.Pi*float64(hz*i%soundRate)/soundRate))))
	}
	return keepFile(t, fmt.Sprintf("tone-%d.wav", hz), b)
}

// toneRaw writes a second of a tone as bare µ-law samples, which sipp repeats.
func toneRaw(t *testing.T, hz int) string {
	t.Helper()
	b := make([]byte, soundRate)
	for i := range b {
		b[i] = media.EncodeULaw(int16(8000 * math.Sin(2*math.Pi*float64(hz*i%soundRate)/soundRate)))
	}
	return keepFile(t, fmt.Sprintf("tone-%d.ul", hz), b)
}

func keepFile(t *testing.T, name string, b []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}
