package sip

import (
	"errors"
	"fmt"

	sipmsg "github.com/emiago/sipgo/sip"

	"hotline/sip/media"
	"hotline/sip/sdp"
)

// offers is where a dialog stands in offer/answer (RFC 3264): at most one offer is open at any time.
type offers struct {
	local   sdp.Local
	said    *sdp.Session // the last description that we sent
	open    *sdp.Session // our offer that waits for its answer
	openSeq uint32       // CSeq of the INVITE that it belongs to
	remote  sdp.Agreed   // what was agreed last
	agreed  bool         // something was
}

// offer makes our offer and leaves it open.
func (o *offers) offer(seq uint32) []byte {
	s := sdp.Offer(o.local)
	s.Follow(o.said)
	o.said, o.open, o.openSeq = s, s, seq
	return s.Bytes()
}

// reply makes the answer to a peer's offer without committing to it.
func (o *offers) reply(offer *sdp.Session) (*sdp.Session, sdp.Agreed, error) {
	s, agreed, err := sdp.Answer(o.local, offer)
	if err != nil {
		return nil, sdp.Agreed{}, err
	}
	s.Follow(o.said)
	return s, agreed, nil
}

// close reads the peer's answer to our open offer.
func (o *offers) close(body []byte) (sdp.Agreed, error) {
	open := o.open
	o.open = nil
	if open == nil {
		return sdp.Agreed{}, errors.New("no offer is open")
	}
	answer, err := sdp.Parse(body)
	if err != nil {
		return sdp.Agreed{}, err
	}
	return sdp.Accept(o.local, open, answer)
}

// described reads the session description in a request; nil without error when there is no body.
func described(req *sipmsg.Request) (*sdp.Session, *fault) {
	if len(req.Body()) == 0 {
		return nil, nil
	}
	if contentType(req) != "application/sdp" {
		return nil, &fault{code: 415, headers: []sipmsg.Header{sipmsg.NewHeader("Accept", "application/sdp")}}
	}
	s, err := sdp.Parse(req.Body())
	if err != nil {
		return nil, &fault{code: 400, reason: "Malformed Session Description", headers: []sipmsg.Header{warning(err)}}
	}
	return s, nil
}

// warning tells the peer's engineer what was wrong with the session description (RFC 3261 §20.43).
func warning(err error) sipmsg.Header {
	return sipmsg.NewHeader("Warning", fmt.Sprintf(`399 hotline "%s"`, plain(err.Error())))
}

// agree starts or changes the audio as offer and answer came to, and tells of hold and resume.
func (l *Leg) agree(a sdp.Agreed) error {
	if !a.Remote.IsValid() { // hold as of RFC 2543; nothing is sent, and what comes still comes from where it did
		a.Remote, a.RemoteRTCP = l.offers.remote.Remote, l.offers.remote.RemoteRTCP
	}
	held := l.offers.agreed && l.offers.remote.Held
	l.offers.remote, l.offers.agreed = a, true
	if a.Held != held {
		l.tellHold(a.Held)
	}
	return l.stream.Start(media.Params{
		Remote: a.Remote, RemoteRTCP: a.RemoteRTCP, Codec: media.Codec(a.PayloadType), EventPT: a.EventPT, Send: a.Send, Receive: a.Receive,
	})
}

// tellHold never waits: the newest events are the ones that matter.
func (l *Leg) tellHold(held bool) {
	for {
		select {
		case l.holds <- held:
			return
		default:
		}
		select {
		case <-l.holds:
		default:
		}
	}
}

func withSDP(res *sipmsg.Response, body []byte) *sipmsg.Response {
	res.AppendHeader(sipmsg.NewHeader("Content-Type", "application/sdp"))
	res.SetBody(body)
	return res
}
