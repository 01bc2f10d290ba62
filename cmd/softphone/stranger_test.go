package main

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// stranger is a peer that speaks SIP by hand over UDP, so that it can also misbehave.
type stranger struct {
	t    *testing.T
	conn *net.UDPConn
	peer *net.UDPAddr // the phone
	tag  string       // the phone's tag
	seq  int
	last string // the last message that came
}

func newStranger(t *testing.T) *stranger {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &stranger{t: t, conn: c}
}

func (s *stranger) send(text string) {
	s.t.Helper()
	head, body, _ := strings.Cut(strings.TrimLeft(text, "\n"), "\n\n")
	head = strings.TrimRight(head, "\n") + fmt.Sprintf("\nContent-Length: %d\n\n", len(strings.ReplaceAll(body, "\n", "\r\n")))
	if _, err := s.conn.WriteToUDP([]byte(strings.ReplaceAll(head+body, "\n", "\r\n")), s.peer); err != nil {
		s.t.Fatal(err)
	}
}

// expect reads on until a message begins with the words.
func (s *stranger) expect(words string) string {
	s.t.Helper()
	_ = s.conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 1<<16)
	var seen []string
	for {
		n, from, err := s.conn.ReadFromUDP(b)
		if err != nil {
			s.t.Fatalf("no %q but %q: %v", words, seen, err)
		}
		s.last, s.peer = string(b[:n]), from
		if strings.HasPrefix(s.last, words) {
			return s.last
		}
		seen = append(seen, strings.SplitN(s.last, "\r", 2)[0])
	}
}

// header finds a header of the last message.
func (s *stranger) header(name string) string {
	m := regexp.MustCompile(`(?im)^` + name + `: *(.*?)\r?$`).FindStringSubmatch(s.last)
	if m == nil {
		s.t.Fatalf("no %s in\n%s", name, s.last)
	}
	return m[1]
}

// request sends a request of the stranger, who called.
func (s *stranger) request(method, more string) {
	s.t.Helper()
	if method != "ACK" {
		s.seq++
	}
	to := "<sip:anna@127.0.0.1>"
	if s.tag != "" {
		to += ";tag=" + s.tag
	}
	s.send(fmt.Sprintf("%s sip:anna@%s SIP/2.0\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s%d\nFrom: \"Stranger\" <sip:x@127.0.0.1>;tag=them\nTo: %s\n"+
		"Call-ID: odd-%s\nCSeq: %d %s\nMax-Forwards: 70\nContact: <sip:x@%s>\n%s",
		method, s.peer, s.conn.LocalAddr(), method, s.seq, to, s.conn.LocalAddr(), s.seq, method, s.conn.LocalAddr(), more))
}

const withSDP = "Content-Type: application/sdp\n\n"

func sdpAt(port int, attributes string) string {
	return fmt.Sprintf("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio %d RTP/AVP 8 0 96\na=rtpmap:96 telephone-event/8000\n%s", port, attributes)
}

// strangerCalls makes an agent answer the stranger's call.
func strangerCalls(t *testing.T) (*stranger, *running) {
	t.Helper()
	agent, address := agentWaits(t, "--calls", "1")
	s := newStranger(t)
	peer, err := net.ResolveUDPAddr("udp", strings.TrimPrefix(address, "sip:anna@"))
	if err != nil {
		t.Fatal(err)
	}
	s.peer = peer
	s.request("INVITE", withSDP+sdpAt(40000, ""))
	s.expect("SIP/2.0 180")
	s.expect("SIP/2.0 200")
	_, s.tag, _ = strings.Cut(s.header("To"), "tag=")
	return s, agent
}

