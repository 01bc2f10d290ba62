package sip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"hotline/sip/media"
)

// place is one address at which an account can be rung.
type place struct {
	uri       sipmsg.Uri
	transport string
	source    netip.AddrPort // of a registered phone: where its REGISTER came from
	static    bool
}

// places lists where the user's phones are.
func (e *Endpoint) places(acc Account) ([]place, error) {
	if acc.Contact != "" {
		var uri sipmsg.Uri
		if err := sipmsg.ParseUri(acc.Contact, &uri); err != nil || uri.Host == "" {
			return nil, fmt.Errorf("contact %q of %s is not a SIP URI", acc.Contact, acc.User)
		}
		transport := "udp"
		if t, _ := uriParam(uri.UriParams, "transport"); t == "tcp" || t == "TCP" {
			transport = "tcp"
		}
		return []place{{uri: uri, transport: transport, static: true}}, nil
	}
	var all []place
	for _, b := range e.registrar.contacts(acc.User) {
		all = append(all, place{uri: b.URI, transport: b.Transport, source: b.Source})
	}
	return all, nil
}

// race lets exactly one of the phones that ring together answer.
type race struct{ winner atomic.Pointer[Leg] }

// nobody holds the race when the dial was given up: whoever answers from then on is too late.
var nobody = new(Leg)

func (r *race) claim(l *Leg) bool { return r.winner.CompareAndSwap(nil, l) }

// outcome is what a leg tells its dial: that it rings, or how its INVITE ended.
type outcome struct {
	leg     *Leg
	ringing bool
	err     *DialError // nil: answered
}

