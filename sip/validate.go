package sip

import (
	"mime"
	"strconv"
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"
)

// What one message may bring, in bytes unless said otherwise. Far above what real phones send.
const (
	maxHeaders = 128 // header lines
	maxURI     = 1024
	maxValue   = 4096
	maxID      = 256 // Call-ID, tags, branch
	maxBody    = 32 << 10
	maxUser    = 128 // user part of a URI that we work with
)

// allow lists the methods that we take, for Allow headers.
const allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, REGISTER"

// fault is a refusal that a request earned before anybody looked at what it wants.
type fault struct {
	code    int
	reason  string // "" for the usual phrase
	headers []sipmsg.Header
}

// echoes tells whether the headers that every response repeats are fit to be repeated: without control characters. If not there is no answer.
func echoes(req *sipmsg.Request) bool {
	for _, h := range req.Headers() {
		switch sipmsg.HeaderToLower(h.Name()) {
		case "via", "from", "to", "call-id", "cseq":
			if !printable(h.Value()) {
				return false
			}
		}
	}
	return true
}

func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// validate checks what RFC 3261 §8.1.1 and §8.2 ask of every request; nil means that it may be looked at. An ACK that fails is dropped, never
// answered.
func validate(req *sipmsg.Request, inDialog bool) *fault {
	bad := func(reason string) *fault { return &fault{code: 400, reason: reason} }
	if req.SipVersion != "SIP/2.0" {
		return &fault{code: 505}
	}
	headers := req.Headers()
	if len(headers) > maxHeaders {
		return bad("Too Many Headers")
	}
	seen := make(map[string]int, 8)
	for _, h := range headers {
		name := sipmsg.HeaderToLower(h.Name())
		if rest, ok := strings.CutPrefix(h.Name(), broken); ok {
			return bad("Malformed " + rest)
		}
		if len(h.Value()) > maxValue {
			return bad("Header Too Long")
		}
		if !printable(h.Name()) || !printable(h.Value()) {
			return bad("Control Character")
		}
		switch name {
		case "route", "record-route":
			for _, v := range routes(req, name) {
				if _, ok := routeURI(v); !ok {
					return bad("Malformed " + h.Name())
				}
			}
		case "from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type":
			if seen[name]++; seen[name] > 1 {
				return bad("Repeated " + h.Name())
			}
		}
	}
	via, from, to, callID, cseq := req.Via(), req.From(), req.To(), req.CallID(), req.CSeq()
	switch {
	case via == nil || cseq == nil:
		return bad("Missing Via Or CSeq")
	case from == nil:
		return bad("Missing From")
	case to == nil:
		return bad("Missing To")
	case callID == nil:
		return bad("Missing Call-ID")
	}
	method := req.Method
	if method == methodCancel {
		method = sipmsg.CANCEL
	}
	fromTag, hasTag := from.Params.Get("tag")
	switch {
	case cseq.MethodName != method:
		return bad("CSeq Method Does Not Match")
	case !hasTag || fromTag == "":
		return bad("Missing From Tag")
	case !strings.EqualFold(via.ProtocolName, "SIP") || via.ProtocolVersion != "2.0" || via.Host == "" || via.Port < 0 || via.Port > 65535:
		return bad("Malformed Via")
	case len(*callID) > maxID || len(fromTag) > maxID || len(to.Params.GetOr("tag", "")) > maxID || len(via.Params.GetOr("branch", "")) > maxID:
		return bad("Identifier Too Long")
	case strings.ContainsAny(string(*callID), " \t"):
		return bad("Malformed Call-ID")
	}
	uri := req.Recipient.String()
	switch {
	case len(uri) > maxURI:
		return &fault{code: 414}
	case strings.ContainsAny(uri, " \t<>\"") || !printable(uri):
		return bad("Malformed Request-URI")
	case req.Recipient.Scheme != "sip" && req.Recipient.Scheme != "tel":
		return &fault{code: 416, reason: "Unsupported URI Scheme"}
	case len(req.Body()) > maxBody:
		return &fault{code: 413}
	}
	if method == sipmsg.ACK || method == sipmsg.CANCEL {
		return nil // Require and Max-Forwards can't be refused on them (RFC 3261 §8.2.2.3)
	}
	if mf := req.MaxForwards(); mf != nil && !inDialog { // a BYE that made it here is better taken than refused
		if mf.Val() == 0 {
			return &fault{code: 483}
		}
		if mf.Val() > 255 {
			return bad("Malformed Max-Forwards")
		}
	}
	if required := listed(req, "require"); len(required) > 0 {
		return &fault{code: 420, headers: []sipmsg.Header{sipmsg.NewHeader("Unsupported", strings.Join(required, ", "))}}
	}
	if enc := req.GetHeader("content-encoding"); enc != nil && len(req.Body()) > 0 && !strings.EqualFold(enc.Value(), "identity") {
		return &fault{code: 415, headers: []sipmsg.Header{sipmsg.NewHeader("Accept-Encoding", "identity")}}
	}
	return nil
}

