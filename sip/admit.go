package sip

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// route finds who a request is for. Requests within a dialog are found by their tags, from wherever they come; all others depend on their
// source: trunks and registered phones get what the RFC says, strangers get a challenge to INVITE and REGISTER and silence to all else.
func (e *Endpoint) route(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	source, err := netip.ParseAddrPort(req.Source())
	if err != nil || !echoes(req) {
		tx.Terminate()
		return
	}
	source = netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
	var l *Leg
	initial := true
	if to := req.To(); to != nil {
		tag := to.Params.GetOr("tag", "")
		if initial = tag == "" || tag == e.tagFor(req); !initial {
			l = e.find(callIDOf(req), tag)
		}
	}
	known := l != nil || e.known(source.Addr())
	if f := validate(req, l != nil); f != nil {
		if known && !req.IsAck() {
			e.log.Debug("malformed request", "method", short(string(req.Method)), "status", f.code, "reason", f.reason, "source", source, "callid", short(callIDOf(req)))
			e.refuse(req, tx, f)
		} else {
			tx.Terminate()
		}
		return
	}
	switch {
	case req.IsAck():
		tx.Terminate() // an ACK has no response; the transaction would wait for one
		if l != nil {
			l.post(func() { l.onAck(req) })
		}
	case req.Method == methodCancel:
		e.onCancel(req, tx, known)
	case l != nil:
		if !l.post(func() { l.serve(req, tx, source) }) {
			e.respond(req, tx, 481) // it has just ended
		}
	case !initial && known:
		e.respond(req, tx, 481)
	case !initial:
		tx.Terminate()
	case req.Method == sipmsg.REGISTER:
		e.onRegister(req, tx, source)
	case req.Method == sipmsg.INVITE:
		e.onInvite(req, tx, source)
	case !known:
		tx.Terminate()
	default:
		e.onStandalone(req, tx)
	}
}

// onStandalone answers requests outside a dialog that are neither INVITE nor REGISTER.
func (e *Endpoint) onStandalone(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	switch req.Method {
	case sipmsg.OPTIONS:
		e.send(req, tx, response(req, 200, "", capabilities()...))
	case sipmsg.BYE, sipmsg.INFO, sipmsg.UPDATE, sipmsg.PRACK, sipmsg.NOTIFY:
		e.respond(req, tx, 481)
	case sipmsg.MESSAGE, sipmsg.SUBSCRIBE, sipmsg.PUBLISH, sipmsg.REFER:
		e.respond(req, tx, 405)
	default:
		e.respond(req, tx, 501, sipmsg.NewHeader("Allow", allow))
	}
}

// capabilities is what RFC 3261 §11.2 wants in an answer to OPTIONS.
func capabilities() []sipmsg.Header {
	return []sipmsg.Header{
		sipmsg.NewHeader("Allow", allow),
		sipmsg.NewHeader("Accept", "application/sdp, application/dtmf-relay, application/dtmf"),
		sipmsg.NewHeader("Accept-Encoding", "identity"),
		sipmsg.NewHeader("Accept-Language", "en"),
	}
}

// authenticate looks at the Authorization headers. done: the request has been answered.
func (e *Endpoint) authenticate(req *sipmsg.Request, tx *sipmsg.ServerTx, needed bool) (user string, done bool) {
	var values []string
	for _, h := range req.GetHeaders("authorization") {
		values = append(values, h.Value())
	}
	user, result := "", authMissing
	if len(values) > 0 {
		user, result = e.digest.verify(string(req.Method), req.Recipient.String(), values, req.Body())
	}
	switch result {
	case authOK:
		return user, false
	case authMissing:
		if !needed {
			return "", false
		}
		e.challenge(req, tx, false)
	case authStale:
		e.challenge(req, tx, true)
	case authMalformed:
		e.sendStateless(req, tx, response(req, 400, "Malformed Authorization"))
	default:
		if unlogged, ok := e.complaints.allow(time.Now()); ok {
			e.log.Warn("wrong credentials", "method", short(string(req.Method)), "user", short(user), "source", req.Source(), "callid", short(callIDOf(req)), "unlogged", unlogged)
		}
		e.sendStateless(req, tx, response(req, 403, ""))
	}
	return "", true
}

