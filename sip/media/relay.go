package media

import "time"

const (
	// A source whose timestamp runs this much ahead of the time that passed
	// has begun to count anew; so has one that goes back.
	relayJump = 2 * 8000 // in samples
	// The timestamp of a key is that of its beginning, and one key may last
	// 65,535 samples (RFC 4733 §2.3.5), twice that with a long press.
	relayEventReach = 2 * 0xFFFF
	// A source that skips this many numbers has begun to count anew
	// (MAX_DROPOUT of RFC 3550 A.1).
	relayDropout = 3000
)

// relay rewrites the packets of whoever is bridged to a stream into that
// stream's own numbering: the far phone sees one continuous source, whatever
// came before. What was lost on the way here is missing in the outgoing
// numbers too, so that the far phone conceals it and reports it; what we keep
// back on purpose (comfort noise, keys that the far phone does not understand)
// leaves no gap.
type relay struct {
	on     bool
	ssrc   uint32        // of the source
	high   uint16        // its highest sequence number so far
	floor  uint16        // nothing up to this number passes any more
	shift  uint16        // outgoing less incoming sequence number
	slide  uint32        // outgoing less incoming timestamp
	lastTS uint32        // of its newest audio
	lastAt time.Duration // and when that came
}

// part forgets the source: the next packet starts a talk spurt.
func (r *relay) part() { r.on = false }

// pass rewrites a packet that lasts n samples (0 for a key). ok is false when
// it comes too late to have a place in the outgoing numbers.
func (r *relay) pass(s *sender, h header, n int, key bool, now time.Duration) (out header, ok bool) {
	out = header{marker: h.marker, pt: h.pt, ssrc: s.ssrc}
	if !r.on || r.ssrc != h.ssrc || r.renumbered(h, key, now) {
		r.anchor(s, h, now)
		out.marker = true
	}
	out.seq, out.ts = h.seq+r.shift, h.ts+r.slide
	if delta := int16(h.seq - r.high); delta <= 0 {
		return out, int16(h.seq-r.floor) > 0
	}
	r.high = h.seq
	if !key {
		r.lastTS, r.lastAt = h.ts, now
	}
	s.seq = out.seq + 1
	s.reached(out.ts, n)
	return out, true
}

// skip notes a packet that is kept back: its number is given to the next one.
func (r *relay) skip(h header) {
	if !r.on || r.ssrc != h.ssrc || int16(h.seq-r.high) <= 0 {
		return
	}
	r.shift--
	r.high, r.floor = h.seq, h.seq
}

// anchor ties the source's numbers to ours, beginning with h.
func (r *relay) anchor(s *sender, h header, now time.Duration) {
	ts, _ := s.open(now)
	*r = relay{
		on: true, ssrc: h.ssrc,
		high: h.seq - 1, floor: h.seq - 1,
		shift: s.seq - h.seq, slide: ts - h.ts,
		lastTS: h.ts, lastAt: now,
	}
}

// renumbered reports whether the source has begun to count anew without
// changing its SSRC, as some phones do when a call is taken off hold.
func (r *relay) renumbered(h header, key bool, now time.Duration) bool {
	steps := int16(h.seq - r.high)
	if steps <= 0 {
		return false // late; its place is known
	}
	moved := int64(int32(h.ts - r.lastTS))
	switch {
	case steps > relayDropout:
		return true
	case key:
		return moved < -relayEventReach || moved > relayEventReach
	}
	return moved < 0 || moved > int64(samples(now-r.lastAt))+relayJump
}