// Dial rings all phones of an account together and returns the leg of the first one that answers, with its audio running; the others are
// cancelled with the reason that the call was completed elsewhere, and a phone that answers too late gets ACK and BYE. onRinging (may be nil)
// is called once, when the first phone rings.
//
// When ctx is done, every phone is cancelled and ctx's cause is returned; with ErrElsewhere as the cause the phones are told so. When no
// phone answers, the error is a *DialError of the phone whose refusal says most.
func (e *Endpoint) Dial(ctx context.Context, d Dial, onRinging func()) (*Leg, error) {
	acc, ok := e.cfg.Accounts(d.User)
	if !ok {
		return nil, &DialError{DialUnreachable, 0, "no such account"}
	}
	all, err := e.places(acc)
	if err != nil {
		return nil, &DialError{DialFailed, 0, err.Error()}
	}
	if len(all) == 0 {
		return nil, &DialError{DialUnreachable, 0, "no phone is registered"}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	began := time.Now()
	contest := new(race)
	news := make(chan outcome, 2*len(all)) // each leg tells at most two things
	var legs []*Leg
	var failures []*DialError
	for _, p := range all {
		l, failed := e.attempt(d, acc, p, contest, news)
		if failed != nil {
			failures = append(failures, failed)
			continue
		}
		legs = append(legs, l)
	}
	giveUp := func(why error) {
		for _, l := range legs {
			l.hangNow(why)
		}
	}
	open, rang := len(legs), false
	for open > 0 {
		select {
		case o := <-news:
			switch {
			case o.ringing:
				if !rang && onRinging != nil {
					rang = true
					onRinging()
				}
			case o.err == nil:
				for _, l := range legs {
					if l != o.leg {
						l.hangNow(ErrElsewhere)
					}
				}
				if ctx.Err() != nil { // both at once: the caller has left
					o.leg.Hangup()
					return nil, context.Cause(ctx)
				}
				return o.leg, nil
			default:
				open--
				failures = append(failures, o.err)
				// 6xx speaks for the account, not for one device (RFC 3261 §16.7).
				if o.err.Code >= 600 && contest.claim(nobody) {
					giveUp(ErrElsewhere)
					return nil, o.err
				}
			}
		case <-ctx.Done():
			contest.claim(nobody) // a winner that was just about to be reported is hung up with the rest
			giveUp(context.Cause(ctx))
			return nil, context.Cause(ctx)
		}
	}
	worst := slices.MinFunc(failures, func(a, b *DialError) int { return cmp.Compare(rank[a.Result], rank[b.Result]) })
	if worst.Result == DialUnreachable && worst.Code == 0 {
		if acc.Contact != "" {
			e.statics.failed(acc)
		} else {
			e.registrar.unreachableSince(d.User, began)
		}
	}
	return nil, worst
}

// rank orders refusals by how much they say about the person: someone pressed a key, someone is talking, nobody came, no phone there.
var rank = map[DialResult]int{DialRejected: 1, DialBusy: 2, DialNoAnswer: 3, DialFailed: 4, DialUnreachable: 5}

// dialResult sorts a final response that is not 2xx.
func dialResult(code int) DialResult {
	switch code {
	case 486, 600:
		return DialBusy
	case 403, 433, 603, 607:
		return DialRejected
	case 404, 408, 410, 502, 503, 504, 604:
		return DialUnreachable
	case 480, 487:
		return DialNoAnswer
	}
	return DialFailed
}

// attempt is the part of a leg that is about our INVITE. Only the leg's goroutine touches it.
type attempt struct {
	l       *Leg
	contest *race
	news    chan<- outcome

	req         *sipmsg.Request
	tx          *sipmsg.ClientTx
	ack         *sipmsg.Request
	provisional bool // a 1xx came: a CANCEL may be sent (RFC 3261 §9.1)
	giveUp      bool // CANCEL as soon as that is allowed; a 2xx gets ACK and BYE
	cancelled   bool // CANCEL was sent
	settled     bool // the INVITE has its final response, or none will come
	txDone      bool
	rang        bool
	told        bool
	noResponse  time.Time
	givesUp     time.Time       // after CANCEL a final response may never come (RFC 3261 §9.1)
	early       []held          // requests that overtook the 2xx of their dialog
	others      map[string]bool // tags of further 2xx, which got ACK and BYE
}

// attempt makes a leg that rings one place.
func (e *Endpoint) attempt(d Dial, acc Account, p place, contest *race, news chan<- outcome) (*Leg, *DialError) {
	stream, err := e.cfg.Media.Open(d.Beside)
	if err != nil {
		if errors.Is(err, media.ErrNoPorts) {
			e.log.Error("no free RTP port for a dial", "user", d.User)
		}
		return nil, &DialError{DialFailed, 0, err.Error()}
	}
	stream.KeepEarly() // what comes before the 2xx is handled, so that the first word is not clipped
	l := e.newLeg(newTag()+newTag(), newTag(), stream)
	l.call, l.peer = d.Call, p.source
	dl := &l.dialog
	dl.Target, dl.Transport, dl.Phone = p.uri.String(), p.transport, !p.static
	if dl.Phone {
		dl.Source = p.source.String()
	}
	_, to := dl.destination(e, p.uri)
	from := d.From
	if from == "" {
		from = "hotline"
	}
	host := e.shown(e.localFor(dl, dl.Transport, to), to).Addr()
	dl.Local = fmt.Sprintf("<sip:%s@%s>", userPart(from), hostPart(host))
	if d.Display != "" {
		dl.Local = fmt.Sprintf(`"%s" %s`, plain(d.Display), dl.Local)
	}
	dl.Remote = fmt.Sprintf("<sip:%s@%s>", userPart(acc.User), hostPart(host))
	l.out = &attempt{l: l, contest: contest, news: news}
	l.log = l.log.With("user", d.User, "contact", short(dl.Target))
	l.post(l.out.start)
	if !l.begin() {
		stream.Close()
		return nil, &DialError{DialFailed, 0, "the endpoint is closed"}
	}
	return l, nil
}

// start sends the INVITE.
func (a *attempt) start() {
	l, e := a.l, a.l.e
	if l.hang.Err() != nil {
		a.giveUp, a.settled, a.txDone = true, true, true
		l.phase = ended
		l.end(false, "hung up")
		return
	}
	d := &l.dialog
	d.LocalSeq = 1
	a.req = d.request(e, sipmsg.INVITE, d.LocalSeq)
	a.req.AppendHeader(sipmsg.NewHeader("Contact", d.contact(e)))
	a.req.AppendHeader(sipmsg.NewHeader("Allow", allow))
	a.req.AppendHeader(sipmsg.NewHeader("Content-Type", "application/sdp"))
	a.req.SetBody(l.offers.offer(d.LocalSeq))
	a.noResponse = time.Now().Add(e.times.noResponse)

	ctx, cancel := context.WithCancel(l.hang) // a TCP connection may have to be made first
	stop := context.AfterFunc(e.ctx, cancel)
	defer stop()
	defer cancel()
	tx, err := e.request(ctx, a.req, func(tx *sipmsg.ClientTx) {
		tx.OnRetransmission(func(res *sipmsg.Response) { l.post(func() { l.onInviteSuccess(res) }) })
	})
	a.tx = tx
	if err == nil && !e.spawn(func() { a.pump(tx) }) {
		tx.Terminate()
		err = errors.New("the endpoint is closed")
	}
	if err != nil {
		a.txDone = true
		a.fail(&DialError{DialUnreachable, 0, "transport: " + err.Error()})
	}
}

// pump brings the responses to the leg's goroutine until the transaction ends; it never waits for the leg.
func (a *attempt) pump(tx *sipmsg.ClientTx) {
	for {
		select {
		case res := <-tx.Responses():
			a.l.post(func() { a.onResponse(res) })
		case <-tx.Done():
			err := tx.Err()
			a.l.post(func() { a.onTxDone(err) })
			return
		}
	}
}

func (a *attempt) tell(o outcome) {
	o.leg = a.l
	switch {
	case o.ringing && (a.rang || a.told), !o.ringing && a.told:
		return
	case o.ringing:
		a.rang = true
	default:
		a.told = true
	}
	a.news <- o // has room for both
}

// fail ends the attempt without a call.
func (a *attempt) fail(err *DialError) {
	l := a.l
	a.settled = true
	a.noResponse, a.givesUp = time.Time{}, time.Time{}
	l.phase = ended
	a.releaseEarly()
	a.tell(outcome{err: err})
	l.end(err.Code != 0, err.Error())
}

func (a *attempt) onResponse(res *sipmsg.Response) {
	l := a.l
	switch {
	case res.IsSuccess():
		l.onInviteSuccess(res)
	case a.settled:
	case res.IsProvisional():
		a.provisional = true
		a.noResponse = time.Time{}
		if a.giveUp {
			a.sendCancel()
		} else if res.StatusCode > 100 {
			a.tell(outcome{ringing: true})
		}
	default: // sipgo has sent the ACK
		a.fail(&DialError{dialResult(res.StatusCode), res.StatusCode, short(readable(res.Reason))})
	}
}

func (a *attempt) onTxDone(err error) {
	a.txDone = true
	if !a.settled {
		text := "no response"
		if err != nil && !errors.Is(err, sipmsg.ErrTransactionTimeout) {
			text = "transport: " + err.Error()
		}
		a.fail(&DialError{DialUnreachable, 0, text})
	}
}

// cancel gives the attempt up: CANCEL, but not before the phone has given a sign of life, for it may not have the INVITE yet.
func (a *attempt) cancel() {
	l := a.l
	a.giveUp = true
	if !a.settled && a.provisional {
		a.sendCancel()
	}
	l.end(false, "cancelled")
}

func (a *attempt) sendCancel() {
	if a.cancelled || a.tx == nil {
		return
	}
	a.cancelled = true
	a.givesUp = time.Now().Add(64 * a.l.e.times.t1)
	a.l.say(cancelOf(a.req, context.Cause(a.l.hang)))
}

// cancelOf builds the CANCEL of an INVITE (RFC 3261 §9.1): the same branch, to the same place.
func cancelOf(invite *sipmsg.Request, why error) *sipmsg.Request {
	req := sipmsg.NewRequest(sipmsg.CANCEL, *invite.Recipient.Clone())
	req.AppendHeader(invite.Via().Clone())
	sipmsg.CopyHeaders("Route", invite, req)
	req.AppendHeader(sipmsg.NewHeader("Max-Forwards", "70"))
	sipmsg.CopyHeaders("From", invite, req)
	sipmsg.CopyHeaders("To", invite, req)
	sipmsg.CopyHeaders("Call-ID", invite, req)
	req.AppendHeader(&sipmsg.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sipmsg.CANCEL})
	if errors.Is(why, ErrElsewhere) {
		req.AppendHeader(sipmsg.NewHeader("Reason", `SIP;cause=200;text="Call completed elsewhere"`))
	}
	req.AppendHeader(sipmsg.NewHeader("User-Agent", product))
	req.SetBody(nil)
	req.SetTransport(invite.Transport())
	req.SetDestination(invite.Destination())
	req.Laddr = invite.Laddr
	return req
}

