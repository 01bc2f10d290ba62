package media

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// The tick's length follows the load. Measured with one shard on a 2-core VM,
// shard and load generator at real-time priority, bridged G.711 calls of two
// streams each; CPU per forwarded packet, and delay p50 and p99 from phone to
// phone:
//
//	calls   1 ms tick                  5 ms tick
//	   10   52 µs, 0.5 and 1.1 ms      19 µs, 2.5 and 5.0 ms
//	  100   12.5 µs, 0.5 and 1.1 ms    9.0 µs, 2.3 and 5.0 ms
//	  400   8.5 µs, 0.6 and 1.5 ms     8.0 µs, 1.9 and 4.4 ms
//	  800   7.3 µs, 0.7 and 2.0 ms     7.4 µs, 2.7 and 5.7 ms
//
// All but 0.8 µs of these are the kernel's. The quick tick costs 3 % of a core
// when there is little to do and nothing when there is much: packets are then
// waiting at every wake-up. From some 500 calls on a shard the slow tick only
// leaves the scheduler in peace.
const (
	quickTick  = 1 * time.Millisecond
	slowTick   = 5 * time.Millisecond
	fewStreams = 1000 // up to so many the tick is quick
)

const (
	// A flood on some sockets must not hold up the others for longer than so
	// many packets from each.
	maxRounds = 32

	never = time.Duration(math.MaxInt64)
)

// shard is one goroutine that owns its streams and their sockets. Nothing that
// it does on the tick blocks, allocates or logs.
type shard struct {
	engine *Engine
	poll   *poller
	open   int // streams, started or not; guarded by engine.mu
	faults atomic.Uint64

	mu       sync.Mutex
	commands []command
	ending   bool // no more streams will come
	ended    bool
	wake     chan struct{} // room for one: more wake-ups would say the same
	done     chan struct{}

	// Owned by run.
	spare   []command
	streams []*Stream
	due     []time.Duration // by index in streams: when to serve it next
	now     time.Duration   // the shard's clock: since the engine was made
	wall    time.Time       // the same moment on the wall clock
	in      [2048]byte      // the packet that is being read
	out     [2048]byte      // the packet that is being written
}

// command is something to be done for a stream on its shard.
type command struct {
	stream *Stream
	do     func()
	done   chan<- struct{} // closed afterwards; nil: nobody waits
}

// fault is a panic that ended a stream.
type fault struct {
	what  any
	stack []byte
}

func newShard(e *Engine) (*shard, error) {
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	return &shard{engine: e, poll: poll, wake: make(chan struct{}, 1), done: make(chan struct{})}, nil
}

// do queues a command. There is no bound: each waits for at most one tick, and
// there are as many as the calls ask for.
func (sh *shard) do(c command) bool {
	sh.mu.Lock()
	ended := sh.ended
	if !ended {
		sh.commands = append(sh.commands, c)
	}
	sh.mu.Unlock()
	sh.rouse()
	return !ended
}

func (sh *shard) rouse() {
	select {
	case sh.wake <- struct{}{}:
	default: // it is awake already
	}
}

// stop ends run after the commands that are queued.
func (sh *shard) stop() {
	sh.mu.Lock()
	sh.ending = true
	sh.mu.Unlock()
	sh.rouse()
}

// run is the shard's goroutine. It wakes on absolute deadlines so that ticks do
// not drift, and sleeps without any while no stream is started.
func (sh *shard) run() {
	defer close(sh.done)
	defer sh.poll.close()
	next := sh.engine.clock()
	for {
		sh.tick()
		if len(sh.streams) == 0 {
			if sh.finished() {
				return
			}
			<-sh.wake
			next = sh.engine.clock()
			continue
		}
		next += sh.tickLength()
		wait := next - sh.engine.clock()
		if wait > 0 {
			time.Sleep(wait)
			continue
		}
		// Late by more than a tick: what is due is done in one go, missed ticks
		// are not made up for.
		next -= wait
		runtime.Gosched()
	}
}

func (sh *shard) tickLength() time.Duration {
	if len(sh.streams) <= fewStreams {
		return quickTick
	}
	return slowTick
}

// finished reports, with no stream left, whether the shard is to end; no command
// is taken from then on.
func (sh *shard) finished() bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.ended = sh.ending && len(sh.commands) == 0
	return sh.ended
}

