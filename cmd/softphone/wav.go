package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"hotline/sip/media"
)

// sampleRate of everything that the phone plays and records, in Hz.
const sampleRate = 8000

// maxWAV bounds a file to play, in bytes: more than an hour of 16-bit sound.
const maxWAV = 64 << 20

// The format tags of WAV that the phone reads.
const (
	wavPCM        = 1
	wavALaw       = 6
	wavULaw       = 7
	wavExtensible = 0xfffe // the tag proper is the first two bytes of the sub-format
)

// readWAV reads a file to play as linear samples at 8 kHz.
func readWAV(name string) ([]int16, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, errors.Unwrap(err))
	}
	if info.Size() > maxWAV {
		return nil, fmt.Errorf("cannot read %s: %d bytes, want at most %d", name, info.Size(), maxWAV)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, errors.Unwrap(err))
	}
	pcm, err := parseWAV(b)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w; want 8 kHz mono WAV (16-bit PCM, µ-law or A-law)", name, err)
	}
	return pcm, nil
}

// parseWAV decodes a RIFF file. Chunks that it doesn't know are skipped; sizes that
// reach past the end, as programs leave them that were killed, mean the end.
func parseWAV(b []byte) ([]int16, error) {
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, errors.New("not a WAV file")
	}
	var tag, channels, bits uint16
	var rate uint32
	for b = b[12:]; len(b) >= 8; {
		id, size := string(b[:4]), uint64(binary.LittleEndian.Uint32(b[4:]))
		body := b[8:]
		padded := min(size+size%2, uint64(len(body)))
		body, b = body[:min(size, uint64(len(body)))], body[padded:]
		switch id {
		case "fmt ":
			if len(body) < 16 {
				return nil, errors.New("its fmt chunk is too short")
			}
			tag = binary.LittleEndian.Uint16(body)
			channels = binary.LittleEndian.Uint16(body[2:])
			rate = binary.LittleEndian.Uint32(body[4:])
			bits = binary.LittleEndian.Uint16(body[14:])
			if tag == wavExtensible && len(body) >= 26 {
				tag = binary.LittleEndian.Uint16(body[24:])
			}
		case "data":
			if rate == 0 {
				return nil, errors.New("no fmt chunk before the sound")
			}
			if rate != sampleRate || channels != 1 {
				return nil, fmt.Errorf("it has %d Hz and %d channels", rate, channels)
			}
			return samples(tag, bits, body)
		}
	}
	return nil, errors.New("it holds no sound")
}

func samples(tag, bits uint16, b []byte) ([]int16, error) {
	var pcm []int16
	switch {
	case tag == wavPCM && bits == 16:
		pcm = make([]int16, len(b)/2)
		for i := range pcm {
			pcm[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
		}
	case tag == wavULaw && bits == 8:
		pcm = make([]int16, len(b))
		media.DecodeULaws(pcm, b)
	case tag == wavALaw && bits == 8:
		pcm = make([]int16, len(b))
		media.DecodeALaws(pcm, b)
	default:
		return nil, fmt.Errorf("its format is %d with %d bits", tag, bits)
	}
	if len(pcm) == 0 {
		return nil, errors.New("it holds no sound")
	}
	return pcm, nil
}

// wavHeader is the header of a file with n samples of 16-bit PCM.
func wavHeader(n int64) []byte {
	b := make([]byte, 0, wavHeaderSize)
	u16, u32 := binary.LittleEndian.AppendUint16, binary.LittleEndian.AppendUint32
	b = append(b, "RIFF"...)
	b = u32(b, uint32(wavHeaderSize-8+2*n))
	b = append(b, "WAVEfmt "...)
	b = u32(b, 16)
	b = u16(b, wavPCM)
	b = u16(b, 1)
	b = u32(b, sampleRate)
	b = u32(b, 2*sampleRate)
	b = u16(b, 2)
	b = u16(b, 16)
	b = append(b, "data"...)
	return u32(b, uint32(2*n))
}

const wavHeaderSize = 44
