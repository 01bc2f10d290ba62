package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"hotline/sip/media"
	"hotline/sip/sdp"
)

// Timers of RFC 3261 §17.1.1.1 for what the transaction layer leaves to us: the
// 2xx to an INVITE.
const (
	t1 = 500 * time.Millisecond
	t2 = 4 * time.Second
)

// giveUp bounds the wait for the final response after a CANCEL (RFC 3261 §9.1).
const giveUp = 64 * t1

// plan is what the phone does in a call.
type plan struct {
	play   *media.Clip   // round and round; nil: says nothing
	record string        // file; "": none
	keys   []press       // pressed after the answer
	info   bool          // keys go as SIP INFO instead of RFC 4733
	hangup time.Duration // after the answer; 0: the other side hangs up
	over   func()        // told when the dialog has ended, before files are closed; may be nil, may be called again
}

// call is one call and its dialog. The goroutine that dials or answers owns it;
// requests of the peer reach it through the inbox.
type call struct {
	*dialog
	plan   plan
	report *report
	stream *media.Stream
	tape   *recorder     // nil: not recording
	inbox  chan inbound  // 16: a peer has no more requests under way; when full, the message's goroutine waits
	over   chan struct{} // closed at the end: what comes later gets 481

	rang    atomic.Pointer[time.Time] // when the first 18x came; set by the transport's goroutine
	sdpID   uint64
	sent    *sdp.Session // the description that we sent last
	offered *sdp.Session // our offer that the ACK answers; else nil
	params  media.Params // what the stream runs with
	held    bool
	ack     *sipmsg.Request // of our INVITE, for when the 2xx comes again
	unacked *unacked        // our 2xx, until the ACK comes; else nil
	leaving bool            // we want to hang up
	gone    chan error      // result of our BYE; nil: none sent
	ended   bool
}

// inbound is what comes in within a dialog: a request with its transaction, or
// another 2xx to our INVITE.
type inbound struct {
	req   *sipmsg.Request
	tx    *sipmsg.ServerTx // nil for an ACK that came with the branch of its INVITE
	again *sipmsg.Response
}

// unacked is a 2xx to an INVITE that is sent again until its ACK comes
// (RFC 3261 §13.3.1.4).
type unacked struct {
	tx       *sipmsg.ServerTx
	res      *sipmsg.Response
	cseq     uint32
	interval time.Duration
	deadline time.Time
	timer    *time.Timer
}

// errNoACK: the peer never acknowledged our answer.
var errNoACK = errors.New("no ACK to our answer")

// newCall opens a stream for a call in dialog d.
func newCall(d *dialog, p plan, r *report) (*call, error) {
	stream, err := d.phone.media.Open(nil)
	if err != nil {
		return nil, fmt.Errorf("open audio: %w", err)
	}
	r.CallID = d.callID
	return &call{
		dialog: d, plan: p, report: r, stream: stream, sdpID: uint64(time.Now().Unix()),
		inbox: make(chan inbound, 16), over: make(chan struct{}),
	}, nil
}

// deliver hands a message to the call; false: the call is over.
func (c *call) deliver(m inbound) bool {
	select {
	case <-c.over:
		return false
	default:
	}
	select {
	case c.inbox <- m:
		return true
	case <-c.over:
		return false
	}
}

// describe is our side for offer and answer.
func (c *call) describe() sdp.Local {
	return sdp.Local{
		Addr: c.stream.Local(), Codecs: c.phone.Codecs, Events: true, SessionID: c.sdpID, Version: 1,
	}
}

// start runs the stream as agreed, first or again.
func (c *call) start(a sdp.Agreed) error {
	remote := a.Remote
	if !remote.IsValid() { // hold of the old kind names no address: it stays where it was
		remote = c.params.Remote
		if !remote.IsValid() {
			remote = netip.AddrPort{}
		}
	}
	c.params = media.Params{
		Remote: remote, RemoteRTCP: a.RemoteRTCP, Codec: media.Codec(a.PayloadType), EventPT: a.EventPT,
		Send: a.Send, Receive: a.Receive,
	}
	if err := c.stream.Start(c.params); err != nil {
		return fmt.Errorf("start audio: %w", err)
	}
	if a.Held != c.held {
		c.held = a.Held
		if c.held {
			c.report.Held++
			c.phone.Progress("put on hold")
		} else {
			c.phone.Progress("taken off hold")
		}
	}
	return nil
}

// talk plays, records and presses keys until one side hangs up.
func (c *call) talk(ctx context.Context) {
	c.report.AnsweredAt = time.Now()
	c.phone.Progress("answered")
	if c.plan.record != "" {
		tape, err := startRecorder(c.plan.record, c.report.AnsweredAt)
		if err != nil {
			c.report.fail(err)
			c.phone.Progress("%v", err)
		} else {
			c.tape, c.report.Recorded = tape, c.plan.record
			c.stream.SetTap(tape)
		}
	}
	if c.plan.play != nil {
		c.stream.Loop(c.plan.play, 0)
	}
	c.serveUntilEnd(ctx)
}