// listed gives the comma-separated values of a header that may come several times.
func listed(m interface {
	GetHeaders(string) []sipmsg.Header
}, name string) []string {
	var all []string
	for _, h := range m.GetHeaders(name) {
		for v := range strings.SplitSeq(h.Value(), ",") {
			if v = strings.TrimSpace(v); v != "" {
				all = append(all, v)
			}
		}
	}
	return all
}

// contentType gives the media type of the body in lower case, "" if there is none or it can't be read.
func contentType(m sipmsg.Message) string {
	var value string
	switch m := m.(type) {
	case *sipmsg.Request:
		if h := m.ContentType(); h != nil {
			value = h.Value()
		}
	case *sipmsg.Response:
		if h := m.ContentType(); h != nil {
			value = h.Value()
		}
	}
	t, _, err := mime.ParseMediaType(value)
	if err != nil {
		return ""
	}
	return t
}

// arrival is the place of the request among all that arrived, 0 if unknown.
func arrival(req *sipmsg.Request) uint64 {
	all := req.GetHeaders(headerArrival)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.ParseUint(all[len(all)-1].Value(), 10, 64) // the last is ours
	return n
}

// phrases are the reason phrases of RFC 3261 §21 that we send.
var phrases = map[int]string{
	100: "Trying", 180: "Ringing", 200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 408: "Request Timeout", 413: "Request Entity Too Large", 414: "Request-URI Too Long", 415: "Unsupported Media Type",
	416: "Unsupported URI Scheme", 420: "Bad Extension", 423: "Interval Too Brief", 480: "Temporarily Unavailable",
	481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 486: "Busy Here", 487: "Request Terminated",
	488: "Not Acceptable Here", 491: "Request Pending", 500: "Server Internal Error", 501: "Not Implemented", 503: "Service Unavailable",
	505: "Version Not Supported", 603: "Decline",
}

// response builds a response to req. It goes to where the request came from: arrive saw to that.
func response(req *sipmsg.Request, code int, reason string, headers ...sipmsg.Header) *sipmsg.Response {
	if reason == "" {
		reason = phrases[code]
	}
	res := sipmsg.NewResponseFromRequest(req, code, reason, nil)
	res.SipVersion = "SIP/2.0" // sipgo repeats the request's
	for _, h := range headers {
		res.AppendHeader(h)
	}
	if code == 405 {
		res.AppendHeader(sipmsg.NewHeader("Allow", allow))
	}
	res.AppendHeader(sipmsg.NewHeader("Server", product))
	return res
}

// product names us in Server and User-Agent headers; the version is nobody's business.
const product = "Hotline"

// respond answers and forgets. The transaction repeats the answer when the request is repeated.
func (e *Endpoint) respond(req *sipmsg.Request, tx *sipmsg.ServerTx, code int, headers ...sipmsg.Header) {
	e.send(req, tx, response(req, code, "", headers...))
}

func (e *Endpoint) refuse(req *sipmsg.Request, tx *sipmsg.ServerTx, f *fault) {
	e.send(req, tx, response(req, f.code, f.reason, f.headers...))
}

func (e *Endpoint) send(req *sipmsg.Request, tx *sipmsg.ServerTx, res *sipmsg.Response) {
	if req.IsAck() {
		tx.Terminate()
		return
	}
	if err := tx.Respond(res); err != nil {
		e.log.Debug("response not sent", "method", short(string(req.Method)), "status", res.StatusCode, "callid", short(callIDOf(req)), "error", err)
	}
	if res.IsCancel() {
		tx.Terminate() // sipgo sends it past the transaction, which would stay
	}
}

// retryAfter asks the peer to wait, in seconds.
func retryAfter(seconds int) sipmsg.Header {
	return sipmsg.NewHeader("Retry-After", strconv.Itoa(seconds))
}

// plain makes a string from outside fit for a quoted display name: no control characters, quotes escaped, bounded.
func plain(s string) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() > maxUser {
			break
		}
		switch {
		case r < ' ' || r == 0x7f:
			b.WriteByte(' ')
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// userPart escapes a string for the user part of a SIP URI (RFC 3261 §25.1).
func userPart(s string) string {
	if len(s) > maxUser {
		s = s[:maxUser]
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if isLetter(c) || '0' <= c && c <= '9' || strings.IndexByte("-_.!~*'()&=+$,;?/#", c) >= 0 && c != '#' {
			b.WriteByte(c)
			continue
		}
		const hex = "0123456789ABCDEF"
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// dialled is the number in a Request-URI: its user part, or what a tel: URI names.
func dialled(uri sipmsg.Uri) string {
	user := uri.User
	if uri.Scheme == "tel" {
		user, _, _ = strings.Cut(uri.Raw(), ";")
	} else if i := strings.IndexByte(user, ';'); i >= 0 {
		user = user[:i] // user parameters of a telephone number
	}
	return readable(unescape(user))
}

// readable bounds what a stranger wrote and blanks control characters.
func readable(s string) string {
	if len(s) > maxUser {
		s = strings.ToValidUTF8(s[:maxUser], "")
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
