package media

import (
	"context"
	"slices"
	"time"
)

// Say plays the clips one after the other without a gap. It returns nil when
// the last packet has been heard to its end, the context's cause as soon as the
// context is done (the sound stops with the packet under way), ErrReplaced when
// other sound took its place, ErrBridged when the stream is joined to another,
// ErrClosed when it closes. On a stream that is not started it waits for Start;
// while the peer does not want to hear us the time passes in silence.
func (s *Stream) Say(ctx context.Context, clips ...*Clip) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !slices.ContainsFunc(clips, func(c *Clip) bool { return c.Samples() > 0 }) {
		s.Silence()
		return nil
	}
	done := make(chan error, 1)
	p := &player{clips: slices.Clone(clips), done: done}
	if !s.tell(func() { s.sound(p) }) {
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		s.tell(func() {
			if s.play == p {
				s.play = nil
			}
		})
		return context.Cause(ctx)
	}
}

// Loop plays the clip from the given sample round and round until the next Say,
// Loop, Silence or Join. A joined stream stays as it is.
func (s *Stream) Loop(c *Clip, from int) {
	n := c.Samples()
	if n == 0 {
		s.Silence()
		return
	}
	from %= n
	if from < 0 {
		from += n
	}
	p := &player{clips: []*Clip{c}, loop: true, at: from}
	s.tell(func() { s.sound(p) })
}

// Silence stops what plays.
func (s *Stream) Silence() {
	s.tell(func() { s.hush(ErrReplaced) })
}

// sound puts a player in place of the one before.
func (s *Stream) sound(p *player) {
	switch {
	case s.over:
		p.finish(ErrClosed)
	case s.peer != nil:
		p.finish(ErrBridged)
	default:
		s.hush(ErrReplaced)
		s.play = p
	}
}

// hush stops what plays and tells its Say why.
func (s *Stream) hush(why error) {
	s.play.finish(why)
	s.play = nil
}

// Tap is shown everything that a stream hears.
type Tap interface {
	// Heard runs on the shard's goroutine for each valid audio packet,
	// duplicates left out, in the order of arrival: it must not block, allocate
	// or call the stream, and must copy what it keeps. at is the shard's time
	// of arrival, ts the RTP timestamp (8 kHz), payload G.711 of law c.
	Heard(at time.Time, ts uint32, c Codec, payload []byte)
}

// SetTap shows what is heard from now on to t instead of the tap before; nil
// removes it. On return the tap before is no longer being called.
func (s *Stream) SetTap(t Tap) {
	s.ask(func() {
		if s.over {
			return
		}
		s.tap = t
		s.shard.early(s)
	})
}
