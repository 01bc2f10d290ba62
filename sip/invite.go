package sip

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"hotline/sip/media"
	"hotline/sip/sdp"
)

// mergeKey tells an INVITE that reached us on two ways (RFC 3261 §8.2.2.2): same Call-ID, From tag and CSeq, other branch.
type mergeKey struct {
	callID, fromTag string
	seq             uint32
}

func mergeKeyOf(req *sipmsg.Request) mergeKey {
	return mergeKey{callIDOf(req), req.From().Params.GetOr("tag", ""), req.CSeq().SeqNo}
}

// take makes a leg of an admitted INVITE and gives it to OnCall.
func (e *Endpoint) take(req *sipmsg.Request, tx *sipmsg.ServerTx, inv Invite) {
	contact := req.Contact()
	if contact == nil || contact.Address.Wildcard || contact.Address.Host == "" {
		e.refuse(req, tx, &fault{code: 400, reason: "Missing Contact"})
		return
	}
	offer, f := described(req)
	if f != nil {
		e.refuse(req, tx, f)
		return
	}
	branch, merge := transactionKey(req), mergeKeyOf(req)
	e.mu.Lock()
	other, twice := e.merges[merge]
	full := e.pending >= e.limits.invites
	if !twice && !full {
		e.merges[merge] = branch
		e.pending++
	}
	e.mu.Unlock()
	switch {
	case twice && other == branch:
		tx.Terminate() // a late copy of what we have answered already
		return
	case twice:
		e.respond(req, tx, 482)
		return
	case full:
		e.log.Warn("too many calls are being set up", "limit", e.limits.invites)
		e.respond(req, tx, 503, retryAfter(5+rand.IntN(20)))
		return
	}
	l, f := e.incoming(req, tx, inv, offer, branch)
	if f != nil {
		e.mu.Lock()
		delete(e.merges, merge)
		e.pending--
		e.mu.Unlock()
		e.refuse(req, tx, f)
		return
	}
	go func() { // ends with the call's story; Close makes every leg done
		defer func() {
			if r := recover(); r != nil {
				e.log.Error("panic in a call", "callid", short(l.id), "panic", r, "stack", string(debug.Stack()))
				l.Reject(ReasonFailed)
				l.Hangup()
			}
		}()
		e.cfg.OnCall(l)
	}()
}

// incoming opens the audio, works out the answer and starts the leg's goroutine.
func (e *Endpoint) incoming(req *sipmsg.Request, tx *sipmsg.ServerTx, inv Invite, offer *sdp.Session, branch string) (*Leg, *fault) {
	stream, err := e.cfg.Media.Open(nil)
	if errors.Is(err, media.ErrNoPorts) {
		e.log.Error("no free RTP port for a call", "callid", short(callIDOf(req)))
		return nil, &fault{code: 503, headers: []sipmsg.Header{retryAfter(10 + rand.IntN(20))}}
	}
	if err != nil {
		e.log.Error("no audio for a call", "callid", short(callIDOf(req)), "error", err)
		return nil, &fault{code: 500}
	}
	from, to := req.From(), req.To()
	l := e.newLeg(callIDOf(req), to.Params.GetOr("tag", ""), stream)
	l.incoming, l.invite, l.initial, l.tx, l.branch, l.counted = true, inv, req, tx, branch, true
	l.peer = inv.Source
	l.dialog = dialog{
		CallID: l.id, LocalTag: l.localTag, RemoteTag: from.Params.GetOr("tag", ""),
		Local: untagged(to.DisplayName, to.Address, to.Params), Remote: untagged(from.DisplayName, from.Address, from.Params),
		LocalSeq: rand.Uint32N(1 << 20), RemoteSeq: req.CSeq().SeqNo, HasRemoteSeq: true,
		Routes: routes(req, "record-route"), Transport: sipmsg.NetworkToLower(req.Transport()), Source: req.Source(),
		Phone: inv.Account != "" || inv.Trunk == "",
	}
	l.dialog.refresh(req)
	l.peerSeqAt = arrival(req)
	l.givesUp = time.Now().Add(e.times.unanswered)
	if offer != nil {
		answer, agreed, err := l.offers.reply(offer)
		if err != nil {
			stream.Close()
			return nil, &fault{code: 488, headers: []sipmsg.Header{warning(err)}}
		}
		l.answer200 = &prepared{answer, agreed}
	}
	l.post(func() { l.provisional(100) }) // before anything else that is said for this INVITE
	merge := mergeKeyOf(req)
	e.mu.Lock()
	e.invites[branch] = l
	e.mu.Unlock()
	forget := func(string, error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.invites, branch)
		delete(e.merges, merge)
	}
	if !tx.OnTerminate(forget) || !l.begin() { // a repeated CANCEL finds its INVITE as long as the transaction lives
		forget("", nil)
		stream.Close()
		return nil, &fault{code: 500}
	}
	l.log.Info("call in", "number", inv.Number, "caller", inv.Caller, "trunk", inv.Trunk, "account", inv.Account, "source", netip.AddrPort.String(inv.Source))
	return l, nil
}

