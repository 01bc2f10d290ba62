package media

import "time"

// samples is media time in shard time: 8 to the millisecond.
func samples(d time.Duration) uint32 { return uint32(int64(d) / 125_000) }

// duration is the reverse of samples.
func duration(n int) time.Duration { return time.Duration(n) * 125 * time.Microsecond }

const (
	frame     = 20 * time.Millisecond // the packets that we make
	frameSize = 160                   // the same in samples

	// tooFarAhead: when another phone's clock has carried our timestamps this
	// far past our own clock, the clock is moved instead of waiting.
	tooFarAhead = 2 * frameSize
)

// sender numbers the packets of one outgoing stream so that the peer sees one
// source for the whole call (RFC 3550 §5.1): one SSRC, sequence numbers that
// grow by one with each packet, and timestamps that run with the shard's clock
// through silence and never go back.
type sender struct {
	ssrc uint32
	seq  uint16 // of the next packet
	zero uint32 // the timestamp at shard time 0
	next uint32 // the timestamp at which what was sent last ends
	sent bool   // something was

	packets, octets uint32 // for sender reports; they wrap (RFC 3550 §6.4.1)
}

// clock is the timestamp of now.
func (s *sender) clock(now time.Duration) uint32 { return s.zero + samples(now) }

// open gives the timestamp at which new sound may begin, and how long to wait
// for that moment: sound never overlaps what was sent before.
func (s *sender) open(now time.Duration) (ts uint32, wait time.Duration) {
	ts = s.clock(now)
	if !s.sent {
		return ts, 0
	}
	ahead := int32(s.next - ts)
	switch {
	case ahead <= 0:
		return ts, 0
	case ahead > tooFarAhead:
		s.zero += uint32(ahead)
		return s.next, 0
	}
	return s.next, duration(int(ahead))
}

// take numbers a packet of our own that starts at ts and lasts n samples. A
// packet that does not follow directly on the one before starts a talk spurt
// and carries the marker (RFC 3551 §4.1).
func (s *sender) take(ts uint32, n int, pt uint8) header {
	h := header{marker: !s.sent || ts != s.next, pt: pt, seq: s.seq, ts: ts, ssrc: s.ssrc}
	s.seq++
	s.reached(ts, n)
	return h
}

// reached notes that sound was sent up to n samples after ts.
func (s *sender) reached(ts uint32, n int) {
	if end := ts + uint32(n); !s.sent || int32(end-s.next) > 0 {
		s.next = end
	}
	s.sent = true
}

// count notes a packet for the sender reports.
func (s *sender) count(payload int) {
	s.packets++
	s.octets += uint32(payload)
}
