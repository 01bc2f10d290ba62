//go:build e2e

package main_test

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/icholy/digest"
)

// plainPhone is a UDP socket that sends what the test writes, for messages that
// no phone would send.
type plainPhone struct {
	t    *testing.T
	conn *net.UDPConn
	at   netip.AddrPort
	user string // of the From header
	n    int    // of the request
}

// answer is a response as it came.
type answer struct {
	code int
	text string
}

// header is the value of the first header of that name, "" without one.
func (a answer) header(name string) string {
	for line := range strings.Lines(a.text) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(strings.TrimSpace(k), name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func (c *centre) plainPhone(from string) *plainPhone {
	c.t.Helper()
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.ip, sipPort)))
	if err != nil {
		c.t.Fatalf("plain phone: %v", err)
	}
	return &plainPhone{t: c.t, conn: conn, at: conn.LocalAddr().(*net.UDPAddr).AddrPort(), user: "0900000000"}
}

func (p *plainPhone) close() { _ = p.conn.Close() }

// request writes a request with all that it needs, and whatever headers are
// given besides. One that begins with the name of a header that is there anyway
// takes its place.
func (p *plainPhone) request(method, uri string, headers ...string) string {
	p.n++
	lines := []string{
		fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bK-%d-%d;rport", p.at, p.at.Port(), p.n),
		"Max-Forwards: 70",
		fmt.Sprintf("From: <sip:%s@%s>;tag=plain-%d", p.user, p.at.Addr(), p.n),
		fmt.Sprintf("To: <%s>", uri),
		fmt.Sprintf("Call-ID: plain-%d-%d", p.at.Port(), p.n),
		fmt.Sprintf("CSeq: %d %s", p.n, method),
		fmt.Sprintf("Contact: <sip:%s@%s>", p.user, p.at),
	}
next:
	for _, h := range headers {
		name, _, _ := strings.Cut(h, ":")
		for i, l := range lines {
			if strings.HasPrefix(l, name+":") {
				lines[i] = h
				continue next
			}
		}
		lines = append(lines, h)
	}
	return fmt.Sprintf("%s %s SIP/2.0\r\n%s\r\nContent-Length: 0\r\n\r\n", method, uri, strings.Join(lines, "\r\n"))
}

// invite writes an INVITE with an offer.
func (p *plainPhone) invite(uri string, headers ...string) string {
	sdp := strings.Join([]string{
		"v=0", "o=- 1 1 IN IP4 " + p.at.Addr().String(), "s=-", "c=IN IP4 " + p.at.Addr().String(), "t=0 0",
		fmt.Sprintf("m=audio %d RTP/AVP 0", p.at.Port()+2), "a=rtpmap:0 PCMU/8000", "",
	}, "\r\n")
	msg := p.request("INVITE", uri, append(headers, "Content-Type: application/sdp")...)
	return strings.Replace(msg, "Content-Length: 0\r\n\r\n", fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(sdp), sdp), 1)
}

// asks sends a message and waits for the final response to it. ok is false when
// none came in that time.
func (p *plainPhone) asks(msg string, within time.Duration) (a answer, ok bool) {
	p.t.Helper()
	if _, err := p.conn.Write([]byte(msg)); err != nil {
		return a, false // an ICMP error of the datagram before: nobody listens there
	}
	want := answer{text: msg}.header("CSeq")
	b := make([]byte, 1<<16)
	if err := p.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		p.t.Fatal(err)
	}
	for {
		n, err := p.conn.Read(b)
		if err != nil {
			return a, false
		}
		a.text = string(b[:n])
		if !strings.HasPrefix(a.text, "SIP/2.0 ") {
			continue
		}
		a.code, _ = strconv.Atoi(a.text[8:min(11, n)])
		if a.code >= 200 && (want == "" || a.header("CSeq") == want) {
			return a, true
		}
	}
}

// answers sends a message and gives the code of the final response to it. An
// INVITE's refusal is acknowledged.
func (p *plainPhone) answers(msg string) answer {
	p.t.Helper()
	a, ok := p.asks(msg, patience)
	if !ok {
		p.t.Fatalf("no answer to:\n%s", msg)
	}
	if method, _, _ := strings.Cut(msg, " "); method == "INVITE" && a.code >= 300 {
		q := answer{text: msg}
		uri := strings.Fields(msg)[1]
		cseq, _, _ := strings.Cut(q.header("CSeq"), " ")
		ack := fmt.Sprintf("ACK %s SIP/2.0\r\nVia: %s\r\nMax-Forwards: 70\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s ACK\r\nContent-Length: 0\r\n\r\n",
			uri, q.header("Via"), q.header("From"), a.header("To"), q.header("Call-ID"), cseq)
		if _, err := p.conn.Write([]byte(ack)); err != nil {
			p.t.Fatal(err)
		}
	}
	return a
}

// silence sends a message and asks that nothing comes back, until the centre
// has answered somebody else after it.
func (c *centre) silence(p *plainPhone, msg string) {
	c.t.Helper()
	if _, err := p.conn.Write([]byte(msg)); err != nil {
		c.t.Fatal(err)
	}
	known := c.plainPhone("127.0.0.1")
	defer known.close()
	for range 3 { // the centre has handled the message by then
		if a := known.answers(known.request("OPTIONS", c.address("1901"))); a.code != 200 {
			c.t.Errorf("OPTIONS: %d", a.code)
		}
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	b := make([]byte, 1<<16)
	if n, err := p.conn.Read(b); err == nil {
		c.t.Errorf("a stranger got an answer:\n%s", b[:n])
	}
}

// credentials answers a challenge with MD5, as old phones do.
func (p *plainPhone) credentials(challenge answer, method, uri, user, password string) string {
	p.t.Helper()
	for line := range strings.Lines(challenge.text) {
		value, ok := strings.CutPrefix(line, "WWW-Authenticate: ")
		if !ok || !strings.Contains(value, "MD5") {
			continue
		}
		chal, err := digest.ParseChallenge(strings.TrimSpace(value))
		if err != nil {
			p.t.Fatalf("%s: %v", value, err)
		}
		cred, err := digest.Digest(chal, digest.Options{Method: method, URI: uri, Count: 1, Username: user, Password: password})
		if err != nil {
			p.t.Fatal(err)
		}
		return "Authorization: " + cred.String()
	}
	p.t.Fatalf("no MD5 challenge in:\n%s", challenge.text)
	return ""
}