// prepared is the answer to a caller's offer, worked out when the INVITE came.
type prepared struct {
	answer *sdp.Session
	agreed sdp.Agreed
}

// uncount ends the leg's part in Endpoint.pending; the caller holds e.mu.
func (l *Leg) uncount() {
	if l.counted {
		l.counted = false
		l.e.pending--
	}
}

func (l *Leg) provisional(code int) {
	if !l.incoming || l.phase != early {
		return
	}
	var headers []sipmsg.Header
	if code > 100 {
		headers = append(headers, sipmsg.NewHeader("Contact", l.dialog.contact(l.e)), sipmsg.NewHeader("Allow", allow))
	}
	if err := l.tx.Respond(response(l.initial, code, "", headers...)); err != nil {
		l.transportFailed(err)
	}
}

func (l *Leg) ring() error {
	if !l.incoming || l.phase != early || l.over {
		return ErrOver
	}
	l.provisional(180)
	l.rings = time.Now().Add(l.e.times.ringing)
	return nil
}

// answer sends the 200. reply hears when audio runs.
func (l *Leg) answer(reply chan<- error) {
	switch {
	case !l.incoming:
		reply <- errors.New("answer: the leg was dialled by us")
		return
	case l.phase == confirmed && !l.over:
		reply <- errors.New("answer: the call is answered already")
		return
	case l.phase != early || l.over || l.hungUp:
		reply <- ErrOver
		return
	}
	seq := l.initial.CSeq().SeqNo
	p, late := l.answer200, l.answer200 == nil
	var body []byte
	if late {
		body = l.offers.offer(seq)
	} else {
		l.offers.said = p.answer
		body = p.answer.Bytes()
	}
	l.phase = confirmed
	l.e.mu.Lock()
	l.uncount()
	l.e.mu.Unlock()
	l.acks(l.tx)
	if err := l.accept(l.initial, l.tx, body, late); err != nil {
		l.phase = ended
		l.unacked = nil
		l.end(false, "transport failed")
		reply <- fmt.Errorf("answer: %w", err)
		return
	}
	l.tellDialog()
	if late {
		l.answering = append(l.answering, reply)
		return
	}
	if err := l.agree(p.agreed); err != nil {
		l.bye("audio failed", false)
		reply <- fmt.Errorf("answer: %w", err)
		return
	}
	reply <- nil
}

// refuse gives the first INVITE a final answer other than 2xx and ends the leg.
func (l *Leg) refuse(code int, detail string, byPeer bool, headers ...sipmsg.Header) {
	if !l.incoming || l.phase != early {
		return
	}
	l.phase = ended
	l.e.mu.Lock()
	l.uncount()
	l.e.mu.Unlock()
	l.acks(l.tx)
	res := response(l.initial, code, "", headers...)
	if detail == "" {
		detail = fmt.Sprintf("%d %s", code, res.Reason)
	}
	if err := l.tx.Respond(res); err != nil {
		l.log.Debug("refusal not sent", "status", code, "error", err)
	}
	l.end(byPeer, detail)
}

// onCancelled: a CANCEL for our INVITE. Once we have answered it has no effect (RFC 3261 §9.2): the caller sends BYE.
func (l *Leg) onCancelled(reason string) {
	if l.phase != early {
		return
	}
	detail := "CANCEL"
	if reason != "" {
		detail += " (" + reason + ")"
	}
	l.refuse(487, detail, true)
}

