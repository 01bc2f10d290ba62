package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"hotline/sip/media"
)

// wavFile makes a WAV file of the given format.
func wavFile(tag, channels uint16, rate uint32, bits uint16, sound []byte) []byte {
	u16, u32 := binary.LittleEndian.AppendUint16, binary.LittleEndian.AppendUint32
	b := append(u32([]byte("RIFF"), uint32(4+24+8+4+8+len(sound))), "WAVEfmt "...)
	b = u16(u16(u32(b, 16), tag), channels)
	b = u32(u32(b, rate), rate*uint32(channels*bits/8))
	b = u16(u16(b, channels*bits/8), bits)
	b = append(u32(append(b, "LIST"...), 3), "abc\x00"...) // an odd chunk that nobody knows
	return append(u32(append(b, "data"...), uint32(len(sound))), sound...)
}

func TestReadWAV(t *testing.T) {
	for _, row := range []struct {
		name string
		file []byte
		want []int16
		err  string
	}{
		{"16 bit", wavFile(1, 1, 8000, 16, []byte{1, 0, 0xff, 0xff}), []int16{1, -1}, ""},
		{"µ-law", wavFile(7, 1, 8000, 8, []byte{0xff, 0x80}), []int16{0, 32124}, ""},
		{"A-law", wavFile(6, 1, 8000, 8, []byte{0xd5}), []int16{8}, ""},
		{"cut short", wavFile(1, 1, 8000, 16, []byte{1, 0, 2, 0})[:44+12+2], []int16{1}, ""},
		{"wrong rate", wavFile(1, 1, 44100, 16, []byte{1, 0}), nil, "it has 44100 Hz and 1 channels; want 8 kHz mono WAV"},
		{"stereo", wavFile(1, 2, 8000, 16, []byte{1, 0, 1, 0}), nil, "8000 Hz and 2 channels"},
		{"8 bit PCM", wavFile(1, 1, 8000, 8, []byte{1}), nil, "its format is 1 with 8 bits"},
		{"empty", wavFile(1, 1, 8000, 16, nil), nil, "it holds no sound"},
		{"not a WAV", []byte("ID3 something else"), nil, "not a WAV file"},
		{"no format", append([]byte("RIFF\x00\x00\x00\x00WAVEdata\x02\x00\x00\x00"), 1, 0), nil, "no fmt chunk"},
	} {
		t.Run(row.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "a.wav")
			if err := os.WriteFile(name, row.file, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := readWAV(name)
			if row.err == "" && err != nil || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
				t.Fatalf("error %v, want %q", err, row.err)
			}
			if !reflect.DeepEqual(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func FuzzParseWAV(f *testing.F) {
	f.Add(wavFile(1, 1, 8000, 16, []byte{1, 0, 2, 0}))
	f.Add(wavFile(wavExtensible, 1, 8000, 16, []byte{1, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if pcm, err := parseWAV(b); (err == nil) == (len(pcm) == 0) {
			t.Fatalf("%d samples, %v", len(pcm), err)
		}
	})
}

func TestTone(t *testing.T) {
	clip, err := sound("tone:440")
	if err != nil {
		t.Fatal(err)
	}
	if clip.Samples() != sampleRate {
		t.Errorf("%d samples", clip.Samples())
	}
	if s := share(sine(440), 440); s < 0.999 {
		t.Errorf("share %.4f", s)
	}
	if s := share(sine(440), 880); s > 0.001 {
		t.Errorf("share of the octave %.4f", s)
	}
}

// TestRecordingFollowsRTPTime: packets lie where their timestamps say, whatever the order and
// jitter of their arrival; what is missing is silence.
func TestRecordingFollowsRTPTime(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.wav")
	begun := time.Now()
	r, err := startRecorder(name, begun)
	if err != nil {
		t.Fatal(err)
	}
	loud := func(v byte) []byte {
		b := make([]byte, 160)
		for i := range b {
			b[i] = v
		}
		return b
	}
	ms := func(n int) time.Time { return begun.Add(time.Duration(n) * time.Millisecond) }
	const first = 0xffffff00 // timestamps wrap within the call
	ts := func(packet uint32) uint32 { return first + 160*packet }
	r.Heard(ms(100), ts(0), media.PCMU, loud(0x80))
	r.Heard(ms(155), ts(3), media.PCMU, loud(0x80)) // 1 is lost, 2 comes later
	r.Heard(ms(156), ts(2), media.PCMA, loud(0xaa))
	r.Heard(ms(157), ts(2), media.PCMA, loud(0xaa))
	r.Heard(ms(1000), 77, media.PCMU, loud(0x80)) // a new source
	if err := r.close(ms(1500)); err != nil {
		t.Fatal(err)
	}
	pcm, err := readWAV(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(pcm) != 12000 {
		t.Errorf("%d samples, want 1.5 s", len(pcm))
	}
	for _, row := range []struct {
		from, to int // ms
		loud     bool
	}{{0, 100, false}, {100, 120, true}, {120, 140, false}, {140, 180, true}, {180, 1000, false}, {1000, 1020, true}, {1020, 1500, false}} {
		for i := row.from * 8; i < row.to*8; i++ {
			if (pcm[i] != 0) != row.loud {
				t.Fatalf("sample %d is %d, want loud %t from %d to %d ms", i, pcm[i], row.loud, row.from, row.to)
			}
		}
	}
}

func TestKeys(t *testing.T) {
	const s = time.Second
	least := keyLength + keyPause
	for _, row := range []struct {
		text string
		want []press
	}{
		{"", nil},
		{"1,2", []press{{s, '1'}, {2 * s, '2'}}},
		{"12", []press{{s, '1'}, {least, '2'}}},
		{",a,,#", []press{{3 * s, 'A'}, {4 * s, '#'}}},
	} {
		got, err := parseKeys(row.text, s, 2*s)
		if err != nil || !reflect.DeepEqual(got, row.want) {
			t.Errorf("%q: %v, %v", row.text, got, err)
		}
	}
}
