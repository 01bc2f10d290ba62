package sip

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

const (
	// What a TCP connection may take to say its first byte, to stay quiet (longer than the longest registration), and to take a message from us.
	tcpFirstByte = 30 * time.Second
	tcpIdle      = 70 * time.Minute
	tcpWrite     = 5 * time.Second
	tcpDial      = 4 * time.Second
	retiredFor   = time.Minute
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

// packets is the UDP socket as sipgo sees it. It drops what is not SIP before sipgo sees it: keep-alives, STUN, RTP gone astray, scanners'
// garbage, and messages with a bare CR or LF in their headers, which would be injected into what we echo.
//
// sipgo keeps an entry per source address until its reader ends. After max of them packets ends the reader once (the socket stays
// open), and the endpoint starts it again. Messages that are still being handled must find their entry then: without one sipgo would open a
// new socket to answer from, and never close it. So a retired generation of entries stays for retiredFor.
type packets struct {
	net.PacketConn
	pool   *sipmsg.ConnectionPool
	max    int                   // source addresses
	stay   *sipmsg.UDPConnection // finds the socket in the pool while no reader runs
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

func newPackets(conn net.PacketConn, pool *sipmsg.ConnectionPool, most int) *packets {
	p := &packets{PacketConn: conn, pool: pool, max: most, sources: make(map[netip.AddrPort]struct{})}
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
		if !plausible(b[:n]) {
			p.junk.Add(1)
			continue
		}
		markCutBody(b[:n])
		if p.remember(from) {
			return n, from, nil
		}
		p.held, p.heldBy = bytes.Clone(b[:n]), from
		return 0, nil, net.ErrClosed
	}
}

// remember notes a source; false: the reader has to start afresh first.
func (p *packets) remember(from net.Addr) bool {
	udp, ok := from.(*net.UDPAddr)
	if !ok {
		return true
	}
	at := udp.AddrPort()
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
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

// plausible tells whether a datagram can be a SIP message: a start line with the protocol's name, and header lines that end in CRLF with
// no NUL and no bare CR or LF among them.
func plausible(b []byte) bool {
	if len(b) < 32 || !isLetter(b[0]) {
		return false
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return false
	}
	head := b[:end]
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) > 2048 || !bytes.HasPrefix(line, []byte("SIP/")) && !bytes.Contains(line, []byte(" SIP/")) {
		return false
	}
	for i, c := range head {
		switch c {
		case 0:
			return false
		case '\n':
			if i == 0 || head[i-1] != '\r' {
				return false
			}
		case '\r':
			if i+1 >= len(head) || head[i+1] != '\n' {
				return false
			}
		}
	}
	return true
}

func isLetter(c byte) bool { return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' }

// cutBody is what markCutBody turns the name Content-Length into.
const cutBody = "Xontent-length"

// markCutBody renames a Content-Length that promises more than the datagram has. sipgo would drop the message; RFC 3261 §18.3 wants 400 for a
// request, and so validate answers it when it sees the name.
func markCutBody(b []byte) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	have := len(b) - end - 4
	for at := 0; at < end; {
		line := b[at:end]
		if i := bytes.Index(line, []byte("\r\n")); i >= 0 {
			line = line[:i]
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if ok && bytes.EqualFold(bytes.TrimSpace(name), []byte("content-length")) {
			n, valid := 0, false
			for _, c := range bytes.TrimSpace(value) {
				if valid = '0' <= c && c <= '9'; !valid {
					break
				}
				n = min(n*10+int(c-'0'), 1<<20)
			}
			if valid && n > have {
				b[at] = cutBody[0]
			}
		}
		at += len(line) + 2
	}
}

// connections is the TCP listener as sipgo sees it: bounded in number, with deadlines on each connection.
type connections struct {
	net.Listener
	limits  limits
	trusted func(netip.Addr) bool // a trunk's addresses are not bound one by one

	mu    sync.Mutex
	open  map[*bounded]struct{}
	count map[netip.Addr]int
	shut  bool
}

func newConnections(l net.Listener, lim limits, trusted func(netip.Addr) bool) *connections {
	return &connections{Listener: l, limits: lim, trusted: trusted, open: make(map[*bounded]struct{}), count: make(map[netip.Addr]int)}
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
		c := &bounded{Conn: conn, list: l, from: addrOf(conn.RemoteAddr())}
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
	if l.shut || len(l.open) >= l.limits.connections || l.count[c.from] >= l.limits.perAddress && !l.trusted(c.from) {
		return false
	}
	l.open[c] = struct{}{}
	l.count[c.from]++
	return true
}

func (l *connections) release(c *bounded) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.open[c]; !ok {
		return
	}
	delete(l.open, c)
	if l.count[c.from]--; l.count[c.from] == 0 {
		delete(l.count, c.from)
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

// bounded is one accepted connection.
type bounded struct {
	net.Conn
	list  *connections
	from  netip.Addr
	heard bool // touched by the reader only
}

func (c *bounded) Read(b []byte) (int, error) {
	limit := tcpFirstByte
	if c.heard {
		limit = tcpIdle
	}
	if err := c.Conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	c.heard = c.heard || n > 0
	return n, err
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

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// parser reads SIP with sipgo's header parsers, but a header that one of them refuses is kept as plain text instead of losing the whole
// message: validate then answers 400, where sipgo would log the message and stay silent.
func parser() *sipmsg.Parser {
	lenient := make(map[string]sipmsg.HeaderParser)
	for name, parse := range sipmsg.DefaultHeadersParser() {
		lenient[name] = func(headerName []byte, value string) (h sipmsg.Header, err error) {
			defer func() {
				if recover() != nil { // on sipgo's reader, where a panic would end the process
					h, err = sipmsg.NewHeader(broken+string(headerName), value), nil
				}
			}()
			h, err = parse(headerName, value)
			if err == nil || err.Error() == errComma {
				return h, err
			}
			return sipmsg.NewHeader(broken+string(headerName), value), nil
		}
	}
	return sipmsg.NewParser(sipmsg.WithHeadersParsers(lenient))
}

// errComma is the text of sipgo's unexported error by which a header parser says that another value follows a comma.
const errComma = "comma detected"

// broken is put in front of the name of a header that could not be parsed.
const broken = "X-Broken-"
