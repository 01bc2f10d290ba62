package sip

import (
	"math/rand/v2"
	"net/netip"
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"
)

// serve sees to it that a request is answered, also when its handling panics: an unanswered transaction stays for ever.
func (l *Leg) serve(req *sipmsg.Request, tx *sipmsg.ServerTx, source netip.AddrPort) {
	served := false
	defer func() {
		if !served {
			l.e.respond(req, tx, 500)
		}
	}()
	l.onRequest(req, tx, source)
	served = true
}

// onRequest answers a request within the dialog, other than ACK and CANCEL.
func (l *Leg) onRequest(req *sipmsg.Request, tx *sipmsg.ServerTx, source netip.AddrPort) {
	e := l.e
	if l.out != nil && l.phase == early && !l.over && l.out.hold(req, tx, source) {
		return // the peer's 2xx is still on its way through sipgo
	}
	d := &l.dialog
	if req.From().Params.GetOr("tag", "") != d.RemoteTag {
		e.respond(req, tx, 481)
		return
	}
	if l.phase == ended || l.over && req.Method != sipmsg.BYE {
		if req.Method == sipmsg.BYE { // it crossed ours
			e.respond(req, tx, 200)
			return
		}
		e.respond(req, tx, 481)
		return
	}
	seq, at := req.CSeq().SeqNo, arrival(req)
	switch {
	case d.HasRemoteSeq && seq < d.RemoteSeq && at > l.peerSeqAt:
		// RFC 3261 §12.2.2. What arrived in order and was only handled out of order by sipgo's goroutines is let through.
		e.respond(req, tx, 500, retryAfter(rand.IntN(10)))
		return
	case !d.HasRemoteSeq || seq > d.RemoteSeq:
		d.RemoteSeq, d.HasRemoteSeq, l.peerSeqAt = seq, true, at
	}
	d.heard(source.String(), req.Transport())
	switch req.Method {
	case sipmsg.BYE:
		e.respond(req, tx, 200)
		l.onBye()
	case sipmsg.INVITE:
		l.onReinvite(req, tx)
	case sipmsg.UPDATE:
		l.onUpdate(req, tx)
	case sipmsg.INFO:
		l.onInfo(req, tx)
	case sipmsg.OPTIONS:
		e.send(req, tx, response(req, 200, "", capabilities()...))
	case sipmsg.PRACK, sipmsg.NOTIFY:
		e.respond(req, tx, 481)
	case sipmsg.MESSAGE, sipmsg.SUBSCRIBE, sipmsg.PUBLISH, sipmsg.REFER, sipmsg.REGISTER:
		e.respond(req, tx, 405)
	default:
		e.respond(req, tx, 501, sipmsg.NewHeader("Allow", allow))
	}
}

// onBye: the peer is gone. A caller may send it before our final answer too (RFC 3261 §15.1.2).
func (l *Leg) onBye() {
	if l.phase == early {
		l.refuse(487, "BYE", true)
		return
	}
	l.phase, l.unacked, l.byeAfter = ended, nil, false
	l.end(true, "BYE")
}

// onReinvite: a new offer, a late offer (no body), or only a new target. Each is answered at once.
func (l *Leg) onReinvite(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	e := l.e
	switch {
	case l.phase == early: // RFC 3261 §14.2
		e.respond(req, tx, 500, retryAfter(rand.IntN(10)))
		return
	case l.offers.open != nil:
		e.respond(req, tx, 491)
		return
	}
	offer, f := described(req)
	if f != nil {
		e.refuse(req, tx, f)
		return
	}
	if offer == nil {
		l.refreshTarget(req)
		l.acks(tx)
		if err := l.accept(req, tx, l.offers.offer(req.CSeq().SeqNo), true); err != nil {
			l.log.Debug("200 not sent", "error", err) // it is sent again until the ACK
		}
		return
	}
	answer, agreed, err := l.offers.reply(offer)
	if err != nil {
		e.respond(req, tx, 488, warning(err))
		return
	}
	l.refreshTarget(req)
	l.offers.said = answer
	l.acks(tx)
	if err := l.accept(req, tx, answer.Bytes(), false); err != nil {
		l.log.Debug("200 not sent", "error", err)
	}
	if err := l.agree(agreed); err != nil {
		l.log.Warn("audio failed", "error", err)
		l.bye("audio failed", false)
	}
}

// onUpdate: RFC 3311 §5.2.
func (l *Leg) onUpdate(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	e := l.e
	offer, f := described(req)
	switch {
	case f != nil:
		e.refuse(req, tx, f)
		return
	case offer != nil && l.offers.open != nil:
		e.respond(req, tx, 491)
		return
	case offer != nil && l.phase == early: // their first offer has no answer yet
		e.respond(req, tx, 500, retryAfter(rand.IntN(10)))
		return
	}
	headers := []sipmsg.Header{sipmsg.NewHeader("Contact", l.dialog.contact(e)), sipmsg.NewHeader("Allow", allow)}
	if offer == nil {
		l.refreshTarget(req)
		e.respond(req, tx, 200, headers...)
		return
	}
	answer, agreed, err := l.offers.reply(offer)
	if err != nil {
		e.respond(req, tx, 488, warning(err))
		return
	}
	l.refreshTarget(req)
	l.offers.said = answer
	e.send(req, tx, withSDP(response(req, 200, "", headers...), answer.Bytes()))
	if err := l.agree(agreed); err != nil {
		l.log.Warn("audio failed", "error", err)
		l.bye("audio failed", false)
	}
}

// refreshTarget follows the peer to a new Contact, and has it written down for ByeAfterCrash.
func (l *Leg) refreshTarget(m interface{ Contact() *sipmsg.ContactHeader }) {
	if l.dialog.refresh(m) && l.confirmed {
		l.tellDialog()
	}
}

// onInfo takes pressed keys; phones and JsSIP send them so. An INFO without a body is a keep-alive.
func (l *Leg) onInfo(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	body := string(req.Body())
	switch contentType(req) {
	case "application/dtmf-relay", "application/dtmf":
		key, ok := pressed(body)
		if !ok {
			l.e.refuse(req, tx, &fault{code: 400, reason: "Malformed DTMF"})
			return
		}
		l.stream.Press(key)
		l.e.respond(req, tx, 200)
	default:
		if strings.TrimSpace(body) == "" {
			l.e.respond(req, tx, 200)
			return
		}
		l.e.respond(req, tx, 415, sipmsg.NewHeader("Accept", "application/dtmf-relay, application/dtmf"))
	}
}

// pressed reads the key of an INFO: "Signal=5\r\nDuration=160" as Cisco began it, or just "5". Some phones write 10 for * and 11 for #.
func pressed(body string) (byte, bool) {
	value := strings.TrimSpace(body)
	for line := range strings.Lines(body) {
		name, v, ok := strings.Cut(line, "=")
		if ok && strings.EqualFold(strings.TrimSpace(name), "signal") {
			value = strings.TrimSpace(v)
			break
		}
	}
	switch value {
	case "10":
		return '*', true
	case "11":
		return '#', true
	case "12", "13", "14", "15":
		return 'A' + value[1] - '2', true
	}
	if len(value) != 1 {
		return 0, false
	}
	key := strings.ToUpper(value)[0]
	return key, '0' <= key && key <= '9' || 'A' <= key && key <= 'D' || key == '*' || key == '#'
}

// held is a request that came before the 2xx that makes its dialog.
type held struct {
	req    *sipmsg.Request
	tx     *sipmsg.ServerTx
	source netip.AddrPort
}
