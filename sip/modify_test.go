package sip

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// talking sets a call up and gives both ends.
func talking(t *testing.T, change func(*Config)) (*Endpoint, *phone, *call, *Leg) {
	t.Helper()
	e, legs := calls(t, change)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	c.answered()
	return e, anna, c, l
}

func (c *call) reinvite(body string) message {
	c.p.t.Helper()
	c.request("INVITE", body)
	res := c.p.wantFor(200, "INVITE")
	for res.seq() != c.inviteSeq { // a repetition of the first 200
		res = c.p.wantFor(200, "INVITE")
	}
	c.ack(res, "")
	return res
}

func sdpLine(body, prefix string) string {
	for l := range strings.Lines(body) {
		if strings.HasPrefix(l, prefix) {
			return strings.TrimSpace(l)
		}
	}
	return ""
}

func TestHoldAndResumeInAllDialects(t *testing.T) {
	_, anna, c, l := talking(t, nil)
	version := 1
	for _, dialect := range []struct{ name, sdp, want string }{
		{"sendonly", someSDP(0, "sendonly"), "a=recvonly"},
		{"inactive", someSDP(0, "inactive"), "a=inactive"},
		{"c=0.0.0.0", strings.Replace(someSDP(0, "sendrecv"), "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0", 1), ""},
	} {
		version++
		res := c.reinvite(strings.Replace(dialect.sdp, "o=- 7 0", fmt.Sprintf("o=- 7 %d", version), 1))
		if dialect.want != "" && !strings.Contains(res.body, dialect.want) {
			t.Errorf("%s was answered with %q", dialect.name, res.body)
		}
		if !get(t, "hold", l.Holds()) {
			t.Errorf("%s: resumed?", dialect.name)
		}
		version++
		res = c.reinvite(someSDP(version, "sendrecv"))
		if !strings.Contains(res.body, "a=sendrecv") {
			t.Errorf("resume was answered with %q", res.body)
		}
		if get(t, "resume", l.Holds()) {
			t.Errorf("%s: held after resume", dialect.name)
		}
	}
	c.request("BYE", "")
	anna.wantFor(200, "BYE")
}

func TestVersionOfOurDescriptionGrowsOnlyWhenItChanges(t *testing.T) {
	_, _, c, _ := talking(t, nil)
	same := sdpLine(c.reinvite(someSDP(1, "sendrecv")).body, "o=")
	if again := sdpLine(c.reinvite(someSDP(1, "sendrecv")).body, "o="); again != same {
		t.Errorf("unchanged description: %s, then %s", same, again)
	}
	held := sdpLine(c.reinvite(someSDP(2, "sendonly")).body, "o=")
	var id, v1, v2 uint64
	fmt.Sscanf(same, "o=- %d %d", &id, &v1)
	fmt.Sscanf(held, "o=- %d %d", &id, &v2)
	if v2 != v1+1 {
		t.Errorf("changed description: %s, then %s", same, held)
	}
}

func TestResumeWithoutSDP(t *testing.T) {
	_, anna, c, l := talking(t, nil)
	c.reinvite(someSDP(2, "sendonly"))
	get(t, "hold", l.Holds())
	c.request("INVITE", "")
	res := anna.wantFor(200, "INVITE")
	if !strings.Contains(res.body, "a=sendrecv") {
		t.Errorf("late offer: %q", res.body)
	}
	// While our offer is open, another one crosses it.
	d := *c
	d.request("UPDATE", someSDP(3, "sendrecv"))
	anna.want("SIP/2.0 491")
	d.request("INVITE", someSDP(3, "sendrecv"))
	d.ack(anna.want("SIP/2.0 491"), "")
	c.ack(res, someSDP(3, "sendrecv"))
	if get(t, "resume", l.Holds()) {
		t.Error("still held")
	}
}

