package sip

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"hotline/sip/media"
	"hotline/sip/sdp"
)

// Leg is one party of a call: one SIP dialog and its audio. Its methods may be called from any goroutine.
//
// All state below the line is touched by run only, the leg's one goroutine; everything else hands it functions through inbox.
type Leg struct {
	e        *Endpoint
	id       string
	localTag string
	incoming bool
	invite   Invite
	peer     netip.AddrPort // where the INVITE came from, or the phone registered from; zero: a static contact
	stream   *media.Stream
	log      *slog.Logger

	inbox inbox
	holds chan bool
	done  chan struct{} // closed when the leg is over for its owner
	calm  chan struct{} // closed when nothing is left to say on the wire but to repeat an ACK
	quiet chan struct{} // closed when run has ended

	hang    context.Context // done when Hangup was called; the cause says why
	hangNow context.CancelCauseFunc

	callMu sync.Mutex
	call   string

	byPeer bool // these two are written before done is closed
	detail string

	// ---- run only ----

	dialog    dialog
	phase     phase
	over      bool
	hungUp    bool      // Hangup was seen
	confirmed bool      // OnDialog was told
	offers    offers    // where offer and answer stand
	unacked   []*final  // our 2xx to INVITEs that wait for their ACK
	saying    int       // BYE and CANCEL under way
	byeAfter  bool      // BYE as soon as nothing is unacked (RFC 3261 §15)
	peerSeqAt uint64    // arrival of the request that set dialog.RemoteSeq
	wake      time.Time // next time that tick has something to do; zero: nothing

	// incoming
	initial   *sipmsg.Request
	answer200 *prepared // nil: the caller left the offer to us
	tx        *sipmsg.ServerTx
	branch    string // of initial, see Endpoint.invites
	counted   bool   // among Endpoint.pending
	rings     time.Time
	givesUp   time.Time
	answering []chan<- error

	// outgoing
	out *attempt
}

type phase int

const (
	early     phase = iota // no final response to the first INVITE yet
	confirmed              // 2xx
	ended                  // refused, cancelled, or BYE
)

func (e *Endpoint) newLeg(callID, localTag string, stream *media.Stream) *Leg {
	l := &Leg{
		e: e, id: callID, localTag: localTag, stream: stream, log: e.log.With("callid", short(callID)),
		inbox: inbox{ready: make(chan struct{}, 1)},
		holds: make(chan bool, 8),
		done:  make(chan struct{}), calm: make(chan struct{}), quiet: make(chan struct{}),
	}
	l.hang, l.hangNow = context.WithCancelCause(context.Background())
	l.dialog = dialog{CallID: callID, LocalTag: localTag}
	l.offers.local = sdp.Local{
		Addr: stream.Local(), Codecs: []sdp.Codec{sdp.PCMU, sdp.PCMA}, Events: true,
		SessionID: uint64(rand.Uint32()), Version: 1,
	}
	return l
}

// begin enters the leg into the endpoint's book and starts its goroutine; false: the endpoint is closed, or such a dialog exists.
func (l *Leg) begin() bool {
	e := l.e
	e.mu.Lock()
	key := dialogKey{l.id, l.localTag}
	if e.closed || e.legs[key] != nil {
		e.mu.Unlock()
		return false
	}
	e.legs[key] = l
	e.work.Add(1)
	e.mu.Unlock()
	go func() {
		defer e.work.Done()
		l.run()
	}()
	return true
}

// ID is the SIP Call-ID.
func (l *Leg) ID() string { return l.id }

// SetCall says which visit the leg belongs to, for Config.OnDialog. Call it before Answer.
func (l *Leg) SetCall(call string) {
	l.callMu.Lock()
	defer l.callMu.Unlock()
	l.call = call
}

func (l *Leg) callName() string {
	l.callMu.Lock()
	defer l.callMu.Unlock()
	return l.call
}

// Invite tells what the caller dialled and who is calling; the zero Invite for a leg that we placed.
func (l *Leg) Invite() Invite { return l.invite }

// Audio is the leg's sound, from the start. Its figures stay readable after the leg is over.
func (l *Leg) Audio() *media.Stream { return l.stream }

// Holds tells that the peer put us on hold (true) or took us back (false). It holds eight; when nobody reads, the oldest are lost.
func (l *Leg) Holds() <-chan bool { return l.holds }