// serveUntilEnd is the loop of a call that is connected: it alone touches the dialog.
func (c *call) serveUntilEnd(ctx context.Context) {
	quit := ctx.Done()
	var hangup, press <-chan time.Time
	if c.plan.hangup > 0 {
		timer := time.NewTimer(c.plan.hangup)
		defer timer.Stop()
		hangup = timer.C
	}
	keys := c.plan.keys
	pressing := time.NewTimer(0)
	defer pressing.Stop()
	if len(keys) > 0 {
		pressing.Reset(keys[0].wait)
		press = pressing.C
	}
	infos := make(chan error, 1)
	for !c.ended {
		var again <-chan time.Time
		if c.unacked != nil {
			again = c.unacked.timer.C
		}
		if c.leaving {
			press = nil
		}
		select {
		case m := <-c.inbox:
			c.serve(m)
		case d := <-c.stream.Digits():
			c.report.Received += string(d.Key)
			c.phone.Progress("heard key %c", d.Key)
		case <-press:
			c.press(keys[0].key, infos)
			if keys = keys[1:]; len(keys) > 0 {
				pressing.Reset(keys[0].wait)
			} else {
				press = nil
			}
		case err := <-infos:
			c.report.fail(err)
		case <-hangup:
			c.hangUp()
		case <-quit:
			quit = nil
			c.hangUp()
		case <-again:
			c.answerAgain()
		case err := <-c.gone:
			c.report.fail(err)
			c.ended = true
		}
	}
}

// press sends one key. The result of an INFO comes later, into infos.
func (c *call) press(key byte, infos chan<- error) {
	if !c.plan.info {
		if err := c.stream.SendDigit(key, keyLength); err != nil {
			c.report.fail(fmt.Errorf("press %c: %w (--info presses by SIP INFO)", key, err))
			return
		}
	} else {
		req := c.next(sipmsg.INFO)
		req.AppendHeader(sipmsg.NewHeader("Content-Type", "application/dtmf-relay"))
		req.SetBody(fmt.Appendf(nil, "Signal=%c\r\nDuration=%d\r\n", key, keyLength.Milliseconds()))
		go func() { // ends by the transaction's timeout at the latest
			res, err := c.phone.await(context.Background(), req)
			if err == nil && !res.IsSuccess() {
				err = fmt.Errorf("INFO: %d %s", res.StatusCode, res.Reason)
			}
			select {
			case infos <- err:
			default: // one error says enough
			}
		}()
	}
	c.report.Sent += string(key)
	c.phone.Progress("pressed %c", key)
}

// hangUp sends BYE, or remembers to when the peer's ACK is still to come: before it
// a callee must not (RFC 3261 §15).
func (c *call) hangUp() {
	c.leaving = true
	if c.gone != nil || c.unacked != nil || c.ended {
		return
	}
	if c.report.HungUpBy == "" {
		c.report.HungUpBy = "local"
	}
	c.phone.Progress("hanging up")
	c.gone = make(chan error, 1)
	gone, bye, p := c.gone, *c.dialog, c.phone
	go func() { // ends by byeTimeout
		ctx, stop := context.WithTimeoutCause(context.Background(), byeTimeout, fmt.Errorf("no response within %v", byeTimeout))
		defer stop()
		res, err := p.ask(ctx, func() *sipmsg.Request { return bye.next(sipmsg.BYE) })
		// 481 and 408 mean that the other side has no such call: it is over all the same (RFC 3261 §12.2.1.2).
		if err == nil && !res.IsSuccess() && res.StatusCode != 481 && res.StatusCode != 408 {
			err = fmt.Errorf("BYE: %d %s", res.StatusCode, res.Reason)
		}
		gone <- err
	}()
}

// answerAgain repeats our 2xx until the ACK comes, and hangs up when it doesn't.
func (c *call) answerAgain() {
	u := c.unacked
	if time.Now().After(u.deadline) {
		c.unacked = nil
		c.report.fail(errNoACK)
		c.hangUp()
		return
	}
	if err := u.tx.Respond(u.res); err != nil {
		c.phone.Progress("answer again: %v", err)
	}
	u.interval = min(2*u.interval, t2)
	u.timer.Reset(u.interval)
}

// end notes the moment at which a call was over, the first time.
func (r *report) end(p plan) {
	if r.EndedAt.IsZero() {
		r.EndedAt = time.Now()
	}
	if p.over != nil {
		p.over()
	}
}

// finish closes what the call had, and completes the report.
func (c *call) finish() {
	close(c.over)
	c.phone.leave(c)
	c.report.end(c.plan)
	if c.unacked != nil {
		c.unacked.timer.Stop()
	}
	if t := c.rang.Load(); t != nil && c.report.RingingAt.IsZero() {
		c.report.RingingAt = *t
	}
	c.stream.SetTap(nil)
	c.report.Received += rest(c.stream)
	stats := c.stream.Close()
	if !c.report.AnsweredAt.IsZero() {
		c.report.RTP, c.report.Codec = rtpOf(stats), strings.ToLower(stats.Codec.String())
		c.phone.Progress("ended by %s after %v", c.report.HungUpBy, c.report.EndedAt.Sub(c.report.AnsweredAt).Round(time.Millisecond))
	}
	if c.tape != nil {
		c.report.fail(c.tape.close(c.report.EndedAt))
	}
	if c.gone != nil && c.report.HungUpBy == "remote" {
		<-c.gone // our BYE crossed theirs; bounded by byeTimeout
	}
}

// rest are keys that came but were not read yet.
func rest(s *media.Stream) (keys string) {
	for {
		select {
		case d := <-s.Digits():
			keys += string(d.Key)
		default:
			return keys
		}
	}
}