func TestReinviteThatDoesNotFitLeavesTheCallAlone(t *testing.T) {
	_, anna, c, l := talking(t, nil)
	c.request("INVITE", strings.Replace(someSDP(2, "sendrecv"), "RTP/AVP 0 8 101", "RTP/AVP 3 101", 1))
	c.ack(anna.want("SIP/2.0 488"), "")
	c.request("INVITE", "v=0\r\nnonsense\r\n")
	c.ack(anna.want("SIP/2.0 400"), "")
	c.reinvite(someSDP(3, "sendrecv"))
	select {
	case <-l.Done():
		t.Error("the call is over")
	default:
	}
}

func TestUpdate(t *testing.T) {
	_, anna, c, l := talking(t, nil)
	c.request("UPDATE", someSDP(2, "sendonly"))
	if res := anna.wantFor(200, "UPDATE"); !strings.Contains(res.body, "a=recvonly") {
		t.Errorf("answer %q", res.body)
	}
	if !get(t, "hold", l.Holds()) {
		t.Error("not held")
	}
	c.request("UPDATE", "") // only a target refresh
	if res := anna.wantFor(200, "UPDATE"); res.body != "" || res.header("Contact") == "" {
		t.Errorf("answer %q, Contact %q", res.body, res.header("Contact"))
	}
}

func TestUpdateBeforeTheAnswer(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	if err := l.Ringing(); err != nil {
		t.Fatal(err)
	}
	c.joins(anna.want("SIP/2.0 180"))
	c.request("UPDATE", someSDP(2, "sendrecv"))
	if res := anna.want("SIP/2.0 500"); res.header("Retry-After") == "" {
		t.Error("500 without Retry-After") // RFC 3311 §5.2
	}
	l.Hangup()
	anna.want("SIP/2.0 480")
}

func TestTargetRefreshMovesTheBYE(t *testing.T) {
	var mu sync.Mutex
	var last json.RawMessage
	e, anna, c, l := talking(t, func(c *Config) {
		c.OnDialog = func(_, _ string, state json.RawMessage) {
			mu.Lock()
			defer mu.Unlock()
			if state != nil {
				last = state
			}
		}
	})
	desk := newPhone(t, e, "127.0.0.1", "desk")
	c.contactURI = desk.contact()
	c.request("UPDATE", "")
	anna.wantFor(200, "UPDATE")
	mu.Lock()
	if !strings.Contains(string(last), desk.local) {
		t.Errorf("OnDialog does not know the new target: %s", last)
	}
	mu.Unlock()
	l.Hangup()
	desk.reply(desk.want("BYE"), 200, "", "")
}

func TestInfoDigits(t *testing.T) {
	_, anna, c, l := talking(t, nil)
	for _, in := range []struct {
		kind, body string
		key        byte
	}{
		{"application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", '5'},
		{"application/dtmf-relay", "Signal= #\r\nDuration= 100\r\n", '#'},
		{"application/dtmf-relay", "signal=10\r\n", '*'},
		{"application/dtmf", "7", '7'},
		{"application/dtmf", "11", '#'},
		{"application/dtmf", "d", 'D'},
	} {
		c.request("INFO", in.body, "Content-Type: "+in.kind)
		anna.wantFor(200, "INFO")
		if d := get(t, "the key", l.Audio().Digits()); d.Key != in.key {
			t.Errorf("%q pressed %c", in.body, d.Key)
		}
	}
	c.request("INFO", "Signal=hello\r\n", "Content-Type: application/dtmf-relay")
	anna.wantFor(400, "INFO")
	c.request("INFO", "<x/>", "Content-Type: application/media_control+xml")
	anna.wantFor(415, "INFO")
	c.request("INFO", "")
	anna.wantFor(200, "INFO")
}

