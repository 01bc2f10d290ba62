package sip

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"
)

// What sipgo's parser can't read it drops without a word. So each message is looked at before, as raw text: what is not SIP at all is dropped here,
// and a request that sipgo would lose gets its 400 from here, if the sender is known and the headers that a response repeats can be made out.

var (
	crlf    = []byte("\r\n")
	headEnd = []byte("\r\n\r\n")
)

// maxHead bounds the start line and the headers of one message, in bytes.
const maxHead = 32 << 10

// sipLike tells whether b begins as a SIP message does: with a letter, and the protocol's name in the first line. All else is noise that has no
// answer: keep-alives, STUN, RTP gone astray, scanners' garbage.
func sipLike(b []byte) bool {
	if len(b) < 32 || !isLetter(b[0]) {
		return false
	}
	line, _, _ := bytes.Cut(b, crlf)
	return len(line) <= 2048 && (bytes.HasPrefix(line, []byte("SIP/")) || bytes.Contains(line, []byte(" SIP/")))
}

// flaw tells what keeps a whole message from being read, "" if nothing does. It is what RFC 3261 §7 asks of every message; validate looks at
// the rest.
func flaw(msg []byte) string {
	head, body, ended := bytes.Cut(msg, headEnd)
	switch {
	case !ended:
		return "No Empty Line After The Headers"
	case len(head) > maxHead:
		return "Headers Too Long"
	case hasBareLineEnd(head):
		return "Line Ends Are CRLF"
	}
	start, headers, _ := bytes.Cut(head, crlf)
	if why := startLineFlaw(start); why != "" {
		return why
	}
	for name := range headerLines(headers) {
		if name == "" {
			return "Header Line Without Name"
		}
	}
	switch n, _, err := bodyLength(headers); {
	case err != nil:
		return "Malformed Content-Length"
	case n > len(body):
		return "Body Shorter Than Content-Length" // RFC 3261 §18.3
	}
	return ""
}

// hasBareLineEnd: a NUL, or a CR or LF alone, which would become a line of its own in what we echo.
func hasBareLineEnd(head []byte) bool {
	for i, c := range head {
		switch c {
		case 0:
			return true
		case '\n':
			if i == 0 || head[i-1] != '\r' {
				return true
			}
		case '\r':
			if i+1 >= len(head) || head[i+1] != '\n' {
				return true
			}
		}
	}
	return false
}

func startLineFlaw(line []byte) string {
	first, rest, ok := strings.Cut(string(line), " ")
	second, third, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 {
		return "Malformed Start Line"
	}
	if len(third) < 3 || !strings.EqualFold(third[:3], "SIP") || strings.Contains(third, " ") { // then it is no request to sipgo
		if !strings.HasPrefix(first, "SIP/") {
			return "Malformed Start Line"
		}
		if len(second) != 3 || strings.Trim(second, "0123456789") != "" {
			return "Malformed Status Line"
		}
		return ""
	}
	var uri sipmsg.Uri
	if err := parseURI(second, &uri); err != nil || uri.Wildcard {
		return "Malformed Request-URI"
	}
	return ""
}

// parseURI is sipgo's, with a panic of it made an error: this runs on the readers, where a panic would end the process.
func parseURI(s string, uri *sipmsg.Uri) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return sipmsg.ParseUri(s, uri)
}

// headerLines gives the headers with folded lines made one (RFC 3261 §7.3.1). A line that has no name has the name "".
func headerLines(headers []byte) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for len(headers) > 0 {
			var line []byte
			line, headers, _ = bytes.Cut(headers, crlf)
			folded := false
			for len(headers) > 0 && (headers[0] == ' ' || headers[0] == '\t') {
				var more []byte
				more, headers, _ = bytes.Cut(headers, crlf)
				if !folded {
					line, folded = bytes.Clone(line), true
				}
				line = append(append(bytes.TrimRight(line, " \t"), ' '), bytes.Trim(more, " \t")...)
			}
			name, value, ok := bytes.Cut(line, []byte(":"))
			if name = bytes.TrimSpace(name); !ok || len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
				name = nil
			}
			if !yield(string(name), string(bytes.TrimSpace(value))) {
				return
			}
		}
	}
}

var errBodyLength = errors.New("Content-Length makes no sense")

// bodyLength reads Content-Length. found: there is one. Two that differ are an error: the parts of a network that choose differently could be made to
// see different messages.
func bodyLength(headers []byte) (n int, found bool, err error) {
	for name, value := range headerLines(headers) {
		if !strings.EqualFold(name, "content-length") && !strings.EqualFold(name, "l") {
			continue
		}
		if value == "" || len(value) > 10 || strings.Trim(value, "0123456789") != "" {
			return 0, true, errBodyLength
		}
		m := 0
		for _, c := range []byte(value) {
			m = m*10 + int(c-'0')
		}
		if found && m != n {
			return 0, true, errBodyLength
		}
		n, found = m, true
	}
	return n, found, nil
}

// refusal is the 400 to a request that can't be read, nil when there is none to give: the sender is not known, it is a response or an ACK, or Via, From,
// To, Call-ID and CSeq are not all there, once each, and fit to be repeated. It goes back where the request came from.
func (e *Endpoint) refusal(msg []byte, source netip.AddrPort, why string) []byte {
	source = netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
	if !sipLike(msg) || bytes.HasPrefix(msg, []byte("SIP/")) || bytes.HasPrefix(msg, []byte("ACK ")) || !e.known(source.Addr()) {
		return nil
	}
	head, _, _ := bytes.Cut(msg, headEnd)
	_, headers, _ := bytes.Cut(head, crlf)
	var vias []string
	var once struct{ from, to, callID, cseq string }
	for name, value := range headerLines(headers) {
		var field *string
		switch strings.ToLower(name) {
		case "via", "v":
			if len(vias) > 16 || !echoable(value) {
				return nil
			}
			vias = append(vias, value)
			continue
		case "from", "f":
			field = &once.from
		case "to", "t":
			field = &once.to
		case "call-id", "i":
			field = &once.callID
		case "cseq":
			field = &once.cseq
		default:
			continue
		}
		if *field != "" || !echoable(value) {
			return nil
		}
		*field = value
	}
	if len(vias) == 0 || once.from == "" || once.to == "" || once.callID == "" || once.cseq == "" || strings.HasSuffix(strings.ToUpper(once.cseq), "ACK") {
		return nil
	}
	if !strings.Contains(strings.ToLower(once.to), "tag=") {
		mac := hmac.New(sha256.New, e.secret[:])
		fmt.Fprintf(mac, "%q %q %q", once.callID, once.from, vias[0])
		once.to += ";tag=" + tagEncoding.EncodeToString(mac.Sum(nil)[:10])
	}
	e.log.Debug("malformed request", "status", 400, "reason", why, "source", source, "callid", short(once.callID))
	var b bytes.Buffer
	fmt.Fprintf(&b, "SIP/2.0 400 %s\r\n", why)
	for _, v := range vias {
		fmt.Fprintf(&b, "Via: %s\r\n", v)
	}
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\nServer: %s\r\nContent-Length: 0\r\n\r\n", once.from, once.to, once.callID, once.cseq, product)
	return b.Bytes()
}

// echoable: fit to be repeated in a response.
func echoable(value string) bool { return value != "" && len(value) <= maxValue && printable(value) }

func isLetter(c byte) bool { return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' }
