package media

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

var (
	// ErrNoPorts says that every port of the range is taken or rests: the
	// machine carries as many calls as it was allowed to.
	ErrNoPorts = errors.New("media: all ports of the range are taken")
	// ErrClosed says that the stream, or the whole engine, is closed.
	ErrClosed = errors.New("media: stream is closed")
	// ErrBridged says that a stream which is joined to another cannot play.
	ErrBridged = errors.New("media: stream is bridged")
	// ErrReplaced ends a Say whose sound was replaced by other sound, by
	// Silence or by Join.
	ErrReplaced = errors.New("media: other sound took its place")
	// ErrNoEvents says that the peer did not agree to telephone-events.
	ErrNoEvents = errors.New("media: peer takes no telephone-events")
	// ErrTooManyKeys says that more keys wait to be sent than are kept.
	ErrTooManyKeys = errors.New("media: too many keys wait to be sent")
	// ErrApart says that streams of different shards cannot be joined. Open one
	// beside the other.
	ErrApart = errors.New("media: streams are not beside each other")
)

// Config is what an engine needs to know.
type Config struct {
	IP     netip.Addr   // address to bind and to announce
	Ports  PortRange    // RTP on even ports, RTCP on the port after
	Shards int          // 0: one per core
	Log    *slog.Logger // nil: discard
}

// Engine carries the sound of all calls. Close it to end its goroutines.
type Engine struct {
	ip     netip.Addr
	log    *slog.Logger
	epoch  time.Time // shard time 0
	shards []*shard

	mu      sync.Mutex
	closed  bool
	ports   *portPool
	streams map[*Stream]struct{}
	rest    time.Duration // portRest
}

// NewEngine starts the shards. It binds no port yet.
func NewEngine(c Config) (*Engine, error) {
	if !c.IP.IsValid() {
		return nil, errors.New("media: an IP address to bind is needed")
	}
	ports, err := newPortPool(c.Ports)
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Shards <= 0 {
		c.Shards = runtime.GOMAXPROCS(0)
	}
	e := &Engine{
		ip: c.IP.Unmap(), log: c.Log, epoch: time.Now(),
		ports: ports, streams: map[*Stream]struct{}{}, rest: portRest,
	}
	for range c.Shards {
		sh, err := newShard(e)
		if err != nil {
			e.stop()
			return nil, fmt.Errorf("start media shard: %w", err)
		}
		e.shards = append(e.shards, sh)
		go sh.run() // ends in e.stop
	}
	return e, nil
}

// clock is shard time.
func (e *Engine) clock() time.Duration { return time.Since(e.epoch) }

// Open binds the ports of a new stream. Nothing is sent before Start, and what
// arrives before it is dropped unless KeepEarly asks otherwise. Streams that
// will be joined must live on the same shard: beside, if not nil, asks for the
// shard of that stream. Errors: ErrNoPorts, ErrClosed, or that of the socket.
func (e *Engine) Open(beside *Stream) (*Stream, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	sh := e.shards[0]
	if beside != nil {
		sh = beside.shard
	} else {
		for _, other := range e.shards[1:] {
			if other.open < sh.open {
				sh = other
			}
		}
	}
	s, err := e.bind(sh)
	if err != nil {
		return nil, err
	}
	sh.open++
	e.streams[s] = struct{}{}
	return s, nil
}

// bind finds a free pair of ports. A pair of which another program holds a port
// rests like one that was used. Called with e.mu held.
func (e *Engine) bind(sh *shard) (*Stream, error) {
	for {
		now := e.clock()
		n, ok := e.ports.take(now, rand.Uint32())
		if !ok {
			return nil, ErrNoPorts
		}
		rtp, err := bindPort(netip.AddrPortFrom(e.ip, n))
		if err == nil {
			var rtcp *port
			if rtcp, err = bindPort(netip.AddrPortFrom(e.ip, n+1)); err == nil {
				return newStream(e, sh, rtp, rtcp), nil
			}
			rtp.close()
		}
		if !isAddrInUse(err) {
			e.ports.give(n, now)
			return nil, fmt.Errorf("bind media port: %w", err)
		}
		e.ports.give(n, now+e.rest)
	}
}

// forget takes a closed stream out of the books; its ports rest.
func (e *Engine) forget(s *Stream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.streams, s)
	s.shard.open--
	e.ports.give(s.local.Port(), e.clock()+e.rest)
}

// Faults counts the streams that were dropped because handling them panicked.
func (e *Engine) Faults() uint64 {
	var n uint64
	for _, sh := range e.shards {
		n += sh.faults.Load()
	}
	return n
}

// Close ends all streams and then the shards. It is safe to call it again.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	open := make([]*Stream, 0, len(e.streams))
	for s := range e.streams {
		open = append(open, s)
	}
	e.mu.Unlock()
	for _, s := range open { // all at once, then wait for each
		s.hangUp()
	}
	for _, s := range open {
		s.Close()
	}
	e.stop()
	return nil
}

// stop ends the shards and waits for them.
func (e *Engine) stop() {
	for _, sh := range e.shards {
		sh.stop()
	}
	for _, sh := range e.shards {
		<-sh.done
	}
}
