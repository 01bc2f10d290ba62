package media

import (
	"net/netip"
	"time"
)

const (
	// Some senders press keys from a socket of their own while they pause the
	// sound: after so short a silence keys, and keys only, are heard from other
	// ports of the peer's address too.
	keySilence = 60 * time.Millisecond
	// A peer that was silent for so long may come back from another port: its
	// NAT may have forgotten the old one.
	latchSilence = 2 * time.Second
	// A stranger is believed at its second packet in sequence (MIN_SEQUENTIAL of
	// RFC 3550 A.1), and may have lost a few between.
	latchGap = 8
)

// latch decides whose packets are taken and where ours go (symmetric RTP, RFC
// 4961). The address in the SDP is a proposal: a phone behind NAT does not
// know its own. The first source whose packets are valid is taken instead,
// once. Then the latch is locked, so that nobody can push packets into a call
// or draw its sound away. When the peer falls silent, the same IP address may
// take over from another port; any other address needs a new agreement.
type latch struct {
	proposed netip.AddrPort // from the SDP
	peer     netip.AddrPort // where to send; the proposal until locked
	locked   bool
	hushed   bool // keys may come from another port of the same address
	silent   bool // another port of the same address may take over

	stranger netip.AddrPort // who sent a first packet
	ssrc     uint32
	seq      uint16
}

// propose begins anew with what the SDP says, unless it says the same again.
func (l *latch) propose(a netip.AddrPort) (reopened bool) {
	if a == l.proposed {
		return false
	}
	*l = latch{proposed: a, peer: a}
	return true
}

// hush notes that the peer has been silent for keySilence.
func (l *latch) hush() { l.hushed = true }

// quiet notes that the peer has been silent for latchSilence.
func (l *latch) quiet() { l.hushed, l.silent = true, true }

// nextSilence is after how much silence hush or quiet is due.
func (l *latch) nextSilence() (d time.Duration, ok bool) {
	switch {
	case !l.locked || l.silent:
		return 0, false
	case l.hushed:
		return latchSilence, true
	}
	return keySilence, true
}

// admit decides about a valid packet; key says that it is a telephone-event.
// moved says that the latch has just locked, perhaps on another address than
// before: connect to peer.
func (l *latch) admit(from netip.AddrPort, h header, key bool) (ok, moved bool) {
	switch {
	case l.locked && !l.hushed:
		return from == l.peer, false
	case l.locked && from.Addr() != l.peer.Addr():
		return false, false
	case l.locked && from == l.peer, !l.locked && from == l.proposed:
		l.lock(from)
		return true, true
	case l.locked && !l.silent:
		return key, false
	case from.Port() == 0: // a raw socket's: it can be heard but not answered
		return true, false
	}
	if from == l.stranger && h.ssrc == l.ssrc && h.seq-l.seq-1 < latchGap {
		l.lock(from)
		return true, true
	}
	l.stranger, l.ssrc, l.seq = from, h.ssrc, h.seq
	return true, false
}

func (l *latch) lock(a netip.AddrPort) {
	*l = latch{proposed: l.proposed, peer: a, locked: true}
}

// knows reports whether RTCP from this address is the peer's: its IP address
// must be that of the RTP.
func (l *latch) knows(a netip.Addr) bool { return a == l.peer.Addr() }

// sendable reports whether the peer's address is one that can be sent to. SDP
// that holds a call may say 0.0.0.0 (RFC 2543 B.5), and port 0.
func (l *latch) sendable() bool {
	return l.peer.IsValid() && l.peer.Port() != 0 && !l.peer.Addr().IsUnspecified()
}
