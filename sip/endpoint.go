// Package sip is the line: it takes and places calls over SIP (RFC 3261) and gives each as a Leg with its audio.
//
// It decides what a request gets for an answer, who may enter, which phone won, and when a dialog is over. It never decides who is to be
// rung or what a caller hears. sipgo parses, sends and runs the transactions; the dialogs are ours.
//
// Each dialog has one goroutine that owns all of its state (Leg.run). sipgo handles every message on a goroutine of its own, without order;
// those only look up the dialog and hand the message over. The Endpoint owns the listeners' goroutines and the clean-up; Close ends them all.
package sip

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// Endpoint is a SIP user agent with a registrar, on all addresses of Config.Listen.
type Endpoint struct {
	cfg        Config
	log        *slog.Logger
	times      timers
	limits     limits
	tpl        *sipmsg.TransportLayer
	txl        *sipmsg.TransactionLayer
	udp        []*packets
	tcp        []*connections
	digest     *digestServer
	registrar  *registrar
	statics    *statics
	secret     [32]byte // of the To tags
	arrivals   atomic.Uint64
	draining   atomic.Bool
	dials      dials
	complaints sparing // of wrong credentials

	ctx  context.Context // done when the endpoint is closed: every goroutine ends
	stop context.CancelFunc

	mu      sync.Mutex
	closed  bool
	legs    map[dialogKey]*Leg
	merges  map[mergeKey]string // branch of each incoming INVITE whose leg lives
	invites map[string]*Leg     // by INVITE transaction, for CANCEL
	pending int                 // incoming INVITEs without a final answer
	work    sync.WaitGroup
	started bool
}

// dialogKey finds a dialog. Our tag alone would do, being random; the Call-ID keeps strangers from guessing.
type dialogKey struct{ callID, localTag string }

// library settles what sipgo keeps in package variables, once for the process.
var library sync.Once

