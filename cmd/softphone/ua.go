package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"hotline/sip/media"
	"hotline/sip/sdp"
)

// userAgent is what the phone calls itself.
const userAgent = "hotline-softphone"

// allowed are the methods that the phone answers.
const allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE"

// byeTimeout bounds the wait for the answer to a goodbye (BYE or un-REGISTER),
// so that the program ends although the peer is gone.
const byeTimeout = 5 * time.Second

// identity is who the phone says it is.
type identity struct {
	User, Password string // for digest; Password "": never authenticates
	Name, Number   string // of the From header; Number "": User
}

// phoneConfig is what a phone is made of.
type phoneConfig struct {
	identity
	Server     string         // host or host:port that it talks to; decides the local address
	Listen     netip.AddrPort // where to listen; an invalid address: by route to Server, port 0: any
	Transport  string         // "udp" or "tcp"
	Codecs     []sdp.Codec    // by preference
	MediaPorts media.PortRange
	Log        *slog.Logger                     // of the SIP stack
	Progress   func(format string, args ...any) // tells a person what happens
}

// phone is a SIP user agent: transport, transactions and media shared by its
// calls. Messages come in on goroutines of sipgo, one each; requests within a dialog
// are handed to the goroutine of the call.
type phone struct {
	phoneConfig
	local netip.AddrPort
	tp    *sipmsg.TransportLayer
	tx    *sipmsg.TransactionLayer
	media *media.Engine
	// ackWithin is how long an answer of ours waits for its ACK (RFC 3261 §13.3.1.4).
	ackWithin time.Duration

	closers []func() error
	serving sync.WaitGroup

	mu       sync.Mutex
	calls    map[dialogKey]*call
	onInvite func(*ringing) // takes a call that comes in; nil: busy
}

// dialogKey finds a call by what every in-dialog request carries.
type dialogKey struct{ callID, localTag string }

// newPhone binds the phone's sockets.
func newPhone(c phoneConfig) (*phone, error) {
	listen := c.Listen
	if !listen.Addr().IsValid() {
		addr, err := localAddr(c.Server)
		if err != nil {
			return nil, err
		}
		listen = netip.AddrPortFrom(addr, listen.Port())
	}
	if c.Number == "" {
		c.Number = c.User
	}
	if c.Number == "" {
		c.Number = "softphone"
	}
	engine, err := media.NewEngine(media.Config{IP: listen.Addr(), Ports: c.MediaPorts, Shards: 1})
	if err != nil {
		return nil, fmt.Errorf("open media on %s: %w", listen.Addr(), err)
	}
	p := &phone{phoneConfig: c, media: engine, ackWithin: 64 * t1, calls: make(map[dialogKey]*call)}
	p.tp = sipmsg.NewTransportLayer(net.DefaultResolver, sipmsg.NewParser(), nil, sipmsg.WithTransportLayerLogger(c.Log))
	p.tx = sipmsg.NewTransactionLayer(p.tp, sipmsg.WithTransactionLayerLogger(c.Log), sipmsg.WithTransactionLayerUnhandledResponseHandler(func(*sipmsg.Response) {}))
	p.tx.OnRequest(p.receive)
	p.tp.OnMessage(p.overhear)
	if err := p.bind(listen); err != nil {
		_ = engine.Close()
		return nil, err
	}
	return p, nil
}

// bind opens the listening socket and serves it until close.
func (p *phone) bind(listen netip.AddrPort) error {
	switch p.Transport {
	case "tcp":
		l, err := net.Listen("tcp", listen.String())
		if err != nil {
			return fmt.Errorf("listen on tcp %s: %w", listen, err)
		}
		p.local = l.Addr().(*net.TCPAddr).AddrPort()
		p.closers = append(p.closers, l.Close)
		p.serving.Go(func() { _ = p.tp.ServeTCP(l) })
	default:
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(listen))
		if err != nil {
			return fmt.Errorf("listen on udp %s: %w", listen, err)
		}
		p.local = c.LocalAddr().(*net.UDPAddr).AddrPort()
		p.closers = append(p.closers, c.Close)
		served := &readyConn{PacketConn: c, ready: make(chan struct{})}
		p.serving.Go(func() { _ = p.tp.ServeUDP(served) })
		<-served.ready
	}
	p.local = netip.AddrPortFrom(p.local.Addr().Unmap(), p.local.Port())
	return nil
}

// readyConn tells when the transport began to read: only then a request can be
// sent from this socket.
type readyConn struct {
	net.PacketConn
	once  sync.Once
	ready chan struct{}
}