// Done is closed when the leg is over, whoever ended it.
func (l *Leg) Done() <-chan struct{} { return l.done }

// HungUp tells, after Done, whether the peer ended the leg, and how: "BYE", "CANCEL", "no ACK", "no answer in the ACK", "transport failed",
// or a status that was sent or received.
func (l *Leg) HungUp() (byPeer bool, detail string) {
	select {
	case <-l.done:
		return l.byPeer, l.detail
	default:
		return false, ""
	}
}

// Ringing sends 180 for an incoming call that is not answered yet. It is repeated each minute until the answer.
func (l *Leg) Ringing() error { return l.ask(context.Background(), (*Leg).ring) }

// Answer sends 200 with our session description and repeats it until the ACK comes. It returns when audio runs: at once, or, when the
// caller left the offer to us, when the answer came with the ACK. Without an ACK within 64*T1 the leg gets BYE and is over. When ctx is done
// first, the call may be answered all the same: hang it up.
func (l *Leg) Answer(ctx context.Context) error {
	reply := make(chan error, 1)
	if !l.post(func() { l.answer(reply) }) {
		return ErrOver
	}
	select {
	case err := <-reply:
		return err
	case <-l.done:
		select {
		case err := <-reply:
			return err
		default:
			return ErrOver
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Reject turns an incoming call down that is not answered yet; on any other leg it does nothing.
func (l *Leg) Reject(why Reason) {
	l.post(func() {
		if l.incoming && l.phase == early {
			var extra []sipmsg.Header
			if why == ReasonUnavailable {
				extra = append(extra, retryAfter(10+rand.IntN(20)))
			}
			l.refuse(int(why), "", false, extra...)
		}
	})
}

// Hangup ends the leg: BYE, CANCEL, or 480 to an incoming call that is not answered yet. It may be called any number of times and never
// blocks; Done tells when the leg is over.
func (l *Leg) Hangup() { l.hangNow(nil) }

func (l *Leg) ask(ctx context.Context, f func(*Leg) error) error {
	reply := make(chan error, 1)
	if !l.post(func() { reply <- f(l) }) {
		return ErrOver
	}
	select {
	case err := <-reply:
		return err
	case <-l.quiet:
		return ErrOver
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// post hands f to the leg's goroutine; false: the leg has ended or is buried in messages, and f will not run.
func (l *Leg) post(f func()) bool { return l.inbox.put(f) }

// inbox keeps what a leg has still to do, in order. It never makes the sender wait: senders are sipgo's transactions, which hold locks.
type inbox struct {
	mu     sync.Mutex
	queue  []func()
	closed bool
	ready  chan struct{} // size 1: there is something in queue
}

// maxInbox is far more than one dialog has under way; beyond it the peer misbehaves, and its messages are refused.
const maxInbox = 256

func (b *inbox) put(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.queue) >= maxInbox {
		return false
	}
	b.queue = append(b.queue, f)
	select {
	case b.ready <- struct{}{}:
	default:
	}
	return true
}

// take gives what waits; last closes the inbox.
func (b *inbox) take(last bool) []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue
	b.queue, b.closed = nil, b.closed || last
	return q
}

// run owns the dialog until there is nothing left to say.
func (l *Leg) run() {
	defer l.leave()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	hang := l.hang.Done()
	for !l.finished() {
		l.wake = l.next()
		if l.wake.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(l.wake))
		}
		select {
		case <-l.inbox.ready:
			for _, f := range l.inbox.take(false) {
				l.guard(f)
			}
		case <-hang:
			hang = nil
			for _, f := range l.inbox.take(false) { // what was asked for before Hangup, a Reject for one, comes first
				l.guard(f)
			}
			l.guard(l.hangup)
		case <-timer.C:
			l.guard(func() { l.tick(time.Now()) })
		case <-l.e.ctx.Done():
			l.end(false, "closed")
			return
		}
	}
}

// guard keeps a panic within this call.
func (l *Leg) guard(f func()) {
	defer func() {
		if r := recover(); r != nil {
			l.log.Error("panic in a dialog", "panic", r, "stack", string(debug.Stack()))
			func() {
				defer func() { recover() }() // the state may be what panics; then there is nothing left to send
				if l.incoming && l.phase == early {
					l.refuse(500, "panic", false)
				} else if l.phase == confirmed {
					l.bye("panic", false)
				}
			}()
			l.end(false, "panic")
			l.phase, l.unacked, l.saying = ended, nil, 0
		}
	}()
	f()
}

// leave takes the leg out of the endpoint's book.
func (l *Leg) leave() {
	l.end(false, "closed")
	e := l.e
	e.mu.Lock()
	delete(e.legs, dialogKey{l.id, l.localTag})
	if l.incoming {
		l.uncount()
	}
	e.mu.Unlock()
	if l.out != nil {
		l.out.leave()
	}
	l.calmDown()
	for _, reply := range l.answering {
		reply <- ErrOver
	}
	l.answering = nil
	l.phase = ended
	for _, f := range l.inbox.take(true) { // whoever posted while we left waits for an answer to its transaction
		l.guard(f)
	}
	close(l.quiet)
}

// finished: over, and nothing on the wire to wait for.
func (l *Leg) finished() bool {
	if !l.over || l.saying > 0 || l.byeAfter {
		return false
	}
	if l.out != nil && l.out.waits() {
		if l.phase == ended && l.out.settled {
			l.calmDown() // what is left is to repeat an ACK
		}
		return false
	}
	return true
}

func (l *Leg) calmDown() {
	select {
	case <-l.calm:
	default:
		close(l.calm)
	}
}

// end makes the leg over for its owner; only the first call counts.
func (l *Leg) end(byPeer bool, detail string) {
	if l.over {
		return
	}
	l.over, l.byPeer, l.detail = true, byPeer, detail
	if l.confirmed && l.e.cfg.OnDialog != nil {
		l.e.cfg.OnDialog(l.id, l.callName(), nil)
	}
	l.log.Info("leg over", "by_peer", byPeer, "how", detail)
	close(l.done)
	l.stream.Close()
}

// next gives the earliest of the leg's deadlines.
func (l *Leg) next() time.Time {
	var at time.Time
	soonest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, f := range l.unacked {
		soonest(f.next)
	}
	if l.incoming && l.phase == early {
		soonest(l.rings)
		soonest(l.givesUp)
	}
	if l.out != nil {
		soonest(l.out.noResponse)
		soonest(l.out.givesUp)
	}
	return at
}

func (l *Leg) tick(now time.Time) {
	l.repeatFinals(now)
	if l.incoming && l.phase == early {
		if due(l.rings, now) {
			l.provisional(180)
			l.rings = now.Add(l.e.times.ringing)
		}
		if due(l.givesUp, now) {
			l.refuse(480, "nobody answered", false)
		}
	}
	if l.out != nil {
		l.out.tick(now)
	}
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// hangup does what Hangup asked for.
func (l *Leg) hangup() {
	l.hungUp = true
	switch {
	case l.over && l.phase != early:
	case l.incoming && l.phase == early:
		l.refuse(480, "hung up", false)
	case l.phase == early:
		l.out.cancel()
	default:
		l.bye("hung up", false)
	}
}

// bye ends a confirmed dialog from our side. A callee waits with BYE for the ACK to its 2xx (RFC 3261 §15).
func (l *Leg) bye(detail string, byPeer bool) {
	if l.phase != confirmed {
		l.end(byPeer, detail)
		return
	}
	l.end(byPeer, detail)
	if len(l.unacked) > 0 {
		l.byeAfter = true
		return
	}
	l.byeAfter = false
	l.phase = ended
	l.say(l.dialog.next(l.e, sipmsg.BYE))
}

// say sends a request outside INVITE and counts it until it is answered or gave up.
func (l *Leg) say(req *sipmsg.Request) {
	l.saying++
	if !l.e.spawn(func() {
		_, err := l.e.exchange(l.e.ctx, req)
		if err != nil {
			l.log.Debug("request not answered", "method", string(req.Method), "error", err)
		}
		l.post(func() { l.saying-- })
	}) {
		l.saying--
	}
}

// tellDialog gives OnDialog what ByeAfterCrash needs.
func (l *Leg) tellDialog() {
	l.confirmed = true
	if l.e.cfg.OnDialog != nil && !l.over {
		l.e.cfg.OnDialog(l.id, l.callName(), l.dialog.state())
	}
}