func TestRequestsWithinADialog(t *testing.T) {
	_, anna, c, l := talking(t, nil)
	c.request("OPTIONS", "")
	if res := anna.wantFor(200, "OPTIONS"); !strings.Contains(res.header("Allow"), "INVITE") {
		t.Error("no Allow")
	}
	for method, status := range map[string]int{"MESSAGE": 405, "REFER": 405, "NOTIFY": 481, "PRACK": 481, "FOO": 501} {
		c.request(method, "")
		if res := anna.wantFor(status, method); status != 481 && res.header("Allow") == "" {
			t.Errorf("%s: no Allow", method)
		}
	}
	// A CSeq lower than the last is out of order: RFC 3261 §12.2.2.
	c.write("OPTIONS", 1, unique("z9hG4bK-t"), "")
	anna.wantFor(500, "OPTIONS")
	// Another From tag is another dialog.
	d := *c
	d.from = strings.Split(c.from, ";tag=")[0] + ";tag=other"
	d.request("BYE", "")
	anna.wantFor(481, "BYE")
	c.seq = d.seq
	c.request("BYE", "")
	anna.wantFor(200, "BYE")
	get(t, "the end", l.Done())
	c.request("BYE", "") // 200 while the dialog's goroutine is still there, 481 later
	if res := anna.want("SIP/2.0 "); !strings.HasPrefix(res.start, "SIP/2.0 481") && !strings.HasPrefix(res.start, "SIP/2.0 200") {
		t.Errorf("BYE after the end: %s", res.start)
	}
}

func TestRouteSetOfTheCaller(t *testing.T) {
	e, legs := calls(t, nil)
	anna, proxy := newPhone(t, e, "127.0.0.1", "anna"), newPhone(t, e, "127.0.0.1", "proxy")
	c := anna.dials("1900")
	// The top of Record-Route is the proxy next to us.
	c.request("INVITE", someSDP(1, "sendrecv"), "Record-Route: <sip:"+proxy.local+";lr>, <sip:far.example.com;lr>")
	l := get(t, "the call", legs)
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	res := c.answered()
	if rr := strings.Join(res.all("Record-Route"), ", "); rr != "<sip:"+proxy.local+";lr>, <sip:far.example.com;lr>" {
		t.Errorf("Record-Route of the 200: %q", rr)
	}
	l.Hangup()
	bye := proxy.want("BYE")
	if !strings.HasPrefix(bye.start, "BYE "+anna.contact()) {
		t.Errorf("Request-URI is not the target: %s", bye.start)
	}
	if r := bye.all("Route"); len(r) != 2 || !strings.Contains(r[0], proxy.local) || !strings.Contains(r[1], "far.example.com") {
		t.Errorf("Route: %q", r)
	}
	proxy.reply(bye, 200, "", "")
}

func TestStrictRouter(t *testing.T) {
	e, legs := calls(t, nil)
	anna, proxy := newPhone(t, e, "127.0.0.1", "anna"), newPhone(t, e, "127.0.0.1", "proxy")
	c := anna.dials("1900")
	c.request("INVITE", someSDP(1, "sendrecv"), "Record-Route: <sip:"+proxy.local+">")
	l := get(t, "the call", legs)
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	c.answered()
	l.Hangup()
	bye := proxy.want("BYE")
	if !strings.HasPrefix(bye.start, "BYE sip:"+proxy.local) || !strings.Contains(bye.header("Route"), anna.contact()) {
		t.Errorf("%s, Route %q", bye.start, bye.header("Route"))
	}
	proxy.reply(bye, 200, "", "")
}

func TestRemoteHoldWhenNobodyListens(t *testing.T) {
	_, anna, c, l := talking(t, nil)
	for i := range 20 {
		c.reinvite(someSDP(2+i, []string{"sendonly", "sendrecv"}[i%2]))
	}
	c.request("OPTIONS", "") // answered after the last re-INVITE was dealt with
	anna.wantFor(200, "OPTIONS")
	last := true
	for len(l.Holds()) > 0 {
		last = <-l.Holds()
	}
	if last {
		t.Error("the newest event is lost")
	}
}
