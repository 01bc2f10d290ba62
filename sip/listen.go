package sip

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

const (
	tcpWrite   = 5 * time.Second // what a TCP connection may take to swallow a message of ours
	tcpDial    = 4 * time.Second
	retiredFor = time.Minute
)

// address is one entry of Config.Listen.
type address struct {
	network string // "udp" or "tcp"
	at      netip.AddrPort
}

func parseAddress(s string) (address, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Path != "" {
		return address{}, fmt.Errorf("listen %q: want an address like udp://127.0.0.1:5060", s)
	}
	if u.Scheme != "udp" && u.Scheme != "tcp" {
		return address{}, fmt.Errorf("listen %q: transport %q is not supported, want udp or tcp", s, u.Scheme)
	}
	at, err := netip.ParseAddrPort(u.Host)
	if err != nil {
		return address{}, fmt.Errorf("listen %q: want an IP address and a port after %s://, like 127.0.0.1:5060", s, u.Scheme)
	}
	return address{network: u.Scheme, at: netip.AddrPortFrom(at.Addr().Unmap(), at.Port())}, nil
}

// family names the one address family, so that the socket's own address reads as it was configured; sipgo compares it as text.
func (a address) family() string {
	if a.at.Addr().Is4() {
		return a.network + "4"
	}
	return a.network + "6"
}

// packets is the UDP socket as sipgo sees it. What is not SIP, or can't be read, ends here, see malformed.go.
//
// sipgo keeps an entry per source address until its reader ends. After max of them packets ends the reader once (the socket stays
// open), and the endpoint starts it again. Messages that are still being handled must find their entry then: without one sipgo would open a
// new socket to answer from, and never close it. So a retired generation of entries stays for retiredFor.
type packets struct {
	net.PacketConn
	pool   *sipmsg.ConnectionPool
	max    int                   // source addresses
	stay   *sipmsg.UDPConnection // finds the socket in the pool while no reader runs
	judge  judge
	closed atomic.Bool
	junk   atomic.Uint64

	// Touched by the reader only.
	sources map[netip.AddrPort]struct{}
	retired []generation
	held    []byte // the datagram that arrived when the reader had to start afresh
	heldBy  net.Addr
}

// generation is what one run of the reader remembered.
type generation struct {
	ended   time.Time
	sources map[netip.AddrPort]struct{}
}

func newPackets(conn net.PacketConn, pool *sipmsg.ConnectionPool, most int, j judge) *packets {
	p := &packets{PacketConn: conn, pool: pool, max: most, judge: j, sources: make(map[netip.AddrPort]struct{})}
	p.stay = &sipmsg.UDPConnection{PacketConn: p, PacketAddr: conn.LocalAddr().String(), Listener: true}
	return p
}

// ReadFrom returns the next datagram that looks like SIP. Any error ends sipgo's reader, so passing ones are not returned.
func (p *packets) ReadFrom(b []byte) (int, net.Addr, error) {
	if p.held != nil {
		n, from := copy(b, p.held), p.heldBy
		p.held, p.heldBy = nil, nil
		return n, from, nil
	}
	for failures := 0; ; {
		n, from, err := p.PacketConn.ReadFrom(b)
		if err != nil {
			if p.closed.Load() || errors.Is(err, net.ErrClosed) {
				p.retire(time.Now())
				return 0, nil, net.ErrClosed
			}
			if failures++; failures > 100 {
				return 0, nil, err
			}
			continue
		}
		failures = 0
		if !p.readable(b[:n], from) {
			p.junk.Add(1)
			continue
		}
		if p.remember(from) {
			return n, from, nil
		}
		p.held, p.heldBy = bytes.Clone(b[:n]), from
		return 0, nil, net.ErrClosed
	}
}

// readable tells whether sipgo will understand the datagram. If not, and it is a request of somebody known, it is answered.
func (p *packets) readable(msg []byte, from net.Addr) bool {
	if !sipLike(msg) {
		return false
	}
	why := flaw(msg)
	if why == "" {
		return true
	}
	if res := p.judge.refusal(msg, addrPortOf(from), why); res != nil {
		p.PacketConn.WriteTo(res, from) // if it is lost, the request comes again
	}
	return false
}

// remember notes a source; false: the reader has to start afresh first.
func (p *packets) remember(from net.Addr) bool {
	at := addrPortOf(from)
	if !at.IsValid() {
		return true
	}
	if _, known := p.sources[at]; known {
		return true
	}
	full := len(p.sources) >= p.max
	if full {
		p.retire(time.Now())
	}
	p.sources[at] = struct{}{}
	return !full
}

// retire puts stay in the place of the entries that sipgo removes when its reader ends, and removes those of generations that are long gone.
func (p *packets) retire(now time.Time) {
	p.retired = append(p.retired, generation{now, p.sources})
	p.sources = make(map[netip.AddrPort]struct{})
	gone := slices.IndexFunc(p.retired, func(g generation) bool { return now.Sub(g.ended) < retiredFor }) // oldest first; the last is new
	for _, g := range p.retired[:gone] {
		for at := range g.sources {
			p.pool.Delete(at.String())
		}
	}
	p.retired = slices.Delete(p.retired, 0, gone)
	for _, g := range p.retired {
		for at := range g.sources {
			p.pool.Add(at.String(), p.stay)
		}
	}
	p.pool.Add(p.stay.PacketAddr, p.stay)
}

// Close ends the reader for good.
func (p *packets) Close() error {
	p.closed.Store(true)
	return p.PacketConn.Close()
}

func addrOf(a net.Addr) netip.Addr { return addrPortOf(a).Addr() }

// addrPortOf is the zero AddrPort for what is neither UDP nor TCP.
func addrPortOf(a net.Addr) netip.AddrPort {
	var at netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		at = a.AddrPort()
	case *net.UDPAddr:
		at = a.AddrPort()
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}
