package sip

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// registerWish is what a REGISTER asks for, read and checked.
type registerWish struct {
	star      bool // remove all
	contacts  []contactWish
	callID    string
	cseq      uint32
	proxied   bool // more than one Via
	source    netip.AddrPort
	transport string
}

type contactWish struct {
	uri     sipmsg.Uri
	text    string        // for the answer
	expires time.Duration // as granted; 0: remove
	q       int           // in thousandths
}

// registerRefusal is a REGISTER's final answer other than 200.
type registerRefusal struct {
	code   int
	reason string
}

func badRegister(reason string) *registerRefusal { return &registerRefusal{400, reason} }

// read checks a REGISTER and works out what it asks for (RFC 3261 §10.3, steps 4 to 7, but for what needs the bindings).
func (r *registrar) read(req *sipmsg.Request, user string) (*registerWish, *registerRefusal) {
	to, from, callID, cseq, via := req.To(), req.From(), req.CallID(), req.CSeq(), req.Via()
	switch {
	case to == nil:
		return nil, badRegister("Missing To")
	case from == nil:
		return nil, badRegister("Missing From")
	case callID == nil || *callID == "":
		return nil, badRegister("Missing Call-ID")
	case cseq == nil:
		return nil, badRegister("Missing CSeq")
	case via == nil:
		return nil, badRegister("Missing Via")
	case cseq.MethodName != sipmsg.REGISTER:
		return nil, badRegister("CSeq Names Another Method")
	case len(*callID) > maxCallIDLen:
		return nil, badRegister("Call-ID Too Long")
	case strings.ContainsFunc(string(*callID), func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return nil, badRegister("Bad Call-ID")
	}
	if s := uriScheme(&to.Address); s != "sip" && s != "sips" || unescape(to.Address.User) != user {
		return nil, &registerRefusal{403, "Not Your Address"}
	}
	account, ok := r.accounts(user)
	if !ok {
		return nil, &registerRefusal{404, "Not Found"}
	}
	if account.Contact != "" {
		return nil, &registerRefusal{403, "Fixed Contact"}
	}

	w := &registerWish{callID: string(*callID), cseq: cseq.SeqNo, proxied: len(req.GetHeaders("via")) > 1}
	headers, bad := contactHeaders(req)
	if bad != nil {
		return nil, bad
	}
	for _, h := range headers {
		if h.Address.Wildcard && h.Address.Scheme == "" {
			w.star = true
		}
	}
	common, named, readable := r.expiresHeader(req)
	if w.star {
		if len(headers) != 1 || len(headers[0].Params) != 0 || !named || !readable || common != 0 {
			return nil, badRegister("Contact * Needs Expires 0 And Nothing Else")
		}
		return w, nil
	}
	for _, h := range headers {
		c, refusal := r.readContact(h, common)
		if refusal != nil {
			return nil, refusal
		}
		w.contacts = append(w.contacts, c)
	}
	return w, nil
}

// contactHeaders gives the Contact values of all Contact headers in order. sipgo has split comma lists already, except where a
// header was built by name.
func contactHeaders(req *sipmsg.Request) ([]*sipmsg.ContactHeader, *registerRefusal) {
	var list []*sipmsg.ContactHeader
	for _, name := range []string{"contact", "m"} {
		for _, h := range req.GetHeaders(name) {
			parsed := []sipmsg.Header{h}
			if _, ok := h.(*sipmsg.ContactHeader); !ok {
				var err error
				parser := sipmsg.HeadersParser(sipmsg.DefaultHeadersParser())
				if parsed, err = parser.ParseHeader(nil, []byte("Contact: "+h.Value())); err != nil {
					return nil, badRegister("Bad Contact")
				}
			}
			for _, p := range parsed {
				c, ok := p.(*sipmsg.ContactHeader)
				if !ok || len(list) >= maxContactValues {
					return nil, badRegister("Bad Contact")
				}
				list = append(list, c)
			}
		}
	}
	return list, nil
}

// expiresHeader reads the Expires header: the interval for contacts that name none, whether there was one, and whether it could
// be read.
func (r *registrar) expiresHeader(req *sipmsg.Request) (d time.Duration, named, readable bool) {
	h := req.GetHeader("expires")
	if h == nil {
		return r.defaultExpires, false, true
	}
	d, readable = deltaSeconds(h.Value())
	return d, true, readable
}

// deltaSeconds reads delta-seconds. What is larger than 2**32-1 counts as that, what can't be read as an hour (RFC 3261 §20.10).
func deltaSeconds(s string) (d time.Duration, readable bool) {
	s = strings.TrimSpace(s)
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return unreadableExpires, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		n = 1<<32 - 1
	}
	return time.Duration(n) * time.Second, true
}

