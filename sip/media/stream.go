package media

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Params is what offer and answer agreed on.
type Params struct {
	Remote     netip.AddrPort // the peer's RTP address from SDP; latching may replace it once
	RemoteRTCP netip.AddrPort // zero: the port after Remote's
	Codec      Codec          // what we send; both laws are understood
	EventPT    uint8          // payload type of telephone-event, 0: none

	Send, Receive bool // the direction, from our view
}

// Stats are the figures of one stream. Counts are RTP packets.
type Stats struct {
	Codec     Codec
	Sent      uint64
	Received  uint64 // valid ones, late ones included, duplicates not
	Lost      uint64 // sent by the peer as its sequence numbers show, and not received
	Late      uint64 // received after one that was sent later
	Duplicate uint64
	Dropped   uint64 // junk, or from a wrong source, or before Start

	RemoteLost   uint64        // what the peer's last RTCP report says it lost
	RemoteJitter time.Duration // and the jitter that it sees
	Jitter       time.Duration // RFC 3550 §6.4.1, of what we received
	RoundTrip    time.Duration // last measured by RTCP, 0: unknown. It includes up to one tick on our side

	Remote     netip.AddrPort // the peer's address, as latched
	KeysMissed uint64         // digits that found the channel full
}

// Stream is one leg's sound: a pair of ports, what is sent and what is heard.
// All methods may be called from any goroutine, but none from within a Tap,
// which runs on the shard that they wait for.
type Stream struct {
	engine *Engine
	shard  *shard
	local  netip.AddrPort
	digits chan Digit

	heard      atomic.Int64 // shard time of the last valid packet, 0: none
	keysMissed atomic.Uint64
	closing    atomic.Bool

	life  sync.Mutex // keeps Start and KeepEarly, which read the sockets once, apart from Close
	begun bool       // one of them was called

	closed chan struct{} // the shard has closed the stream; final is set
	forget sync.Once
	final  Stats

	// Owned by the shard.
	rtp, rtcp *port
	index     int // in shard.streams, -1: not there
	started   bool
	over      bool // closed, or dropped after a panic
	fault     *fault
	p         Params
	latch     latch
	in        reception
	out       sender
	relay     relay // numbers what peer sends to us
	keys      keyListener
	presser   *keyPresser // nil until a key is to be sent
	play      *player     // nil: silence
	report    reporter
	control   netip.AddrPort // where the peer's RTCP comes from, if heard
	tap       Tap
	peer      *Stream
	early     *earlyPackets
	heardAt   time.Duration
	sent      uint64
	dropped   uint64
}

// digitBuffer holds what a caller types ahead of the menus.
const digitBuffer = 32

func newStream(e *Engine, sh *shard, rtp, rtcp *port) *Stream {
	s := &Stream{
		engine: e, shard: sh, local: rtp.addr,
		digits: make(chan Digit, digitBuffer),
		closed: make(chan struct{}),
		rtp:    rtp, rtcp: rtcp, index: -1,
		// RFC 3550 §5.1: all three begin at random.
		out: sender{ssrc: rand.Uint32(), seq: uint16(rand.Uint32()), zero: rand.Uint32()},
	}
	var id [8]byte
	for i := range id {
		id[i] = byte(rand.Uint32())
	}
	hex.Encode(s.report.cname[:], id[:])
	rtp.stream, rtcp.stream, rtcp.control = s, s, true
	return s
}

// Local is our RTP address, to be announced in SDP.
func (s *Stream) Local() netip.AddrPort { return s.local }

// Start lets the stream speak and hear as agreed. Called again after a
// re-INVITE it changes the agreement; SSRC, sequence and timestamps go on, and
// the peer's source is asked anew only if Remote changed. On return the new
// agreement holds.
func (s *Stream) Start(p Params) error {
	if !p.Codec.Valid() {
		return fmt.Errorf("start media: payload type %d is neither PCMU nor PCMA", p.Codec)
	}
	p.Remote = unmap(p.Remote)
	p.RemoteRTCP = unmap(p.RemoteRTCP)
	n, ok := s.begin()
	if !ok {
		return ErrClosed
	}
	if !s.ask(func() { s.dropped += uint64(n); ok = s.start(p) }) || !ok {
		return ErrClosed
	}
	return nil
}

