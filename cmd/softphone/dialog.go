package main

import (
	"slices"

	sipmsg "github.com/emiago/sipgo/sip"
)

// dialog is the state of RFC 3261 §12. It belongs to the goroutine of its call.
type dialog struct {
	phone      *phone
	callID     string
	local      sipmsg.FromHeader // with our tag
	remote     sipmsg.ToHeader   // with the peer's tag once it is known
	target     sipmsg.Uri        // the peer's Contact
	routes     []sipmsg.Uri
	cseq       uint32 // of our last request
	remoteCSeq int64  // of the peer's last request; -1: none yet
}

func tagOf(p sipmsg.HeaderParams) string {
	tag, _ := p.Get("tag")
	return tag
}

// startDialog begins an outgoing dialog towards target.
func startDialog(p *phone, target sipmsg.Uri) *dialog {
	host := target.Host
	return &dialog{
		phone: p, callID: sipmsg.GenerateTagN(20) + "@" + p.local.Addr().String(),
		local: sipmsg.FromHeader{
			DisplayName: p.Name, Address: sipmsg.Uri{Scheme: "sip", User: p.Number, Host: host},
			Params: sipmsg.HeaderParams{{K: "tag", V: sipmsg.GenerateTagN(12)}},
		},
		remote: sipmsg.ToHeader{Address: sipmsg.Uri{Scheme: "sip", User: target.User, Host: host}},
		target: target, cseq: 1, remoteCSeq: -1,
	}
}

// joinDialog is the dialog that an INVITE asks for; its To header has our tag
// already.
func joinDialog(p *phone, invite *sipmsg.Request) *dialog {
	d := &dialog{
		phone: p, callID: invite.CallID().Value(),
		local: invite.To().AsFrom(), remote: invite.From().AsTo(),
		cseq: 1, remoteCSeq: int64(invite.CSeq().SeqNo),
	}
	d.refresh(invite.Contact())
	for _, h := range invite.GetHeaders("Record-Route") { // RFC 3261 §12.1.1: in order
		if r, ok := h.(*sipmsg.RecordRouteHeader); ok {
			d.routes = append(d.routes, r.Address)
		}
	}
	return d
}

// confirm takes over what the peer's 2xx says (RFC 3261 §12.1.2).
func (d *dialog) confirm(res *sipmsg.Response) {
	d.remote = *sipmsg.HeaderClone(res.To()).(*sipmsg.ToHeader)
	d.refresh(res.Contact())
	d.routes = nil
	for _, h := range slices.Backward(res.GetHeaders("Record-Route")) { // reversed
		if r, ok := h.(*sipmsg.RecordRouteHeader); ok {
			d.routes = append(d.routes, r.Address)
		}
	}
}

// refresh moves the remote target to where the peer wants to be reached.
func (d *dialog) refresh(contact *sipmsg.ContactHeader) {
	if contact != nil && !contact.Address.Wildcard && contact.Address.Host != "" {
		d.target = *contact.Address.Clone()
	}
}

// request makes the next request within the dialog. An ACK carries the CSeq of its
// INVITE, all others a new one.
func (d *dialog) request(method sipmsg.RequestMethod, cseq uint32) *sipmsg.Request {
	req := d.phone.request(method, d.target, &d.local, &d.remote, d.callID, cseq)
	for _, r := range d.routes {
		req.AppendHeader(&sipmsg.RouteHeader{Address: r})
	}
	if method == sipmsg.INVITE {
		req.AppendHeader(d.phone.contact())
		req.AppendHeader(sipmsg.NewHeader("Allow", allowed))
	}
	return req
}

// next is a request with the next CSeq.
func (d *dialog) next(method sipmsg.RequestMethod) *sipmsg.Request {
	d.cseq++
	return d.request(method, d.cseq)
}

// key finds the call for requests within the dialog.
func (d *dialog) key() dialogKey { return dialogKey{d.callID, tagOf(d.local.Params)} }

// cancelOf makes the CANCEL for an INVITE (RFC 3261 §9.1): same target, branch,
// route and CSeq number.
func cancelOf(invite *sipmsg.Request) *sipmsg.Request {
	req := sipmsg.NewRequest(sipmsg.CANCEL, invite.Recipient)
	req.AppendHeader(invite.Via().Clone())
	sipmsg.CopyHeaders("Route", invite, req)
	req.AppendHeader(sipmsg.HeaderClone(invite.From()))
	req.AppendHeader(sipmsg.HeaderClone(invite.To()))
	req.AppendHeader(sipmsg.HeaderClone(invite.CallID()))
	req.AppendHeader(&sipmsg.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sipmsg.CANCEL})
	forwards := sipmsg.MaxForwardsHeader(70)
	req.AppendHeader(&forwards)
	req.SetBody(nil)
	req.SetTransport(invite.Transport())
	req.SetDestination(invite.Destination())
	req.Laddr = invite.Laddr
	return req
}