// onInviteSuccess takes a 2xx to our INVITE: the first, its copies, those of other phones behind a forking proxy, and those that come too late.
func (l *Leg) onInviteSuccess(res *sipmsg.Response) {
	a := l.out
	if a == nil || a.req == nil || res.To() == nil || res.CSeq() == nil || res.CSeq().SeqNo != a.req.CSeq().SeqNo {
		return
	}
	tag := res.To().Params.GetOr("tag", "")
	if a.ack != nil {
		if tag == l.dialog.RemoteTag {
			l.sendAck(a.ack) // ours was lost
		} else {
			a.dismiss(res, tag)
		}
		return
	}
	if l.phase == ended { // it comes after the INVITE failed
		a.dismiss(res, tag)
		return
	}
	a.settled = true
	a.noResponse, a.givesUp = time.Time{}, time.Time{}
	a.join(&l.dialog, res)
	a.ack = l.dialog.request(l.e, sipmsg.ACK, a.req.CSeq().SeqNo)
	l.phase = confirmed
	l.sendAck(a.ack)

	late := func(detail string, err *DialError) {
		a.releaseEarly()
		a.tell(outcome{err: err})
		l.bye(detail, false)
	}
	agreed, err := l.offers.close(res.Body())
	switch {
	case a.giveUp || l.hang.Err() != nil || l.over:
		late("answered too late", &DialError{DialNoAnswer, res.StatusCode, "answered too late"})
		return
	case err != nil:
		late("no usable answer", &DialError{DialFailed, res.StatusCode, "no usable session description: " + short(err.Error())})
		return
	case !a.contest.claim(l):
		late("answered elsewhere", &DialError{DialNoAnswer, res.StatusCode, "answered elsewhere"})
		return
	}
	if err := l.agree(agreed); err != nil {
		late("audio failed", &DialError{DialFailed, res.StatusCode, err.Error()})
		return
	}
	l.tellDialog()
	l.log.Info("call out answered", "source", res.Source())
	a.tell(outcome{})
	early := a.early
	a.early = nil
	for _, h := range early {
		l.serve(h.req, h.tx, h.source)
	}
}