func (r *registrar) readContact(h *sipmsg.ContactHeader, common time.Duration) (contactWish, *registerRefusal) {
	u := &h.Address
	text := u.String()
	switch s := uriScheme(u); {
	case s != "sip" && s != "sips":
		return contactWish{}, badRegister("Contact Is No SIP URI")
	case u.Host == "" || u.Wildcard || u.HierarhicalSlashes || u.Port < 0 || u.Port > 65535 || !wireSafe(text):
		return contactWish{}, badRegister("Bad Contact")
	case len(text) > maxContactLen:
		return contactWish{}, badRegister("Contact Too Long")
	}
	// What sipgo reads of a strange URI and what it writes are not always the same.
	var back sipmsg.Uri
	if sipmsg.ParseUri(text, &back) != nil || !sameURI(u, &back) {
		return contactWish{}, badRegister("Bad Contact")
	}
	c := contactWish{uri: *u.Clone(), text: "<" + text + ">", q: 1000, expires: common}
	if v, ok := uriParam(h.Params, "expires"); ok {
		c.expires, _ = deltaSeconds(v)
	}
	if v, ok := uriParam(h.Params, "q"); ok {
		if c.q, ok = thousandths(v); !ok {
			return contactWish{}, badRegister("Bad q")
		}
		c.text += ";q=" + v
	}
	if c.expires > 0 && c.expires < r.minExpires && c.expires < time.Hour {
		return contactWish{}, &registerRefusal{423, "Interval Too Brief"}
	}
	c.expires = min(c.expires, r.maxExpires)
	return c, nil
}

// wireSafe tells whether a URI can be written between angle brackets into a header without ending either.
func wireSafe(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '<' || c == '>' || c == '"' {
			return false
		}
	}
	return true
}

// thousandths reads a qvalue: 0 to 1 with up to three decimals (RFC 3261 §25.1).
func thousandths(s string) (int, bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 || strings.Trim(decimals, "0123456789") != "" {
		return 0, false
	}
	n, _ := strconv.Atoi(whole + (decimals + "000")[:3])
	return n, n <= 1000
}

// registerResponse answers a request with what it says about itself (RFC 3261 §8.2.6). Line ends inside its values, which a parser may
// have let through, become underscores, so that nobody can write headers of his own into our answer.
func registerResponse(req *sipmsg.Request, code int, reason string) *sipmsg.Response {
	res := sipmsg.NewResponseFromRequest(req, code, reason, nil)
	for _, h := range res.Headers() {
		if strings.ContainsAny(h.Value(), "\r\n\x00") {
			return withoutLineEnds(res)
		}
	}
	return res
}

func withoutLineEnds(res *sipmsg.Response) *sipmsg.Response {
	c := sipmsg.NewResponse(res.StatusCode, res.Reason)
	c.SipVersion = res.SipVersion
	for _, h := range res.Headers() {
		value := h.Value()
		if !strings.ContainsAny(value, "\r\n\x00") {
			c.AppendHeader(h)
			continue
		}
		value = strings.Map(func(r rune) rune {
			if r == '\r' || r == '\n' || r == 0 {
				return '_'
			}
			return r
		}, value)
		c.AppendHeader(sipmsg.NewHeader(h.Name(), value))
	}
	c.SetTransport(res.Transport())
	c.SetDestination(res.Destination())
	return c
}