func (e *Endpoint) challenge(req *sipmsg.Request, tx *sipmsg.ServerTx, stale bool) {
	res := response(req, 401, "")
	agent := ""
	if h := req.GetHeader("user-agent"); h != nil {
		agent = h.Value()
	}
	for _, c := range e.digest.challengesFor(agent, stale) {
		res.AppendHeader(sipmsg.NewHeader("WWW-Authenticate", c))
	}
	e.sendStateless(req, tx, res)
}

// sendStateless answers without keeping the transaction (RFC 3261 §8.2.7). A stranger's INVITE or REGISTER, whose source may be forged, costs no
// memory, and is answered once for each time it comes: a transaction would repeat its refusal of an INVITE to the forged source ten times. The To tag
// is the same each time, see tagFor.
func (e *Endpoint) sendStateless(req *sipmsg.Request, tx *sipmsg.ServerTx, res *sipmsg.Response) {
	conn := tx.Connection()
	tx.Terminate() // first: who answers fast must not meet the transaction
	if err := conn.WriteMsg(res); err != nil {
		e.log.Debug("response not sent", "status", res.StatusCode, "callid", short(callIDOf(req)), "error", err)
	}
}

func (e *Endpoint) onRegister(req *sipmsg.Request, tx *sipmsg.ServerTx, source netip.AddrPort) {
	user, done := e.authenticate(req, tx, true)
	if done {
		return
	}
	res := e.registrar.register(req, user, source, sipmsg.NetworkToLower(req.Transport()))
	res.AppendHeader(sipmsg.NewHeader("Server", product))
	e.send(req, tx, res)
}

// onCancel: RFC 3261 §9.2. The leg's own goroutine decides whether it came in time.
func (e *Endpoint) onCancel(req *sipmsg.Request, tx *sipmsg.ServerTx, known bool) {
	e.mu.Lock()
	l := e.invites[transactionKey(req)]
	e.mu.Unlock()
	switch {
	case l != nil:
		e.respond(req, tx, 200)
		reason := ""
		if h := req.GetHeader("reason"); h != nil {
			reason = short(h.Value())
		}
		l.post(func() { l.onCancelled(reason) })
	case known:
		e.respond(req, tx, 481)
	default:
		tx.Terminate()
	}
}

// transactionKey matches a CANCEL with its INVITE (RFC 3261 §17.2.3).
func transactionKey(req *sipmsg.Request) string {
	via := req.Via()
	return via.Params.GetOr("branch", "") + " " + strings.ToLower(via.SentBy()) + " " + callIDOf(req)
}

// onInvite admits a call, or not.
func (e *Endpoint) onInvite(req *sipmsg.Request, tx *sipmsg.ServerTx, source netip.AddrPort) {
	trunk := e.trunk(source.Addr())
	known := trunk != "" || e.registrar.known(source.Addr())
	if e.draining.Load() && known {
		e.respond(req, tx, 503, retryAfter(30+rand.IntN(60)))
		return
	}
	user, done := e.authenticate(req, tx, !known)
	if done {
		return
	}
	if e.draining.Load() {
		e.respond(req, tx, 503, retryAfter(30+rand.IntN(60)))
		return
	}
	from := req.From()
	inv := Invite{
		Number: dialled(req.Recipient), Caller: dialled(from.Address), Name: displayName(from.DisplayName),
		Trunk: trunk, Account: user, Source: source,
	}
	switch verdict := e.cfg.Screen(inv); verdict {
	case Accept:
		e.take(req, tx, inv)
	case Challenge:
		if user != "" {
			e.respond(req, tx, 403)
			return
		}
		e.challenge(req, tx, false)
	case NotFound:
		e.respond(req, tx, 404)
	case Unavailable:
		e.respond(req, tx, 503, retryAfter(10+rand.IntN(20)))
	default:
		e.respond(req, tx, 403)
	}
}

// displayName undoes the quoting of a display name.
func displayName(s string) string {
	s = strings.TrimSpace(s)
	if strings.Contains(s, `\`) {
		var b strings.Builder
		for i := 0; i < len(s); i++ {
			if s[i] == '\\' && i+1 < len(s) {
				i++
			}
			b.WriteByte(s[i])
		}
		s = b.String()
	}
	return readable(s)
}