// begin discards what the sockets have received so far, the first time. ok is
// false when the stream is closed.
func (s *Stream) begin() (discarded int, ok bool) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closing.Load() {
		return 0, false
	}
	if !s.begun {
		s.begun = true
		discarded = s.rtp.discard() + s.rtcp.discard()
	}
	return discarded, true
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func (s *Stream) start(p Params) (ok bool) {
	if s.over {
		return false
	}
	if s.latch.propose(p.Remote) {
		s.control = netip.AddrPort{}
		s.rtp.dissolve()
	}
	s.p = p
	if s.started {
		return true
	}
	s.started = true
	s.report.begin(s.shard.now, rand.Uint32())
	s.shard.add(s)
	if s.early != nil {
		s.shard.replay(s)
	}
	return true
}

// KeepEarly keeps the newest packets that arrive before Start and delivers them
// after it: the phone of an agent who answers speaks before its 200 has been
// handled, and the first word must not be clipped. They are shown to a tap and
// forwarded to a joined stream if either comes within two seconds of Start.
// Call it before the peer can send.
func (s *Stream) KeepEarly() {
	n, ok := s.begin()
	if !ok {
		return
	}
	early := new(earlyPackets)
	s.tell(func() {
		s.dropped += uint64(n)
		if !s.over && !s.started {
			s.early = early
			s.shard.add(s)
		}
	})
}

// LastHeard is when the last valid RTP packet arrived, zero if none has yet.
func (s *Stream) LastHeard() time.Time {
	at := s.heard.Load()
	if at == 0 {
		return time.Time{}
	}
	return s.engine.epoch.Add(time.Duration(at))
}

// Stats gives the figures so far, after Close the final ones.
func (s *Stream) Stats() Stats {
	var st Stats
	if !s.ask(func() { st = s.stats() }) {
		<-s.closed
		return s.final
	}
	return st
}

func (s *Stream) stats() Stats {
	return Stats{
		Codec: s.p.Codec,
		Sent:  s.sent, Received: s.in.received, Lost: s.in.lost(),
		Late: s.in.late, Duplicate: s.in.duplicate, Dropped: s.dropped,
		RemoteLost: uint64(s.report.remoteLost), RemoteJitter: s.report.remoteJitter,
		Jitter: s.in.jitterTime(), RoundTrip: s.report.roundTrip,
		Remote: s.latch.peer, KeysMissed: s.keysMissed.Load(),
	}
}

// Close ends the stream: what plays stops, a bridge is parted, the peer gets an
// RTCP BYE, and the ports rest before they are used again. It may be called
// again, and returns the final figures each time.
func (s *Stream) Close() Stats {
	s.hangUp()
	<-s.closed
	s.forget.Do(func() {
		s.engine.forget(s)
		if f := s.fault; f != nil {
			s.engine.log.Error("media stream was dropped after a panic", "port", s.local.Port(), "panic", f.what, "stack", string(f.stack))
		}
	})
	return s.final
}

// hangUp tells the shard to close the stream.
func (s *Stream) hangUp() {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closing.CompareAndSwap(false, true) {
		s.tell(s.end)
	}
}

// end closes the stream on the shard.
func (s *Stream) end() {
	defer close(s.closed)
	if s.started && !s.over {
		s.shard.sendReport(s, true)
	}
	s.shard.retire(s)
	s.final = s.stats()
	s.rtp.close()
	s.rtcp.close()
}

// tell hands a command to the shard. false: the shard has ended, which it does
// only after all its streams were closed.
func (s *Stream) tell(f func()) bool {
	return s.shard.do(command{s, f, nil})
}

// ask hands a command to the shard and waits until it has been performed.
func (s *Stream) ask(f func()) bool {
	done := make(chan struct{})
	if !s.shard.do(command{s, f, done}) {
		return false
	}
	<-done
	return true
}
