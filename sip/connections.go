package sip

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// connections is the TCP listener as sipgo sees it: bounded in number, each connection with deadlines, and cut into whole messages.
//
// Whoever connects has to be known within timers.tcpStranger: a trunk, the address of a registered phone, or the caller of a call that was let in.
// So strangers can't hold the places of phones, however slowly they talk.
type connections struct {
	net.Listener
	limits limits
	times  timers
	judge  judge

	mu    sync.Mutex
	open  map[*bounded]struct{}
	count map[netip.Addr]int
	shut  bool
}

// judge is what the endpoint knows that a connection has to ask.
type judge interface {
	trunk(netip.Addr) string                                      // "": none; a trunk's connections are not counted
	keeps(netip.AddrPort) bool                                    // the peer may stay connected
	refusal(msg []byte, source netip.AddrPort, why string) []byte // to a message that can't be read; nil: no answer
}

func newConnections(l net.Listener, lim limits, times timers, j judge) *connections {
	return &connections{Listener: l, limits: lim, times: times, judge: j, open: make(map[*bounded]struct{}), count: make(map[netip.Addr]int)}
}

// Accept waits for the next connection within the bounds; those beyond are closed at once. Only Close makes it fail.
func (l *connections) Accept() (net.Conn, error) {
	for wait := 5 * time.Millisecond; ; {
		conn, err := l.Listener.Accept()
		if err != nil {
			l.mu.Lock()
			shut := l.shut
			l.mu.Unlock()
			if shut || errors.Is(err, net.ErrClosed) {
				return nil, net.ErrClosed
			}
			time.Sleep(wait) // out of file descriptors, mostly: give the others time to end
			wait = min(2*wait, time.Second)
			continue
		}
		wait = 5 * time.Millisecond
		now := time.Now()
		c := &bounded{Conn: conn, list: l, from: addrPortOf(conn.RemoteAddr()), welcome: now, heard: now}
		if !l.admit(c) {
			conn.Close()
			continue
		}
		return c, nil
	}
}

func (l *connections) admit(c *bounded) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut || len(l.open) >= l.limits.connections || l.count[c.from.Addr()] >= l.limits.perAddress && l.judge.trunk(c.from.Addr()) == "" {
		return false
	}
	l.open[c] = struct{}{}
	l.count[c.from.Addr()]++
	return true
}

func (l *connections) release(c *bounded) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.open[c]; !ok {
		return
	}
	delete(l.open, c)
	if l.count[c.from.Addr()]--; l.count[c.from.Addr()] == 0 {
		delete(l.count, c.from.Addr())
	}
}

// Close ends the listener and every connection that it accepted.
func (l *connections) Close() error {
	l.mu.Lock()
	l.shut = true
	var all []*bounded
	for c := range l.open {
		all = append(all, c)
	}
	l.mu.Unlock()
	err := l.Listener.Close()
	for _, c := range all {
		c.Close()
	}
	return err
}

// bounded is one accepted connection. sipgo gets whole messages from it and nothing else.
type bounded struct {
	net.Conn
	list *connections
	from netip.AddrPort

	// Touched by the reader only.
	in      []byte    // what arrived and was not handed on
	whole   int       // so many bytes of in are a message to be handed on
	begun   time.Time // when the first byte of an unfinished message came; zero: none
	heard   time.Time // when anything came last
	welcome time.Time // when the peer was last found to be one who may stay
}

var (
	errSlow       = errors.New("the message did not end in time")
	errStranger   = errors.New("nobody we know")
	errQuiet      = errors.New("quiet for too long")
	errUnframed   = errors.New("no end of the message to be seen")
	errTCPTooLong = errors.New("message too long")
)

// maxStreamed bounds one message over TCP, in bytes; sipgo takes 65535.
const maxStreamed = maxHead + maxBody - 1

// Read hands on the next message, or as much of it as b takes. Any error ends the connection.
func (c *bounded) Read(b []byte) (int, error) {
	for c.whole == 0 {
		if err := c.frame(); err != nil {
			return 0, err
		}
		if c.whole > 0 {
			break
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.in[:c.whole])
	c.take(n)
	c.whole -= n
	return n, nil
}

func (c *bounded) take(n int) {
	if c.in = c.in[n:]; len(c.in) == 0 {
		c.in = nil // idle connections hold no memory
	}
}

// frame finds the message at the head of what arrived (RFC 3261 §18.3). It answers keep-alives and what can't be read.
func (c *bounded) frame() error {
	for {
		for bytes.HasPrefix(c.in, crlf) {
			if bytes.HasPrefix(c.in, headEnd) { // RFC 5626 §3.5.1: ping, and its pong
				if _, err := c.Write(crlf); err != nil {
					return err
				}
				c.take(2)
			}
			c.take(2)
		}
		if len(c.in) == 0 {
			c.begun = time.Time{}
			return nil
		}
		if c.begun.IsZero() {
			c.begun = c.heard
		}
		end := bytes.Index(c.in, headEnd)
		if end < 0 {
			if len(c.in) > maxHead {
				return errTCPTooLong
			}
			return nil
		}
		_, headers, _ := bytes.Cut(c.in[:end], crlf)
		length, found, err := bodyLength(headers)
		size := end + len(headEnd) + length
		switch {
		case err != nil || !found:
			c.refuse(c.in[:end+len(headEnd)], "Content-Length Is Needed Once")
			return errUnframed
		case size > maxStreamed:
			c.refuse(c.in[:end+len(headEnd)], "Message Too Long")
			return errTCPTooLong
		case len(c.in) < size:
			return nil
		}
		c.begun = time.Time{}
		why := flaw(c.in[:size])
		if why == "" && sipLike(c.in[:size]) {
			c.whole = size
			return nil
		}
		if !sipLike(c.in[:size]) {
			return errUnframed
		}
		c.refuse(c.in[:size], why)
		c.take(size)
	}
}

func (c *bounded) refuse(msg []byte, why string) {
	if res := c.list.judge.refusal(msg, c.from, why); res != nil {
		c.Write(res) // if that fails the next Read fails too
	}
}

// fill reads more, until there is something or the connection's time is over.
func (c *bounded) fill() error {
	t := &c.list.times
	for {
		until := c.welcome.Add(t.tcpStranger)
		if !c.begun.IsZero() && c.begun.Add(t.tcpMessage).Before(until) {
			until = c.begun.Add(t.tcpMessage)
		}
		if err := c.Conn.SetReadDeadline(until); err != nil {
			return err
		}
		var b [4096]byte
		n, err := c.Conn.Read(b[:])
		if n > 0 {
			c.in = append(c.in, b[:n]...)
			c.heard = time.Now()
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		now := time.Now()
		switch {
		case !c.begun.IsZero() && now.Sub(c.begun) >= t.tcpMessage:
			return errSlow
		case now.Sub(c.heard) >= t.tcpIdle:
			return errQuiet
		case !c.list.judge.keeps(c.from):
			return errStranger
		}
		c.welcome = now
	}
}

func (c *bounded) Write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(tcpWrite)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *bounded) Close() error {
	c.list.release(c)
	return c.Conn.Close()
}
