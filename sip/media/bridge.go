package media

import "errors"

var errNotAKey = errors.New("media: not a key of a telephone: 0-9, *, #, A-D")

// Join bridges two streams of one shard both ways, within one tick: what either
// peer sends is forwarded to the other, numbered as a continuation of what that
// one heard before, with the law converted where the two differ. What played on
// either ends. A stream that was joined to a third is parted from it first.
// Errors: ErrApart when the streams were not opened beside each other,
// ErrClosed when one is closed.
func Join(a, b *Stream) error {
	switch {
	case a == b || a.shard != b.shard:
		return ErrApart
	case a.closing.Load() || b.closing.Load():
		return ErrClosed
	}
	if !a.tell(func() { join(a, b) }) {
		return ErrClosed
	}
	return nil
}

func join(a, b *Stream) {
	if a.over || b.over || a.peer == b {
		return
	}
	a.part()
	b.part()
	a.hush(ErrReplaced)
	b.hush(ErrReplaced)
	a.peer, b.peer = b, a
	a.relay.part()
	b.relay.part()
	a.shard.early(a)
	a.shard.early(b)
	a.shard.rearm(b)
}

// Part ends the bridge between two streams, if they are joined to each other.
// Both are silent then.
func Part(a, b *Stream) {
	a.tell(func() {
		if a.peer == b && b != nil {
			a.part()
		}
	})
}

// part ends whatever bridge s is in.
func (s *Stream) part() {
	if s.peer != nil {
		s.peer.peer = nil
		s.peer = nil
	}
}

// kind is what a payload type means.
type kind uint8

const (
	kindUnknown kind = iota
	kindAudio
	kindKey
	kindNoise
)

// kindOf tells what a payload type means on this stream. Both laws are taken
// whatever was agreed: phones change over before their answer arrives.
func (s *Stream) kindOf(pt uint8) kind {
	switch {
	case pt == uint8(PCMU), pt == uint8(PCMA):
		return kindAudio
	case pt == s.p.EventPT: // not 0, which is PCMU
		return kindKey
	case pt == ptComfortNoise:
		return kindNoise
	}
	return kindUnknown
}

// forward sends a packet that from has received to its peer.
func (sh *shard) forward(from *Stream, h header, k kind, payload []byte) {
	to := from.peer
	if !to.speaks() || to.presser != nil && to.presser.busy() {
		to.relay.part()
		return
	}
	var pt uint8
	n := 0
	switch {
	case k == kindAudio && len(payload) > 0 && len(payload) <= len(sh.out)-headerLength:
		pt, n = uint8(to.p.Codec), len(payload)
	case k == kindKey && to.p.EventPT != 0:
		pt = to.p.EventPT
	default:
		to.relay.skip(h)
		return
	}
	out, ok := to.relay.pass(&to.out, h, n, k == kindKey, sh.now)
	if !ok {
		return
	}
	out.pt = pt
	out.put(sh.out[:])
	if k == kindKey {
		copy(sh.out[headerLength:], payload[:eventLength])
		sh.send(to, eventLength)
		return
	}
	convert(sh.out[headerLength:], to.p.Codec, payload, Codec(h.pt))
	sh.send(to, n)
}