// tick does all that is to be done now.
func (sh *shard) tick() {
	sh.now = sh.engine.clock()
	sh.wall = sh.engine.epoch.Add(sh.now)
	sh.perform()
	for range maxRounds {
		ready := sh.poll.ready()
		if len(ready) == 0 {
			break
		}
		for _, p := range ready {
			sh.read(p)
		}
	}
	for i := 0; i < len(sh.streams); i++ {
		if sh.due[i] > sh.now {
			continue
		}
		s := sh.streams[i]
		sh.serve(s)
		if i < len(sh.streams) && sh.streams[i] != s {
			i-- // s is gone and another took its place
		}
	}
}

// perform does the commands that were given since the last tick.
func (sh *shard) perform() {
	sh.mu.Lock()
	todo := sh.commands
	sh.commands = sh.spare
	sh.mu.Unlock()
	for i, c := range todo {
		sh.performOne(c)
		todo[i] = command{}
	}
	sh.spare = todo[:0]
}

func (sh *shard) performOne(c command) {
	if c.done != nil {
		defer close(c.done)
	}
	defer sh.rescue(c.stream)
	c.do()
	sh.rearm(c.stream)
}

// rescue keeps a panic from ending the process: only the stream ends.
func (sh *shard) rescue(s *Stream) {
	if what := recover(); what != nil {
		sh.faults.Add(1)
		if s.fault == nil {
			s.fault = &fault{what, debug.Stack()}
		}
		sh.retire(s)
	}
}

// add takes a stream into the tick.
func (sh *shard) add(s *Stream) {
	if s.index < 0 {
		s.index = len(sh.streams)
		sh.streams = append(sh.streams, s)
		sh.due = append(sh.due, 0)
		sh.poll.add(s.rtp)
		sh.poll.add(s.rtcp)
	}
}

// retire ends all that a stream does, and takes it out of the tick.
func (sh *shard) retire(s *Stream) {
	s.over = true
	s.hush(ErrClosed)
	s.part()
	s.tap, s.early, s.presser = nil, nil, nil
	if s.index < 0 {
		return
	}
	sh.poll.remove(s.rtp)
	sh.poll.remove(s.rtcp)
	last := len(sh.streams) - 1
	moved := sh.streams[last]
	sh.streams[s.index], sh.due[s.index] = moved, sh.due[last]
	moved.index = s.index
	sh.streams[last] = nil
	sh.streams, sh.due = sh.streams[:last], sh.due[:last]
	s.index = -1
}

// rearm notes when a stream has to be served next.
func (sh *shard) rearm(s *Stream) {
	if s.index >= 0 {
		sh.due[s.index] = s.deadline()
	}
}

// deadline is when something is to be done for the stream although nothing
// arrives.
func (s *Stream) deadline() time.Duration {
	if !s.started {
		return never
	}
	d := s.report.due
	if s.play != nil {
		if !s.play.begun {
			return 0
		}
		d = min(d, s.play.due)
	}
	if s.presser != nil {
		if at, ok := s.presser.deadline(); ok {
			d = min(d, at)
		}
	}
	if silence, ok := s.latch.nextSilence(); ok {
		d = min(d, s.heardAt+silence)
	}
	if s.early != nil {
		d = min(d, s.early.until)
	}
	return d
}

// serve does what is due for one stream.
func (sh *shard) serve(s *Stream) {
	defer sh.rescue(s)
	if s.presser != nil {
		sh.sendKeys(s)
	}
	if s.play != nil {
		sh.playOn(s)
	}
	if silence, ok := s.latch.nextSilence(); ok && sh.now >= s.heardAt+silence {
		if !s.latch.hushed {
			s.latch.hush()
			s.rtp.dissolve()
		}
		if sh.now >= s.heardAt+latchSilence {
			s.latch.quiet()
		}
	}
	if s.early != nil && sh.now >= s.early.until {
		s.early = nil
	}
	if sh.now >= s.report.due {
		sh.sendReport(s, false)
	}
	sh.rearm(s)
}

// read takes one packet from a socket that has some.
func (sh *shard) read(p *port) {
	s := p.stream
	if s.index < 0 { // dropped in this very round
		return
	}
	defer sh.rescue(s)
	n, from, ok := p.read(sh.in[:])
	if !ok {
		return
	}
	if n > len(sh.in) {
		s.dropped++
		return
	}
	b := sh.in[:n]
	switch {
	case p.control:
		if sh.receiveReport(s, b, from) {
			s.control = from
		}
	case !s.started:
		s.early.keep(b, from, sh.now)
	case sh.receive(s, b, from) && s.early != nil:
		s.early.keep(b, from, sh.now)
	}
}

