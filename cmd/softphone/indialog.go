package main

import (
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"

	"hotline/sip/sdp"
)

// serve takes what comes in within the dialog.
func (c *call) serve(m inbound) {
	if m.again != nil {
		c.acceptedAgain(m.again)
		return
	}
	req := m.req
	if tagOf(req.From().Params) != tagOf(c.remote.Params) {
		c.refuse(m, 481, "Call/Transaction Does Not Exist")
		return
	}
	if req.IsAck() {
		if m.tx != nil {
			m.tx.Terminate() // nothing answers an ACK
		}
		c.acked(req)
		return
	}
	seq := int64(req.CSeq().SeqNo)
	if seq <= c.remoteCSeq { // RFC 3261 §12.2.2
		c.refuse(m, 500, "CSeq Out Of Order")
		return
	}
	c.remoteCSeq = seq
	switch req.Method {
	case sipmsg.BYE:
		c.refuse(m, 200, "OK")
		if !c.leaving || c.gone == nil {
			c.report.HungUpBy = "remote"
		}
		c.ended = true
	case sipmsg.INVITE:
		c.reinvite(m)
	case sipmsg.UPDATE:
		c.update(m)
	case sipmsg.INFO:
		c.info(m)
	case sipmsg.OPTIONS:
		c.refuse(m, 200, "OK")
	case sipmsg.CANCEL: // of an INVITE that has its final response already
		c.refuse(m, 481, "Call/Transaction Does Not Exist")
	default:
		c.refuse(m, 405, "Method Not Allowed")
	}
}

// refuse answers without a body; 200 included.
func (c *call) refuse(m inbound, code int, reason string) {
	if m.tx != nil {
		c.phone.refuse(m.req, m.tx, code, reason)
	}
}

// acked ends the repeating of our 2xx; an ACK may carry the answer to our offer.
func (c *call) acked(req *sipmsg.Request) {
	u := c.unacked
	if u == nil || u.cseq != req.CSeq().SeqNo {
		return
	}
	u.timer.Stop()
	c.unacked = nil
	if c.offered != nil {
		offer := c.offered
		c.offered = nil
		answer, err := sdp.Parse(req.Body())
		var agreed sdp.Agreed
		if err == nil {
			agreed, err = sdp.Accept(c.describe(), offer, answer)
		}
		if err == nil {
			err = c.start(agreed)
		}
		if err != nil {
			c.report.fail(err)
			c.hangUp()
			return
		}
	}
	if c.leaving {
		c.hangUp()
	}
}

// reinvite answers a re-INVITE: hold, resume, a new address, or a session refresh.
func (c *call) reinvite(m inbound) {
	if !isSDP(m.req) {
		c.refuse(m, 415, "Unsupported Media Type")
		return
	}
	if c.unacked != nil {
		c.unacked.timer.Stop() // the peer goes on, so it has our answer
		c.unacked = nil
	}
	c.refresh(m.req.Contact())
	if code, err := c.accept(m.req, m.tx); err != nil {
		c.phone.Progress("re-INVITE refused: %v", err)
		c.refuse(m, code, "Not Acceptable Here")
	}
}

// update answers UPDATE (RFC 3311), with or without an offer.
func (c *call) update(m inbound) {
	if !isSDP(m.req) {
		c.refuse(m, 415, "Unsupported Media Type")
		return
	}
	c.refresh(m.req.Contact())
	res := reply(m.req, 200, "OK")
	res.AppendHeader(c.phone.contact())
	if len(m.req.Body()) > 0 {
		ours, code, err := c.negotiate(m.req)
		if err != nil {
			c.refuse(m, code, "Not Acceptable Here")
			return
		}
		setSDP(res, ours)
	}
	_ = m.tx.Respond(res)
}

// info takes keys in both dialects of INFO.
func (c *call) info(m inbound) {
	kind := ""
	if h := m.req.ContentType(); h != nil {
		kind = strings.ToLower(strings.TrimSpace(strings.Split(h.Value(), ";")[0]))
	}
	key := byte(0)
	switch kind {
	case "":
	case "application/dtmf-relay":
		for line := range strings.Lines(string(m.req.Body())) {
			name, value, _ := strings.Cut(line, "=")
			if value = strings.TrimSpace(value); strings.EqualFold(strings.TrimSpace(name), "signal") && value != "" {
				key = value[0]
			}
		}
	case "application/dtmf":
		if body := strings.TrimSpace(string(m.req.Body())); body != "" {
			key = body[0]
		}
	default:
		c.refuse(m, 415, "Unsupported Media Type")
		return
	}
	if strings.IndexByte(dialKeys, key) >= 0 {
		c.stream.Press(key)
	}
	c.refuse(m, 200, "OK")
}

// isSDP: the body, if there is one, is a description.
func isSDP(req *sipmsg.Request) bool {
	if len(req.Body()) == 0 {
		return true
	}
	h := req.ContentType()
	return h != nil && strings.EqualFold(strings.TrimSpace(strings.Split(h.Value(), ";")[0]), "application/sdp")
}

// message is what requests and responses have in common.
type message interface {
	AppendHeader(sipmsg.Header)
	SetBody([]byte)
}

func setSDP(m message, s *sdp.Session) {
	m.AppendHeader(sipmsg.NewHeader("Content-Type", "application/sdp"))
	m.SetBody(s.Bytes())
}
