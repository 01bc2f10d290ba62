package recordings

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"hotline/sip/media"
)

// The file is a canonical WAV file of compressed sound:
//
//	 0 "RIFF" size of what follows          4+4
//	 8 "WAVE"                               4
//	12 "fmt " 18                            4+4
//	20 tag 7 (µ-law) or 6 (A-law)           2
//	22 channels 2                           2
//	24 rate 8000 Hz                         4
//	28 bytes a second 16000                 4
//	32 bytes a frame 2                      2
//	34 bits a sample 8                      2
//	36 size of the extension 0              2
//	38 "fact" 4                             4+4
//	46 frames                               4
//	50 "data" size of the sound             4+4
//	58 left, right, left, right, ...
//
// The fact chunk and the extension's size are what the format asks of every
// tag but PCM. A frame is one sample of each side.
const (
	headerSize = 58
	rate       = 8000 // frames a second
	frameSize  = 2    // bytes: caller left, agent right

	tagALaw = 6
	tagULaw = 7

	// maxFrames keeps every size of the header within its 32 bits: 74 hours.
	maxFrames = (1<<32 - 1 - headerSize) / frameSize
)

// header is the whole front of a file that holds so many frames.
func header(c media.Codec, frames int64) [headerSize]byte {
	var h [headerSize]byte
	le := binary.LittleEndian
	size := uint32(frames * frameSize)
	copy(h[0:], "RIFF")
	le.PutUint32(h[4:], headerSize-8+size)
	copy(h[8:], "WAVEfmt ")
	le.PutUint32(h[16:], 18)
	le.PutUint16(h[20:], tag(c))
	le.PutUint16(h[22:], 2)
	le.PutUint32(h[24:], rate)
	le.PutUint32(h[28:], rate*frameSize)
	le.PutUint16(h[32:], frameSize)
	le.PutUint16(h[34:], 8)
	le.PutUint16(h[36:], 0)
	copy(h[38:], "fact")
	le.PutUint32(h[42:], 4)
	le.PutUint32(h[46:], uint32(frames))
	copy(h[50:], "data")
	le.PutUint32(h[54:], size)
	return h
}

// errNotOurs says that a file is not one that a Tape wrote.
var errNotOurs = errors.New("not a recording: want a WAV header of G.711, 2 channels, 8000 Hz")

// readHeader reads the front of a file and returns its law and the number of
// frames that it claims, -1 if its three sizes disagree. Everything else has to
// be as written.
func readHeader(r io.Reader) (media.Codec, int64, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, fmt.Errorf("read the header: %w", err)
	}
	le := binary.LittleEndian
	var c media.Codec
	switch le.Uint16(h[20:]) {
	case tagULaw:
		c = media.PCMU
	case tagALaw:
		c = media.PCMA
	default:
		return 0, 0, errNotOurs
	}
	frames := int64(le.Uint32(h[46:]))
	want := header(c, frames)
	if h == want {
		return c, frames, nil
	}
	copy(want[4:8], h[4:8])
	copy(want[46:50], h[46:50])
	copy(want[54:58], h[54:58])
	if h != want {
		return 0, 0, errNotOurs
	}
	return c, -1, nil
}

func tag(c media.Codec) uint16 {
	if c == media.PCMA {
		return tagALaw
	}
	return tagULaw
}