// join fills in the dialog from its 2xx (RFC 3261 §12.1.2).
func (a *attempt) join(d *dialog, res *sipmsg.Response) {
	d.RemoteTag = res.To().Params.GetOr("tag", "")
	d.Routes = routes(res, "record-route")
	slices.Reverse(d.Routes)
	d.refresh(res)
	d.heard(res.Source(), res.Transport())
}

// dismiss ends the dialog of a 2xx that nobody wants: ACK, then BYE. The INVITE's other dialogs stay as they are.
func (a *attempt) dismiss(res *sipmsg.Response, tag string) {
	l := a.l
	d := l.dialog
	d.Routes = nil
	a.join(&d, res)
	d.LocalSeq = a.req.CSeq().SeqNo
	l.sendAck(d.request(l.e, sipmsg.ACK, d.LocalSeq))
	if !a.others[tag] && len(a.others) < 16 {
		if a.others == nil {
			a.others = make(map[string]bool)
		}
		a.others[tag] = true
		l.say(d.next(l.e, sipmsg.BYE))
	}
}

func (a *attempt) tick(now time.Time) {
	l := a.l
	if due(a.noResponse, now) {
		// The INVITE goes on being repeated until Timer B; if the phone wakes up, it gets CANCEL, or ACK and BYE.
		a.noResponse = time.Time{}
		a.giveUp = true
		a.tell(outcome{err: &DialError{DialUnreachable, 0, "no response"}})
		l.end(false, "no response")
	}
	if due(a.givesUp, now) {
		a.givesUp = time.Time{}
		a.tx.Terminate()
	}
}

// waits tells whether the INVITE's transaction may still bring something.
func (a *attempt) waits() bool { return !a.txDone }

// hold keeps a request that came before the 2xx of its dialog, which sipgo hands over without order. false: there is no room.
func (a *attempt) hold(req *sipmsg.Request, tx *sipmsg.ServerTx, source netip.AddrPort) bool {
	if a.settled || len(a.early) >= 8 {
		return false
	}
	a.early = append(a.early, held{req, tx, source})
	return true
}

// releaseEarly answers the requests whose dialog never came to be.
func (a *attempt) releaseEarly() {
	for _, h := range a.early {
		a.l.e.respond(h.req, h.tx, 481)
	}
	a.early = nil
}

func (a *attempt) leave() {
	if a.tx != nil {
		a.tx.Terminate()
	}
	a.releaseEarly()
	a.tell(outcome{err: &DialError{DialFailed, 0, "ended"}})
}