// receive takes in one packet of the RTP port. It reports whether it was a valid
// and new RTP packet.
func (sh *shard) receive(s *Stream, b []byte, from netip.AddrPort) bool {
	if isRTCP(b) { // a peer that multiplexes unasked
		sh.receiveReport(s, b, from)
		return false
	}
	h, payload, ok := parseRTP(b)
	if !ok {
		s.dropped++
		return false
	}
	k := s.kindOf(h.pt)
	var e event
	if k == kindKey {
		e, ok = parseEvent(payload)
	}
	if k == kindUnknown || !ok {
		s.dropped++
		return false
	}
	ok, moved := s.latch.admit(from, h, k == kindKey)
	if !ok {
		s.dropped++
		return false
	}
	if moved {
		s.rtp.connect(s.latch.peer)
		s.heardAt = sh.now
		if s.index >= 0 { // from now on there is a peer that can fall silent
			sh.due[s.index] = min(sh.due[s.index], sh.now+keySilence)
		}
	}
	switch s.in.packet(h, k != kindKey, sh.now) {
	case arrivedTwice:
		return false
	case arrivedWild:
		s.dropped++
		return false
	case arrivedFirst:
		if s.peer != nil {
			s.peer.relay.part()
		}
	}
	s.heardAt = sh.now
	s.heard.Store(int64(sh.now))
	if !s.p.Receive {
		return false
	}
	switch k {
	case kindKey:
		if key, pressed := s.keys.packet(h, e, sh.now); pressed {
			s.pressed(key, sh.wall)
		}
	case kindAudio:
		if s.tap != nil {
			s.tap.Heard(sh.wall, h.ts, Codec(h.pt), payload)
		}
	}
	if s.peer != nil {
		sh.forward(s, h, k, payload)
	}
	return true
}

// speaks reports whether anything may be sent to the peer.
func (s *Stream) speaks() bool { return s.started && s.p.Send && s.latch.sendable() }

// send sends the packet that lies in out, with n bytes of payload.
func (sh *shard) send(s *Stream, n int) {
	if s.rtp.write(sh.out[:headerLength+n], s.latch.peer) {
		s.sent++
		s.out.count(n)
	}
}

// playOn sends the packets of the clip that are due.
func (sh *shard) playOn(s *Stream) {
	for {
		ts, ok, ended := s.play.next(&s.out, sh.now)
		if ended {
			s.hush(nil)
		}
		if !ok {
			return
		}
		s.play.fill(sh.out[headerLength:headerLength+frameSize], s.p.Codec)
		if !s.speaks() || s.presser != nil && s.presser.busy() {
			continue // the time passes
		}
		s.out.take(ts, frameSize, uint8(s.p.Codec)).put(sh.out[:])
		sh.send(s, frameSize)
	}
}

// sendKeys sends the packets of a press that are due.
func (sh *shard) sendKeys(s *Stream) {
	if !s.speaks() || s.p.EventPT == 0 {
		s.presser.drop()
		return
	}
	for {
		h, e, ok := s.presser.next(&s.out, s.p.EventPT, sh.now)
		if !ok {
			return
		}
		h.put(sh.out[:])
		e.put(sh.out[headerLength:])
		sh.send(s, eventLength)
	}
}

// sendReport sends an RTCP packet.
func (sh *shard) sendReport(s *Stream, bye bool) {
	b := s.report.write(sh.out[:], &s.out, &s.in, sh.now, sh.wall, rand.Uint32(), bye)
	if to := s.controlAddr(); to.IsValid() && to.Port() != 0 && s.latch.sendable() {
		s.rtcp.write(b, to)
	}
}

// controlAddr is where RTCP goes: to where the peer's comes from, else where its
// SDP says, or to the port after that of its RTP.
func (s *Stream) controlAddr() netip.AddrPort {
	switch {
	case s.control.IsValid():
		return s.control
	case s.p.RemoteRTCP.IsValid() && s.latch.peer == s.latch.proposed:
		return s.p.RemoteRTCP
	}
	return netip.AddrPortFrom(s.latch.peer.Addr(), s.latch.peer.Port()+1)
}

// receiveReport takes in an RTCP packet; ok says that it was one of the peer.
func (sh *shard) receiveReport(s *Stream, b []byte, from netip.AddrPort) (ok bool) {
	if !s.started || !s.latch.knows(from.Addr()) || !s.report.read(b, s.out.ssrc, sh.now, sh.wall) {
		s.dropped++
		return false
	}
	return true
}
