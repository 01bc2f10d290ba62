package media

import (
	"net/netip"
	"time"
)

const (
	// An agent's phone speaks before its 200 has been handled and written to
	// the journal; that takes milliseconds. More would be delay that the caller
	// hears for the rest of the call.
	earlyKept = 10
	// A 60 ms packet with its header fits.
	earlySize = 512
	// After Start the newest packets are kept for whoever comes to hear them.
	earlyTime = 2 * time.Second
)

// earlyPackets keeps the newest packets of a stream that is not heard by anyone
// yet; when it is full the oldest is dropped.
type earlyPackets struct {
	slots  [earlyKept]earlyPacket
	first  int
	n      int
	until  time.Duration // when it is given up; set by Start
	tapped bool          // a tap has been shown them
	joined bool          // a peer has been sent them
}

type earlyPacket struct {
	at   time.Duration
	from netip.AddrPort
	n    int
	b    [earlySize]byte
}

func (e *earlyPackets) keep(b []byte, from netip.AddrPort, at time.Duration) {
	if len(b) > earlySize {
		return
	}
	if e.n == earlyKept {
		e.first = (e.first + 1) % earlyKept
		e.n--
	}
	slot := &e.slots[(e.first+e.n)%earlyKept]
	slot.at, slot.from, slot.n = at, from, copy(slot.b[:], b)
	e.n++
}

// packet is the i-th, oldest first.
func (e *earlyPackets) packet(i int) *earlyPacket { return &e.slots[(e.first+i)%earlyKept] }

// replay takes in what arrived before Start, now that the agreement is known.
func (sh *shard) replay(s *Stream) {
	e := s.early
	e.until = sh.now + earlyTime
	now, wall := sh.now, sh.wall
	valid := 0
	for i := range e.n {
		p := e.packet(i)
		sh.now, sh.wall = p.at, s.engine.epoch.Add(p.at)
		if sh.receive(s, p.b[:p.n], p.from) {
			*e.packet(valid) = *p
			valid++
		}
	}
	e.n = valid
	sh.now, sh.wall = now, wall
	// Who listens already has just heard them.
	e.tapped, e.joined = s.tap != nil, s.peer != nil
}

// early shows a stream's early packets to a tap or a peer that has just come.
func (sh *shard) early(s *Stream) {
	e := s.early
	if e == nil || !s.started {
		return
	}
	tap, join := s.tap != nil && !e.tapped, s.peer != nil && !e.joined
	for i := range e.n {
		p := e.packet(i)
		h, payload, ok := parseRTP(p.b[:p.n])
		if !ok {
			continue
		}
		k := s.kindOf(h.pt)
		if tap && k == kindAudio {
			s.tap.Heard(s.engine.epoch.Add(p.at), h.ts, Codec(h.pt), payload)
		}
		if join && k != kindUnknown {
			sh.forward(s, h, k, payload)
		}
	}
	e.tapped, e.joined = e.tapped || s.tap != nil, e.joined || s.peer != nil
	if e.tapped && e.joined {
		s.early = nil
	}
}