func TestStrangerHoldsAndResumes(t *testing.T) {
	t.Parallel()
	s, agent := strangerCalls(t)
	if !strings.Contains(s.last, "RTP/AVP 8 96\r\n") || !strings.Contains(s.last, "o=- ") {
		t.Errorf("answer\n%s", s.last)
	}
	version := func() string { return strings.Fields(regexp.MustCompile(`o=.*`).FindString(s.last))[2] }
	if version() != "1" {
		t.Errorf("version %s", version())
	}
	s.request("ACK", "")
	for i, row := range []struct{ offer, answer, version string }{
		{"a=sendonly\n", "a=recvonly", "2"},
		{"a=sendonly\n", "a=recvonly", "2"}, // a refresh changes nothing
		{"a=sendrecv\n", "a=sendrecv", "3"},
		{"c=IN IP4 0.0.0.0\n", "a=recvonly", "4"},
		{"", "a=sendrecv", "5"},
	} {
		s.request("INVITE", withSDP+sdpAt(40000, row.offer))
		s.expect("SIP/2.0 200")
		if !strings.Contains(s.last, row.answer) || version() != row.version {
			t.Errorf("re-INVITE %d with %q: version %s\n%s", i, row.offer, version(), s.last)
		}
		s.request("ACK", "")
	}
	s.request("UPDATE", withSDP+sdpAt(40002, "a=inactive\n"))
	if s.expect("SIP/2.0 200"); !strings.Contains(s.last, "a=inactive") {
		t.Errorf("UPDATE\n%s", s.last)
	}
	s.request("INVITE", "") // no offer: we offer, the ACK answers
	if s.expect("SIP/2.0 200"); !strings.Contains(s.last, "m=audio") {
		t.Errorf("no offer in\n%s", s.last)
	}
	s.request("ACK", withSDP+sdpAt(40004, ""))
	s.request("INVITE", withSDP+strings.Replace(sdpAt(40004, ""), "RTP/AVP", "RTP/SAVP", 1))
	s.expect("SIP/2.0 488")
	s.request("ACK", "") // of the 488: the transaction's, ignored
	s.request("BYE", "")
	s.expect("SIP/2.0 200")
	if r := agent.ends(0).Calls[0]; r.Held != 3 || r.PeerName != "Stranger" || r.HungUpBy != "remote" {
		t.Errorf("agent %+v", r)
	}
}

func TestStrangerWithinTheDialog(t *testing.T) {
	t.Parallel()
	s, agent := strangerCalls(t)
	s.request("ACK", "")
	s.request("OPTIONS", "")
	if s.expect("SIP/2.0 200"); !strings.Contains(s.header("Allow"), "INVITE") {
		t.Error(s.last)
	}
	s.request("INFO", "Content-Type: application/dtmf-relay\n\nSignal=5\nDuration=160\n")
	s.expect("SIP/2.0 200")
	s.request("INFO", "Content-Type: application/dtmf\n\n#\n")
	s.expect("SIP/2.0 200")
	s.request("INFO", "Content-Type: text/plain\n\nhello\n")
	s.expect("SIP/2.0 415")
	s.request("REFER", "")
	s.expect("SIP/2.0 405")
	s.request("CANCEL", "")
	s.expect("SIP/2.0 481")
	s.seq -= 2
	s.request("OPTIONS", "X-Old: yes\n")
	s.expect("SIP/2.0 500")
	s.seq += 2
	tag := s.tag
	s.tag = "nobody"
	s.request("BYE", "")
	s.expect("SIP/2.0 481")
	s.tag = tag
	s.send(fmt.Sprintf("OPTIONS sip:anna@%s SIP/2.0\nVia: SIP/2.0/UDP %s;branch=z9hG4bKbare\nCSeq: 1 OPTIONS\n", s.peer, s.conn.LocalAddr()))
	s.expect("SIP/2.0 400")
	s.request("BYE", "")
	s.expect("SIP/2.0 200")
	if r := agent.ends(0).Calls[0]; r.Received != "5#" {
		t.Errorf("agent %+v", r)
	}
}

// TestAnswerIsRepeatedUntilACK: the ACK to the first 200 is lost.
func TestAnswerIsRepeatedUntilACK(t *testing.T) {
	t.Parallel()
	s, agent := strangerCalls(t)
	s.expect("SIP/2.0 200")
	s.request("ACK", "")
	s.request("BYE", "")
	s.expect("SIP/2.0 200 OK")
	for !strings.Contains(s.header("CSeq"), "BYE") { // repeated once more, it may be
		s.expect("SIP/2.0 200 OK")
	}
	agent.ends(0)
}

func TestNoACKEndsTheCall(t *testing.T) {
	t.Parallel()
	p := testPhone(t, identity{User: "anna"})
	p.ackWithin = 300 * time.Millisecond
	calls, done := make(chan *ringing, 1), make(chan *report, 1)
	p.takeCalls(func(in *ringing) { calls <- in })
	go func() { done <- p.answer(context.Background(), <-calls, 0, 200, plan{}) }()
	s := newStranger(t)
	s.peer = net.UDPAddrFromAddrPort(p.local)
	s.request("INVITE", withSDP+sdpAt(40000, ""))
	s.expect("SIP/2.0 200")
	s.expect("BYE ")
	s.reply(200, "OK", "")
	if r := <-done; r.Error != errNoACK.Error() || r.fine() {
		t.Errorf("report %+v", r)
	}
}

