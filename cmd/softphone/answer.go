package main

import (
	"context"
	"fmt"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"hotline/sip/sdp"
)

// ringing is a call that comes in and has no final response yet.
type ringing struct {
	req  *sipmsg.Request
	tx   *sipmsg.ServerTx
	at   time.Time
	gone chan struct{} // closed when the caller gave up; the 487 is on its way
	// reason is the CANCEL's (RFC 3326); to be read when gone is closed.
	reason string
}

// ring takes an INVITE outside of any dialog.
func (p *phone) ring(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	// The tag goes into the request, so that every response to it has the same one,
	// the 487 that the transaction layer sends too. The 100 stops the only other reader.
	req.To().Params.Add("tag", sipmsg.GenerateTagN(12))
	_ = tx.Respond(reply(req, 100, "Trying"))
	for _, h := range req.GetHeaders("Require") {
		res := reply(req, 420, "Bad Extension")
		res.AppendHeader(sipmsg.NewHeader("Unsupported", h.Value()))
		_ = tx.Respond(res)
		return
	}
	if !isSDP(req) {
		p.refuse(req, tx, 415, "Unsupported Media Type")
		return
	}
	p.mu.Lock()
	take := p.onInvite
	p.mu.Unlock()
	if take == nil {
		p.refuse(req, tx, 486, "Busy Here")
		return
	}
	in := &ringing{req: req, tx: tx, at: time.Now(), gone: make(chan struct{})}
	if !tx.OnCancel(func(cancel *sipmsg.Request) {
		if h := cancel.GetHeader("Reason"); h != nil {
			in.reason = h.Value()
		}
		close(in.gone)
	}) {
		return
	}
	take(in)
}

// answer answers a call after the given time, talks as planned and reports. A
// code other than 200 rejects instead.
func (p *phone) answer(ctx context.Context, in *ringing, after time.Duration, code int, todo plan) *report {
	from := in.req.From()
	r := &report{
		Result: failed, Direction: "in", Peer: from.Address.User, PeerName: from.DisplayName,
		CallID: in.req.CallID().Value(), ArrivedAt: in.at, RingingAt: in.at,
	}
	defer r.end(todo)
	p.Progress("call from %s <%s>", from.DisplayName, from.Address.User)
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-in.gone:
		r.Result, r.HungUpBy, r.Code, r.Reason = cancelled, "remote", 487, in.reason
		p.Progress("the caller gave up")
		return r
	case <-in.tx.Done():
		r.fail(fmt.Errorf("the call went away: %w", noResponse(in.tx.Err())))
		return r
	case <-ctx.Done():
		code = 480
	}
	if code != 200 {
		reason := "Rejected"
		switch code {
		case 480:
			reason = "Temporarily Unavailable"
		case 486:
			reason = "Busy Here"
		case 603:
			reason = "Decline"
		}
		r.Code, r.Reason, r.Result, r.HungUpBy = code, reason, resultOf(code), "local"
		p.refuse(in.req, in.tx, code, reason)
		p.Progress("rejected: %d %s", code, reason)
		return r
	}
	c, err := newCall(joinDialog(p, in.req), todo, r)
	if err != nil {
		p.refuse(in.req, in.tx, 500, "Server Internal Error")
		r.Code = 500
		r.fail(err)
		return r
	}
	p.enter(c)
	defer c.finish()
	if code, err := c.accept(in.req, in.tx); err != nil {
		p.refuse(in.req, in.tx, code, "Not Acceptable Here")
		r.Code = code
		r.fail(err)
		return r
	}
	r.Code, r.Reason, r.Result = 200, "OK", answered
	c.talk(ctx)
	return r
}

// accept answers an INVITE, first or again, with 200 and our description. On an
// error nothing was sent; code is what to answer instead.
func (c *call) accept(req *sipmsg.Request, tx *sipmsg.ServerTx) (code int, err error) {
	body, code, err := c.negotiate(req)
	if err != nil {
		return code, err
	}
	res := reply(req, 200, "OK")
	res.AppendHeader(c.phone.contact())
	res.AppendHeader(sipmsg.NewHeader("Allow", allowed))
	setSDP(res, body)
	if err := tx.Respond(res); err != nil {
		return 500, fmt.Errorf("answer: %w", err)
	}
	c.unacked = &unacked{
		tx: tx, res: res, cseq: req.CSeq().SeqNo, interval: t1,
		deadline: time.Now().Add(c.phone.ackWithin), timer: time.NewTimer(t1),
	}
	go func() { // ends with the transaction, 32 s after the answer or at close
		for {
			select {
			case ack := <-tx.Acks(): // an ACK with the branch of its INVITE, as some phones send it
				c.deliver(inbound{req: ack})
			case <-tx.Done():
				return
			}
		}
	}()
	return 200, nil
}

// negotiate makes our description: the answer to the offer in the request, or an
// offer if it has none.
func (c *call) negotiate(req *sipmsg.Request) (ours *sdp.Session, code int, err error) {
	if len(req.Body()) == 0 {
		ours = sdp.Offer(c.describe())
		ours.Follow(c.sent)
		c.sent, c.offered = ours, ours
		return ours, 200, nil
	}
	offer, err := sdp.Parse(req.Body())
	if err != nil {
		return nil, 400, err
	}
	ours, agreed, err := sdp.Answer(c.describe(), offer)
	if err != nil {
		return nil, 488, err
	}
	if err := c.start(agreed); err != nil {
		return nil, 500, err
	}
	ours.Follow(c.sent)
	c.sent = ours
	return ours, 200, nil
}
