package media

import (
	"slices"
	"time"
)

// Clip is sound to be played: G.711 at 8 kHz, mono, kept in both laws so that
// playing is copying. A Clip never changes and may be played by any number of
// streams at once.
type Clip struct {
	ulaw, alaw []byte
}

// NewClip makes a clip of 16-bit linear samples at 8 kHz.
func NewClip(pcm []int16) *Clip {
	c := &Clip{ulaw: make([]byte, len(pcm)), alaw: make([]byte, len(pcm))}
	EncodeULaws(c.ulaw, pcm)
	EncodeALaws(c.alaw, pcm)
	return c
}

// NewClipG711 makes a clip of G.711 sound of law c. It copies b.
func NewClipG711(c Codec, b []byte) *Clip {
	own, other := slices.Clone(b), make([]byte, len(b))
	if c == PCMA {
		ALawsToULaws(other, own)
		return &Clip{ulaw: other, alaw: own}
	}
	ULawsToALaws(other, own)
	return &Clip{ulaw: own, alaw: other}
}

// Samples is the clip's length at 8 kHz. A nil clip is empty.
func (c *Clip) Samples() int {
	if c == nil {
		return 0
	}
	return len(c.ulaw)
}

// Duration is the time that it plays.
func (c *Clip) Duration() time.Duration { return duration(c.Samples()) }

// Bytes gives the sound in the asked law. The bytes are the clip's own: read
// them only.
func (c *Clip) Bytes(law Codec) []byte {
	switch {
	case c == nil:
		return nil
	case law == PCMA:
		return c.alaw
	}
	return c.ulaw
}