func (l *Leg) transportFailed(err error) {
	l.log.Warn("transport failed", "error", err)
	l.phase = ended
	l.end(true, "transport failed")
}

// final is a 2xx of ours to an INVITE that is sent again until its ACK comes (RFC 3261 §13.3.1.4); over TCP too, for there may be UDP
// farther on the way.
type final struct {
	seq      uint32
	res      *sipmsg.Response
	tx       *sipmsg.ServerTx
	offer    bool // the answer comes with the ACK
	wait     time.Duration
	next     time.Time
	deadline time.Time
}

// accept answers an INVITE with 200.
func (l *Leg) accept(req *sipmsg.Request, tx *sipmsg.ServerTx, body []byte, offer bool) error {
	res := withSDP(response(req, 200, "", sipmsg.NewHeader("Contact", l.dialog.contact(l.e)), sipmsg.NewHeader("Allow", allow)), body)
	now, t1 := time.Now(), l.e.times.t1
	l.unacked = append(l.unacked, &final{seq: req.CSeq().SeqNo, res: res, tx: tx, offer: offer, wait: t1, next: now.Add(t1), deadline: now.Add(64 * t1)})
	return tx.Respond(res)
}

// acks brings an ACK that has the branch of its INVITE, which sipgo gives to the INVITE's transaction. Phones of RFC 2543 do so, and every
// ACK to a refusal.
func (l *Leg) acks(tx *sipmsg.ServerTx) {
	l.e.spawn(func() {
		for {
			select {
			case ack := <-tx.Acks():
				l.post(func() { l.onAck(ack) })
			case <-tx.Done():
				return
			}
		}
	})
}

func (l *Leg) repeatFinals(now time.Time) {
	for _, f := range l.unacked {
		switch {
		case due(f.deadline, now):
			l.log.Warn("no ACK to our 200", "cseq", f.seq)
			l.unacked = nil
			l.failAnswers(errors.New("no ACK"))
			l.bye("no ACK", false)
			return
		case due(f.next, now):
			f.wait = min(2*f.wait, l.e.times.t2)
			if f.next = now.Add(f.wait); f.next.After(f.deadline) {
				f.next = f.deadline
			}
			if err := f.tx.Respond(f.res); err != nil {
				l.log.Debug("200 not repeated", "error", err)
			}
		}
	}
}

func (l *Leg) onAck(req *sipmsg.Request) {
	if l.phase != confirmed || req.From() == nil || req.From().Params.GetOr("tag", "") != l.dialog.RemoteTag || req.CSeq() == nil {
		return
	}
	for i, f := range l.unacked {
		if f.seq != req.CSeq().SeqNo {
			continue
		}
		l.unacked = append(l.unacked[:i:i], l.unacked[i+1:]...)
		if f.offer && l.offers.open != nil && l.offers.openSeq == f.seq {
			l.answeredInAck(req)
		}
		break
	}
	if l.byeAfter && len(l.unacked) == 0 {
		l.bye(l.detail, l.byPeer)
	}
}

// answeredInAck: the caller left the offer to us and answers it with the ACK. A bad answer, or none, ends the call.
func (l *Leg) answeredInAck(ack *sipmsg.Request) {
	err := errors.New("the ACK has no session description")
	var agreed sdp.Agreed
	if len(ack.Body()) > 0 && contentType(ack) == "application/sdp" {
		agreed, err = l.offers.close(ack.Body())
	}
	l.offers.open = nil
	if err == nil {
		err = l.agree(agreed)
	}
	if err != nil {
		l.log.Warn("no usable answer in the ACK", "error", err)
		l.failAnswers(err)
		l.bye("no answer in the ACK", false)
		return
	}
	l.failAnswers(nil)
}

// failAnswers tells those who wait in Answer how it went; nil is well.
func (l *Leg) failAnswers(err error) {
	for _, reply := range l.answering {
		if err != nil {
			err = fmt.Errorf("answer: %w", err)
		}
		reply <- err
	}
	l.answering = nil
}
