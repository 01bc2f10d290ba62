//go:build !linux || portable

package media

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// Elsewhere than on Linux each socket is a net.UDPConn with a goroutine that
// reads it into a ring, from which the shard takes packets on its tick.

const (
	ringPackets = 32   // of 20 ms each: a burst after a stall of 640 ms
	ringSize    = 1500 // bytes of one packet: what Ethernet carries

	// A socket that fails so often without a packet between is broken: it is
	// heard no more, and the call ends by the timeout for silence.
	maxFailures = 1000
)

// port is one UDP socket.
type port struct {
	conn    *net.UDPConn
	addr    netip.AddrPort
	stream  *Stream
	control bool // RTCP

	mu     sync.Mutex
	ring   []ringPacket // when it is full the newest is dropped, as a kernel does
	first  int
	n      int
	listed bool // in poller.pending
}

type ringPacket struct {
	from netip.AddrPort
	n    int
	b    [ringSize]byte
}

// bindPort opens a socket on addr.
func bindPort(addr netip.AddrPort) (*port, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, fmt.Errorf("bind %v: %w", addr, err)
	}
	return &port{conn: conn, addr: addr}, nil
}

func isAddrInUse(err error) bool {
	const wsaEAddrInUse = syscall.Errno(10048)
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaEAddrInUse)
}

// close ends the reading goroutine, too.
func (p *port) close() { p.conn.Close() }

// read takes one packet from the ring; ok is false when there is none.
func (p *port) read(b []byte) (n int, from netip.AddrPort, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == 0 {
		return 0, from, false
	}
	packet := &p.ring[p.first]
	p.first = (p.first + 1) % len(p.ring)
	p.n--
	return copy(b, packet.b[:packet.n]), packet.from, true
}

// write sends one packet; false: it is lost. The socket's buffer never fills
// with the few packets of one call, so this does not wait. An error that an
// earlier packet has left behind is cleared by the first try.
func (p *port) write(b []byte, to netip.AddrPort) bool {
	for range 2 {
		if _, err := p.conn.WriteToUDPAddrPort(b, to); err == nil {
			return true
		}
	}
	return false
}

// connect and dissolve do nothing: a net.UDPConn cannot be connected later, and
// the latch refuses other sources anyway.
func (p *port) connect(netip.AddrPort) {}
func (p *port) dissolve()              {}

// discard drops what has arrived so far, up to a bound in case more keeps
// coming.
func (p *port) discard() (n int) {
	var b [1]byte
	for n < 4096 {
		// A deadline in the past would be reported before looking.
		_ = p.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, _, err := p.conn.ReadFromUDPAddrPort(b[:]); errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			break
		}
		n++
	}
	_ = p.conn.SetReadDeadline(time.Time{})
	return n
}

// poller knows which ports have packets in their rings.
type poller struct {
	mu      sync.Mutex
	pending []*port
	list    []*port
	readers sync.WaitGroup
}

func newPoller() (*poller, error) { return &poller{}, nil }

// close waits for the readers; their sockets are closed by then.
func (p *poller) close() { p.readers.Wait() }

// add begins to read a port, until it is closed.
func (p *poller) add(port *port) {
	port.ring = make([]ringPacket, ringPackets)
	p.readers.Go(func() { p.reader(port) })
}

func (p *poller) remove(*port) {}

func (p *poller) reader(port *port) {
	b := make([]byte, ringSize)
	for failures := 0; failures < maxFailures; {
		n, from, err := port.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // the peer's refusal of an earlier packet
			failures++
			continue
		}
		failures = 0
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		port.mu.Lock()
		if port.n < len(port.ring) {
			packet := &port.ring[(port.first+port.n)%len(port.ring)]
			packet.from, packet.n = from, copy(packet.b[:], b[:n])
			port.n++
		}
		list := !port.listed
		port.listed = true
		port.mu.Unlock()
		if list {
			p.mu.Lock()
			p.pending = append(p.pending, port)
			p.mu.Unlock()
		}
	}
}

// ready gives the ports that have packets, valid until the next call. One packet
// is read from each before asking again.
func (p *poller) ready() []*port {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Those read in the round before that have more take part in this one.
	for _, port := range p.list {
		port.mu.Lock()
		if port.n > 0 {
			p.pending = append(p.pending, port)
		} else {
			port.listed = false
		}
		port.mu.Unlock()
	}
	p.pending, p.list = p.list[:0], p.pending
	return p.list
}