func (c *readyConn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.once.Do(func() { close(c.ready) })
	return c.PacketConn.ReadFrom(b)
}

// close ends transactions, sockets and streams.
func (p *phone) close() {
	p.tx.Close()
	for _, c := range p.closers {
		_ = c()
	}
	_ = p.tp.Close()
	p.serving.Wait()
	_ = p.media.Close()
}

// localAddr is the address from which this machine reaches the server.
func localAddr(server string) (netip.Addr, error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		host, port = strings.Trim(server, "[]"), "5060"
	}
	ips, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip", host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find %s: %w", host, err)
	}
	target := ips[0].Unmap()
	for _, ip := range ips { // the transport prefers IPv4 too
		if ip.Unmap().Is4() {
			target = ip.Unmap()
			break
		}
	}
	// Connecting a UDP socket asks the kernel for the route and sends nothing.
	c, err := net.Dial("udp", net.JoinHostPort(target.String(), port))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no route to %s: %w", server, err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// contact is where peers reach this phone.
func (p *phone) contact() *sipmsg.ContactHeader {
	u := sipmsg.Uri{Scheme: "sip", User: p.Number, Host: p.local.Addr().String(), Port: int(p.local.Port())}
	if p.User != "" {
		u.User = p.User
	}
	if p.Transport == "tcp" {
		u.UriParams = sipmsg.HeaderParams{{K: "transport", V: "tcp"}}
	}
	return &sipmsg.ContactHeader{Address: u}
}

// request makes a request with all that RFC 3261 §8.1.1 wants, and a fresh branch.
func (p *phone) request(method sipmsg.RequestMethod, target sipmsg.Uri, from *sipmsg.FromHeader, to *sipmsg.ToHeader, callID string, cseq uint32) *sipmsg.Request {
	req := sipmsg.NewRequest(method, target)
	via := &sipmsg.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(p.Transport),
		Host: p.local.Addr().String(), Port: int(p.local.Port()),
		Params: sipmsg.HeaderParams{{K: "branch", V: sipmsg.GenerateBranch()}, {K: "rport"}},
	}
	id := sipmsg.CallIDHeader(callID)
	forwards := sipmsg.MaxForwardsHeader(70)
	req.AppendHeader(via)
	req.AppendHeader(sipmsg.HeaderClone(from))
	req.AppendHeader(sipmsg.HeaderClone(to))
	req.AppendHeader(&id)
	req.AppendHeader(&sipmsg.CSeqHeader{SeqNo: cseq, MethodName: method})
	req.AppendHeader(&forwards)
	req.AppendHeader(sipmsg.NewHeader("User-Agent", userAgent))
	req.SetBody(nil)
	p.route(req)
	return req
}

// route makes a request leave by our transport and, over UDP, from our socket.
func (p *phone) route(req *sipmsg.Request) {
	req.SetTransport(strings.ToUpper(p.Transport))
	if p.Transport == "udp" {
		req.Laddr = sipmsg.Addr{IP: p.local.Addr().AsSlice(), Port: int(p.local.Port())}
	}
}

// reply makes a response; to requests outside of a dialog and in it alike.
func reply(req *sipmsg.Request, code int, reason string) *sipmsg.Response {
	res := sipmsg.NewResponseFromRequest(req, code, reason, nil)
	res.AppendHeader(sipmsg.NewHeader("User-Agent", userAgent))
	switch {
	case code == 405, code/100 == 2 && req.Method == sipmsg.OPTIONS:
		res.AppendHeader(sipmsg.NewHeader("Allow", allowed))
		res.AppendHeader(sipmsg.NewHeader("Accept", "application/sdp"))
	}
	return res
}

// await sends a request that is no INVITE and returns its final response.
func (p *phone) await(ctx context.Context, req *sipmsg.Request) (*sipmsg.Response, error) {
	tx, err := p.tx.Request(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("send %s: %w", req.Method, err)
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			return nil, fmt.Errorf("%s: %w", req.Method, noResponse(tx.Err()))
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", req.Method, context.Cause(ctx))
		}
	}
}

// noResponse says in plain words what ended a transaction.
func noResponse(err error) error {
	if errors.Is(err, sipmsg.ErrTransactionTimeout) {
		return errors.New("no response")
	}
	return err
}

// ask sends what next makes, and again with credentials when it is challenged.
func (p *phone) ask(ctx context.Context, next func() *sipmsg.Request) (*sipmsg.Response, error) {
	var challenge *sipmsg.Response
	for tries := 0; ; tries++ {
		req := next()
		if challenge != nil {
			if err := p.authorize(req, challenge); err != nil {
				return nil, err
			}
		}
		res, err := p.await(ctx, req)
		if err != nil {
			return nil, err
		}
		if !p.mayAuthorize(res, tries) {
			return res, nil
		}
		challenge = res
	}
}

