package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"hotline/sip/sdp"
)

// dial calls target, talks as planned and reports. Ending ctx cancels or hangs up.
func (p *phone) dial(ctx context.Context, target sipmsg.Uri, todo plan) *report {
	r := &report{Result: failed, Direction: "out", Peer: target.String()}
	defer r.end(todo)
	c, err := newCall(startDialog(p, target), todo, r)
	if err != nil {
		r.fail(err)
		return r
	}
	c.stream.KeepEarly() // sound may overtake the 200
	p.enter(c)
	defer c.finish()
	res, err := c.invite(ctx)
	if err != nil {
		r.fail(err)
		if ctx.Err() != nil {
			r.Result = cancelled
		}
		return r
	}
	r.Code, r.Reason, r.Result = res.StatusCode, res.Reason, resultOf(res.StatusCode)
	switch {
	case r.Result != answered && ctx.Err() != nil && r.Code == 487:
		r.Result, r.HungUpBy = cancelled, "local"
		p.Progress("cancelled")
	case r.Result != answered:
		p.Progress("not answered: %d %s", res.StatusCode, res.Reason)
	default:
		c.connected(ctx, res)
	}
	return r
}

// invite sends the INVITE, with credentials when asked for them, and returns
// its final response.
func (c *call) invite(ctx context.Context) (*sipmsg.Response, error) {
	p := c.phone
	c.report.DialedAt = time.Now()
	p.Progress("calling %s", c.target.String())
	c.sent = sdp.Offer(c.describe())
	var challenge *sipmsg.Response
	for tries := 0; ; tries++ {
		req := c.request(sipmsg.INVITE, c.cseq)
		setSDP(req, c.sent)
		if challenge != nil {
			if err := p.authorize(req, challenge); err != nil {
				return nil, err
			}
		}
		tx, err := p.tx.Request(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("send INVITE: %w", err)
		}
		tx.OnRetransmission(func(res *sipmsg.Response) { c.deliver(inbound{again: res}) })
		res, err := c.final(ctx, tx, req)
		if err != nil {
			return nil, err
		}
		if res.IsSuccess() {
			c.confirm(res)
			c.ack = c.request(sipmsg.ACK, req.CSeq().SeqNo)
			sipmsg.CopyHeaders("Authorization", req, c.ack) // RFC 3261 §22.1
			sipmsg.CopyHeaders("Proxy-Authorization", req, c.ack)
			if err := p.tp.WriteMsg(c.ack.Clone()); err != nil {
				return nil, fmt.Errorf("send ACK: %w", err)
			}
			return res, nil
		}
		if ctx.Err() != nil || !p.mayAuthorize(res, tries) {
			return res, nil
		}
		challenge = res
		c.cseq++
	}
}

// final waits for the final response to an INVITE. When ctx ends it sends CANCEL, but
// not before a first provisional response (RFC 3261 §9.1), and waits on: the call
// may have been answered meanwhile.
func (c *call) final(ctx context.Context, tx *sipmsg.ClientTx, req *sipmsg.Request) (*sipmsg.Response, error) {
	cancel := ctx.Done()
	quit := time.NewTimer(giveUp)
	quit.Stop()
	defer quit.Stop()
	proceeding, wanted, sent := false, false, false
	for {
		if wanted && proceeding && !sent {
			sent = true
			quit.Reset(giveUp)
			go func() { // ends by the transaction's timeout at the latest
				byeCtx, stop := context.WithTimeout(context.Background(), giveUp)
				defer stop()
				_, _ = c.phone.await(byeCtx, cancelOf(req)) // the INVITE's final response is what counts
			}()
		}
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
			proceeding = true
		case <-cancel:
			cancel, wanted = nil, true
			quit.Reset(byeTimeout) // nobody said a word so far
		case <-quit.C:
			return nil, errors.New("no final response")
		case <-tx.Done():
			return nil, fmt.Errorf("INVITE: %w", noResponse(tx.Err()))
		}
	}
}

// acceptedAgain handles another 2xx to our INVITE: the ACK was lost, or a second phone
// answered, which gets its own ACK and BYE (RFC 3261 §13.2.2.4).
func (c *call) acceptedAgain(res *sipmsg.Response) {
	p := c.phone
	if res.To() == nil || tagOf(res.To().Params) == tagOf(c.remote.Params) {
		_ = p.tp.WriteMsg(c.ack.Clone())
		return
	}
	other := *c.dialog
	other.confirm(res)
	_ = p.tp.WriteMsg(other.request(sipmsg.ACK, c.ack.CSeq().SeqNo))
	p.Progress("a second phone answered: hanging up on it")
	go func() { // ends by byeTimeout
		ctx, stop := context.WithTimeout(context.Background(), byeTimeout)
		defer stop()
		_, _ = p.await(ctx, other.next(sipmsg.BYE))
	}()
}

// connected runs the talk that a 2xx began.
func (c *call) connected(ctx context.Context, res *sipmsg.Response) {
	if ctx.Err() != nil {
		// The answer crossed our CANCEL: there is a call, and nobody wants it.
		c.report.Result = cancelled
		c.hangUp()
		c.serveUntilEnd(ctx)
		return
	}
	answer, err := sdp.Parse(res.Body())
	if err == nil {
		var agreed sdp.Agreed
		if agreed, err = sdp.Accept(c.describe(), c.sent, answer); err == nil {
			err = c.start(agreed)
		}
	}
	if err != nil {
		c.report.Result = failed
		c.report.fail(fmt.Errorf("the answer's audio: %w", err))
		c.hangUp()
		c.serveUntilEnd(ctx)
		return
	}
	c.talk(ctx)
}