// New binds all addresses; nothing is read before Serve. Errors name the address.
func New(cfg Config) (*Endpoint, error) {
	if cfg.Realm == "" {
		cfg.Realm = "hotline"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Accounts == nil {
		cfg.Accounts = func(string) (Account, bool) { return Account{}, false }
	}
	if cfg.Screen == nil {
		cfg.Screen = func(Invite) Verdict { return NotFound }
	}
	if cfg.OnCall == nil {
		cfg.OnCall = func(l *Leg) { l.Reject(ReasonNotFound) }
	}
	if cfg.OnReachable == nil {
		cfg.OnReachable = func(string, bool) {}
	}
	if cfg.Media == nil {
		return nil, errors.New("sip: Config.Media is missing")
	}
	// sipgo logs whole messages of strangers; what an operator needs we log ourselves, bounded.
	quiet := slog.New(slog.DiscardHandler)
	library.Do(func() {
		sipmsg.SetDefaultLogger(quiet)
		sipmsg.UDPMTUSize = 65000 // sipgo refuses to send more than this less 200 bytes over UDP, and never changes to TCP
	})
	e := &Endpoint{
		cfg: cfg, log: cfg.Log, times: cfg.timers.withDefaults(), limits: cfg.limits.withDefaults(),
		legs: make(map[dialogKey]*Leg), merges: make(map[mergeKey]string), invites: make(map[string]*Leg),
	}
	e.ctx, e.stop = context.WithCancel(context.Background())
	rand.Read(e.secret[:])
	e.tpl = sipmsg.NewTransportLayer(net.DefaultResolver, parser(), nil,
		sipmsg.WithTransportLayerLogger(quiet),
		sipmsg.WithTransportLayerTransports(sipmsg.TransportsConfig{TCP: &sipmsg.TransportTCP{
			WriteTimeout: tcpWrite, // connections that we take have read deadlines of their own
			DialerCreate: e.dialer,
		}}))
	e.tpl.OnMessage(e.arrive) // before the transaction layer, which appends itself
	e.txl = sipmsg.NewTransactionLayer(e.tpl,
		sipmsg.WithTransactionLayerLogger(quiet),
		sipmsg.WithTransactionLayerUnhandledResponseHandler(e.strayResponse))
	e.txl.OnRequest(e.onRequest)
	for _, s := range cfg.Listen {
		if err := e.bind(s); err != nil {
			e.closeListeners()
			e.stop()
			return nil, err
		}
	}
	if len(e.udp)+len(e.tcp) == 0 {
		e.stop()
		return nil, errors.New("sip: no address to listen on")
	}
	e.digest = newDigestServer(cfg.Realm, cfg.Accounts, time.Now)
	e.statics = newStatics(e)
	e.registrar = newRegistrar(registrarOptions{accounts: cfg.Accounts, onReachable: cfg.OnReachable, now: time.Now, log: e.log})
	return e, nil
}

func (e *Endpoint) bind(s string) error {
	a, err := parseAddress(s)
	if err != nil {
		return err
	}
	if a.network == "udp" {
		conn, err := net.ListenPacket(a.family(), a.at.String())
		if err != nil {
			return fmt.Errorf("listen %s: %w", s, err)
		}
		if u, ok := conn.(*net.UDPConn); ok {
			u.SetReadBuffer(4 << 20) // a burst waits here; the kernel may give less
		}
		l := newPackets(conn, e.tpl.Pool("udp"), e.limits.sources, e)
		l.pool.Add(l.stay.PacketAddr, l.stay) // requests may be sent before Serve reads
		e.udp = append(e.udp, l)
		return nil
	}
	l, err := net.Listen(a.family(), a.at.String())
	if err != nil {
		return fmt.Errorf("listen %s: %w", s, err)
	}
	e.tcp = append(e.tcp, newConnections(l, e.limits, e.times, e))
	return nil
}

// Serve handles what arrives until ctx is done, which closes the endpoint at once, or until Close, after which it returns nil.
func (e *Endpoint) Serve(ctx context.Context) error {
	e.mu.Lock()
	if e.closed || e.started {
		defer e.mu.Unlock()
		if e.started && !e.closed {
			return errors.New("sip: the endpoint serves already")
		}
		return nil
	}
	e.started = true
	for _, l := range e.udp {
		e.work.Go(func() {
			for !l.closed.Load() {
				e.tpl.ServeUDP(l)
			}
		})
	}
	for _, l := range e.tcp {
		e.work.Go(func() { e.tpl.ServeTCP(l) })
	}
	e.work.Go(func() { e.registrar.run(e.ctx) })
	e.mu.Unlock()
	for _, a := range e.Addrs() {
		e.log.Info("sip listens", "address", a)
	}
	select {
	case <-ctx.Done():
		now, cancel := context.WithCancel(context.Background())
		cancel()
		e.Close(now)
		return context.Cause(ctx)
	case <-e.ctx.Done():
		return nil
	}
}

// Addrs gives the bound addresses as URLs, in the order of Config.Listen within each transport: UDP first.
func (e *Endpoint) Addrs() []string {
	var all []string
	for _, l := range e.udp {
		all = append(all, "udp://"+l.LocalAddr().String())
	}
	for _, l := range e.tcp {
		all = append(all, "tcp://"+l.Addr().String())
	}
	return all
}

// Drain turns new calls away with 503 from now on; what is open goes on.
func (e *Endpoint) Drain() { e.draining.Store(true) }

// Close hangs up everything that is open, waits until the peers have answered or ctx is done, and closes the listeners. The error is ctx's
// cause when something was still unanswered then.
func (e *Endpoint) Close(ctx context.Context) error {
	e.Drain()
	e.mu.Lock()
	legs := make([]*Leg, 0, len(e.legs))
	for _, l := range e.legs {
		legs = append(legs, l)
	}
	e.mu.Unlock()
	for _, l := range legs {
		l.Hangup()
	}
	var err error
	for _, l := range legs {
		select {
		case <-l.calm:
			continue
		default:
		}
		select {
		case <-l.calm:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.stop()
	e.closeListeners()
	e.txl.Close()
	e.tpl.Pool("tcp").Clear() // of UDP there are only our own sockets
	e.work.Wait()
	return err
}

func (e *Endpoint) closeListeners() {
	for _, l := range e.udp {
		l.Close()
	}
	for _, l := range e.tcp {
		l.Close()
	}
}

// enter counts a piece of work in; false: the endpoint is closed.
func (e *Endpoint) enter() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.work.Add(1)
	return true
}

// spawn runs f on a goroutine that Close waits for; f must end soon after e.ctx is done.
func (e *Endpoint) spawn(f func()) bool {
	if !e.enter() {
		return false
	}
	go func() {
		defer e.work.Done()
		f()
	}()
	return true
}

// Reachable tells whether Dial would have somewhere to ring: a live registration, or a static contact that is not known to be down.
func (e *Endpoint) Reachable(user string) bool {
	acc, ok := e.cfg.Accounts(user)
	if !ok {
		return false
	}
	if acc.Contact != "" {
		return !e.statics.isDown(user)
	}
	return len(e.registrar.contacts(user)) > 0
}

// trunk names the trunk that ip belongs to, "" if none.
func (e *Endpoint) trunk(ip netip.Addr) string {
	for _, t := range e.cfg.Trunks {
		for _, p := range t.From {
			if p.Contains(ip) {
				return t.Name
			}
		}
	}
	return ""
}

// known tells whether requests from ip get the answers that the RFC asks for; all others get silence or a challenge.
func (e *Endpoint) known(ip netip.Addr) bool { return e.trunk(ip) != "" || e.registrar.known(ip) }

// keeps tells whether a TCP connection from there may stay: one of a trunk, of an address with a registered phone, or with a call on it.
func (e *Endpoint) keeps(from netip.AddrPort) bool {
	if e.known(from.Addr()) {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.legs {
		if l.peer == from {
			return true
		}
	}
	return false
}

// methodCancel is what arrive calls a CANCEL, so that sipgo hands it to us. Left alone, sipgo would answer it and send 487 by itself while
// our 200 may be on its way, each with a To tag of its own.
const methodCancel sipmsg.RequestMethod = "CANCEL-INVITE"

// headerArrival numbers requests in the order in which they arrived on their socket; sipgo's goroutines lose it.
const headerArrival = "X-Hotline-Arrival"

// arrive sees every message before the transaction layer, in order, on the reader's goroutine. It prepares requests so that whatever sipgo
// sends by itself is right too: responses go to where the request came from (RFC 3581, also when the phone did not ask), and all responses
// to one INVITE carry one To tag.
func (e *Endpoint) arrive(msg sipmsg.Message) {
	req, ok := msg.(*sipmsg.Request)
	if !ok {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			e.log.Error("panic while reading a request", "panic", r)
		}
	}()
	source, err := netip.ParseAddrPort(req.Source())
	if via := req.Via(); via != nil && req.CSeq() != nil {
		for _, h := range req.GetHeaders("via") {
			if v, ok := h.(*sipmsg.ViaHeader); ok {
				lowerNames(v.Params)
			}
		}
		via.Params.Remove("received")
		via.Params.Add("rport", "")
	} else if err != nil || !e.known(source.Addr().Unmap()) {
		req.SetTransport("silence") // sipgo's own 400 finds no transport
		return
	}
	if from := req.From(); from != nil {
		lowerNames(from.Params)
	}
	if to := req.To(); to != nil {
		lowerNames(to.Params)
		if !to.Params.Has("tag") && !req.IsAck() {
			to.Params.Add("tag", e.tagFor(req))
		}
	}
	if req.IsCancel() {
		req.Method = methodCancel
	}
	req.AppendHeader(sipmsg.NewHeader(headerArrival, strconv.FormatUint(e.arrivals.Add(1), 10)))
}

func lowerNames(params sipmsg.HeaderParams) {
	for i := range params {
		params[i].K = strings.ToLower(strings.TrimSpace(params[i].K))
		params[i].V = strings.TrimSpace(params[i].V)
	}
}

// tagFor is our To tag of a request that came without one: the same for a retransmission and for its CANCEL, not to be guessed, and never the
// tag of a request within a dialog, since each request has a branch of its own.
func (e *Endpoint) tagFor(req *sipmsg.Request) string {
	mac := hmac.New(sha256.New, e.secret[:])
	write := func(s string) {
		mac.Write([]byte(s))
		mac.Write([]byte{0})
	}
	if h := req.CallID(); h != nil {
		write(h.Value())
	}
	if h := req.From(); h != nil {
		write(h.Params.GetOr("tag", ""))
	}
	if h := req.Via(); h != nil {
		write(h.Params.GetOr("branch", "") + h.SentBy())
	}
	return tagEncoding.EncodeToString(mac.Sum(nil)[:10])
}

var tagEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

func newTag() string { return strings.ToLower(rand.Text()[:16]) }

// onRequest is called by sipgo for each new server transaction, on a goroutine of its own.
func (e *Endpoint) onRequest(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	if !e.enter() {
		tx.Terminate()
		return
	}
	defer e.work.Done()
	defer func() {
		if r := recover(); r != nil {
			e.log.Error("panic while handling a request", "method", short(string(req.Method)), "callid", callIDOf(req), "panic", r, "stack", string(debug.Stack()))
			e.respond(req, tx, 500)
		}
	}()
	e.route(req, tx)
}

// strayResponse gets responses that match no transaction any more.
func (e *Endpoint) strayResponse(res *sipmsg.Response) {
	cseq, from := res.CSeq(), res.From()
	if cseq == nil || from == nil || cseq.MethodName != sipmsg.INVITE || !res.IsSuccess() {
		return
	}
	if l := e.find(callIDOf(res), from.Params.GetOr("tag", "")); l != nil && !l.incoming {
		l.post(func() { l.onInviteSuccess(res) })
	}
}

// find gives the dialog with our tag, nil if there is none.
func (e *Endpoint) find(callID, localTag string) *Leg {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.legs[dialogKey{callID, localTag}]
}

func callIDOf(m sipmsg.Message) string {
	if h := m.CallID(); h != nil {
		return string(*h)
	}
	return ""
}

// short bounds what a stranger can put into a log line.
func short(s string) string {
	if len(s) > 96 {
		return s[:96] + "…"
	}
	return s
}