// reply answers the last request that came.
func (s *stranger) reply(code int, reason, more string) {
	s.t.Helper()
	tag := ""
	if to := s.header("To"); !strings.Contains(to, "tag=") && code > 100 {
		tag = ";tag=them"
	}
	s.send(fmt.Sprintf("SIP/2.0 %d %s\nVia: %s\nFrom: %s\nTo: %s%s\nCall-ID: %s\nCSeq: %s\nContact: <sip:x@%s>\n%s",
		code, reason, s.header("Via"), s.header("From"), s.header("To"), tag, s.header("Call-ID"), s.header("CSeq"), s.conn.LocalAddr(), more))
}

// callStranger dials the stranger and gives it the INVITE.
func callStranger(t *testing.T, args ...string) (*stranger, *running) {
	t.Helper()
	s := newStranger(t)
	caller := start(t, "caller", append([]string{"call", "sip:x@" + s.conn.LocalAddr().String()}, args...)...)
	s.expect("INVITE ")
	return s, caller
}

// TestAnswerCrossesCancel: the stranger answered just when the caller gave up.
func TestAnswerCrossesCancel(t *testing.T) {
	t.Parallel()
	s, caller := callStranger(t)
	invite := s.last
	s.reply(180, "Ringing", "")
	caller.waitFor("ringing")
	caller.stop()
	s.expect("CANCEL ")
	s.reply(200, "OK", "")
	s.last = invite
	s.reply(200, "OK", withSDP+sdpAt(40000, ""))
	s.expect("ACK ")
	s.expect("BYE ")
	s.reply(200, "OK", "")
	if r := caller.ends(1); r.Result != cancelled || r.Error != "" {
		t.Errorf("caller %+v", r)
	}
}

// TestLostACKAndSecondPhone: a 200 that comes again gets its ACK again; one of a second
// phone behind a proxy gets ACK and BYE.
func TestLostACKAndSecondPhone(t *testing.T) {
	t.Parallel()
	s, caller := callStranger(t)
	invite := s.last
	s.reply(200, "OK", withSDP+sdpAt(40000, ""))
	s.expect("ACK ")
	s.last = invite
	s.reply(200, "OK", withSDP+sdpAt(40000, ""))
	s.expect("ACK ")
	if !strings.Contains(s.header("To"), "tag=them") {
		t.Error(s.last)
	}
	s.last = strings.Replace(invite, "To: <sip:x@127.0.0.1>", "To: <sip:x@127.0.0.1>;tag=other", 1)
	s.reply(200, "OK", withSDP+sdpAt(40008, ""))
	s.expect("ACK ")
	s.expect("BYE ")
	if !strings.Contains(s.header("To"), "tag=other") {
		t.Error(s.last)
	}
	s.reply(200, "OK", "")
	caller.waitFor("second phone")
	caller.stop()
	s.expect("BYE ")
	if !strings.Contains(s.header("To"), "tag=them") {
		t.Error(s.last)
	}
	s.reply(200, "OK", "")
	caller.ends(0)
}

// TestRouteSet: what the peer's Record-Route and Contact say is where requests go.
func TestRouteSet(t *testing.T) {
	t.Parallel()
	s, caller := callStranger(t, "--hangup-after-answer", "20ms")
	at := s.conn.LocalAddr()
	s.reply(200, "OK", fmt.Sprintf("Record-Route: <sip:%s;lr;n=2>\nRecord-Route: <sip:%s;lr;n=1>\n", at, at)+withSDP+sdpAt(40000, ""))
	s.expect("ACK ")
	s.expect("BYE sip:x@" + at.String())
	if first, second := strings.Index(s.last, "n=1"), strings.Index(s.last, "n=2"); first < 0 || second < first {
		t.Errorf("routes in\n%s", s.last)
	}
	s.reply(481, "Gone", "") // over all the same
	caller.ends(0)
}

func TestAnswerWithoutSoundIsHungUpOn(t *testing.T) {
	t.Parallel()
	s, caller := callStranger(t)
	s.reply(200, "OK", withSDP+strings.Replace(sdpAt(40000, ""), "8 0 96", "18", 1))
	s.expect("ACK ")
	s.expect("BYE ")
	s.reply(200, "OK", "")
	if r := caller.ends(1); r.Result != failed || !strings.Contains(r.Error, "no common codec") {
		t.Errorf("caller %+v", r)
	}
}