// mayAuthorize tells whether a challenge is worth another try: the first one, or one that
// says that only the nonce was old.
func (p *phone) mayAuthorize(res *sipmsg.Response, tries int) bool {
	if res.StatusCode != 401 && res.StatusCode != 407 || p.Password == "" {
		return false
	}
	c, err := challengeOf(res)
	return err == nil && (tries == 0 || c.Stale && tries < 3)
}

// challengeOf takes the first challenge that we can meet: the server lists the
// one that it likes best first (RFC 8760 §2.4).
func challengeOf(res *sipmsg.Response) (*digest.Challenge, error) {
	name := "WWW-Authenticate"
	if res.StatusCode == 407 {
		name = "Proxy-Authenticate"
	}
	for _, h := range res.GetHeaders(name) {
		if c, err := digest.ParseChallenge(h.Value()); err == nil && digest.CanDigest(c) {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%d without a digest challenge that this phone knows (MD5, SHA-256)", res.StatusCode)
}

// authorize adds the credentials that a 401 or 407 asks for.
func (p *phone) authorize(req *sipmsg.Request, res *sipmsg.Response) error {
	c, err := challengeOf(res)
	if err != nil {
		return err
	}
	credentials, err := digest.Digest(c, digest.Options{
		Method: req.Method.String(), URI: req.Recipient.String(),
		Username: p.User, Password: p.Password, Count: 1,
	})
	if err != nil {
		return fmt.Errorf("authenticate: %w", err)
	}
	name := "Authorization"
	if res.StatusCode == 407 {
		name = "Proxy-Authorization"
	}
	req.AppendHeader(sipmsg.NewHeader(name, credentials.String()))
	return nil
}

// overhear notes when a call begins to ring. Messages come here in their order; the
// transaction layer has a goroutine for each, so that a 200 may overtake its 180 and hide
// it.
func (p *phone) overhear(m sipmsg.Message) {
	res, ok := m.(*sipmsg.Response)
	if !ok || res.StatusCode <= 100 || res.StatusCode >= 200 || res.CallID() == nil || res.From() == nil {
		return
	}
	if c := p.call(res.CallID().Value(), tagOf(res.From().Params)); c != nil {
		now := time.Now()
		if c.rang.CompareAndSwap(nil, &now) {
			p.Progress("ringing (%d %s)", res.StatusCode, res.Reason)
		}
	}
}

// receive takes every request from the wire, on a goroutine of its own.
func (p *phone) receive(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	defer func() {
		if r := recover(); r != nil {
			p.Progress("panic on %s: %v\n%s", req.Method, r, debug.Stack())
			_ = tx.Respond(reply(req, 500, "Server Internal Error"))
		}
	}()
	if req.CallID() == nil || req.From() == nil || req.To() == nil || req.CSeq() == nil {
		p.refuse(req, tx, 400, "Bad Request: Call-ID, From, To or CSeq missing")
		return
	}
	if tag, ok := req.To().Params.Get("tag"); ok && tag != "" {
		if c := p.call(req.CallID().Value(), tag); c == nil || !c.deliver(inbound{req: req, tx: tx}) {
			p.refuse(req, tx, 481, "Call/Transaction Does Not Exist")
		}
		return
	}
	switch req.Method {
	case sipmsg.INVITE:
		p.ring(req, tx)
	case sipmsg.OPTIONS:
		p.refuse(req, tx, 200, "OK")
	case sipmsg.CANCEL, sipmsg.BYE, sipmsg.INFO, sipmsg.UPDATE:
		p.refuse(req, tx, 481, "Call/Transaction Does Not Exist")
	default:
		p.refuse(req, tx, 405, "Method Not Allowed")
	}
}

// refuse answers a request at once; an ACK is only forgotten.
func (p *phone) refuse(req *sipmsg.Request, tx *sipmsg.ServerTx, code int, reason string) {
	if req.IsAck() {
		tx.Terminate()
		return
	}
	_ = tx.Respond(reply(req, code, reason))
}

func (p *phone) call(callID, localTag string) *call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[dialogKey{callID, localTag}]
}

func (p *phone) enter(c *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[c.key()] = c
}

func (p *phone) leave(c *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, c.key())
}

// takeCalls sets who takes calls that come in.
func (p *phone) takeCalls(f func(*ringing)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onInvite = f
}
