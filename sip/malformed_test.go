package sip

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// Requests that sipgo's parser drops without a word: a known sender gets the 400 of RFC 3261 §21.4.1, over UDP and TCP, a stranger gets nothing.
func TestUnreadableRequests(t *testing.T) {
	e := serve(t, nil)
	for _, c := range []struct {
		name   string
		change func(string) string
	}{
		{"blank in the Request-URI", func(s string) string { return strings.Replace(s, "sip:1900@", "sip:1 900@", 1) }},
		{"two blanks in the start line", func(s string) string { return strings.Replace(s, " SIP/2.0", "  SIP/2.0", 1) }},
		{"blank after the start line", func(s string) string { return strings.Replace(s, " SIP/2.0", " SIP/2.0 ", 1) }},
		{"no user, no host", func(s string) string { return strings.Replace(s, "sip:1900@127.0.0.1", "*", 1) }},
		{"header without a colon", func(s string) string { return strings.Replace(s, "Max-Forwards:", "Max-Forwards", 1) }},
		{"header without a name", func(s string) string { return strings.Replace(s, "Max-Forwards:", ":", 1) }},
		{"folded first header", func(s string) string { return strings.Replace(s, "\r\n", "\r\n folded\r\n", 1) }},
		{"bare line feed", func(s string) string { return strings.Replace(s, "Max-Forwards: 70", "Subject: a\nb", 1) }},
		{"NUL", func(s string) string { return strings.Replace(s, "Max-Forwards: 70", "Subject: a\x00b", 1) }},
		{"compact Content-Length too large", func(s string) string { return strings.Replace(s, "Content-Length: 0", "l: 7", 1) }},
		{"compact names and folded lines", func(s string) string {
			return strings.NewReplacer("Via:", "v:", "From: ", "f:\r\n\t", "To:", "t:", "Call-ID:", "i:", "Max-Forwards:", "no colon").Replace(s)
		}},
		{"Content-Length twice", func(s string) string {
			return strings.Replace(s, "Content-Length: 0", "Content-Length: 0\r\nl: 5", 1) + "hello"
		}},
	} {
		for _, make := range []func() *phone{
			func() *phone { return newPhone(t, e, "127.0.0.1", "anna") },
			func() *phone { return newTCPPhone(t, e, "anna") },
		} {
			anna := make()
			if anna.tcp && strings.HasPrefix(c.name, "compact Content-Length") {
				continue // the rest of the message is still to come, then
			}
			anna.write([]byte(c.change(anna.options("z9hG4bK-first"))))
			res := anna.want("SIP/2.0 ")
			if !strings.HasPrefix(res.start, "SIP/2.0 400 ") || res.tag("To") == "" || res.branch() != "z9hG4bK-first" ||
				res.header("CSeq") != "7 OPTIONS" || res.header("Call-ID") != "call-z9hG4bK-first" || res.header("From") != "<sip:anna@example.com>;tag=anna" {
				t.Errorf("%s over %s: %s\n%s", c.name, anna.transport(), res.start, strings.Join(res.headers, "\n"))
			}
			if strings.HasPrefix(c.name, "Content-Length") {
				continue // where such a message ends is anybody's guess: TCP closes
			}
			anna.write([]byte(anna.options("z9hG4bK-second")))
			anna.wantFor(200, "OPTIONS")
		}
		stranger := newPhone(t, e, "127.0.0.66", "scanner")
		stranger.write([]byte(c.change(stranger.options("z9hG4bK-stranger"))))
		d := stranger.dials("100")
		d.invite()
		d.ack(stranger.want("SIP/2.0 "), "")
		if len(stranger.seen) != 1 || !strings.HasPrefix(stranger.seen[0].start, "SIP/2.0 401") {
			t.Errorf("%s: a stranger heard %q", c.name, stranger.seen[0].start)
		}
	}
}

// options is a sound request as text.
func (p *phone) options(branch string) string {
	return strings.Join([]string{
		"OPTIONS sip:1900@127.0.0.1 SIP/2.0", "Via: SIP/2.0/" + p.transport() + " " + p.local + ";branch=" + branch, "Max-Forwards: 70",
		"From: <sip:anna@example.com>;tag=anna", "To: <sip:1900@example.com>", "Call-ID: call-" + branch, "CSeq: 7 OPTIONS", "Content-Length: 0", "", "",
	}, "\r\n")
}

// What has no answer even for a trunk: responses, ACKs, and requests whose sender can't be told what was wrong.
func TestUnreadableWithoutAnswer(t *testing.T) {
	e := serve(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	sound := anna.options("z9hG4bK-x")
	known := anna.local
	for _, bad := range []string{
		strings.NewReplacer("OPTIONS sip:1900", "ACK sip:19 00", "7 OPTIONS", "7 ACK").Replace(sound),
		strings.Replace(sound, "OPTIONS sip:1900@127.0.0.1 SIP/2.0", "SIP/2.0 two hundred", 1),
		strings.NewReplacer("Max-Forwards:", "Max-Forwards", "Call-ID", "X-Call").Replace(sound),
		strings.NewReplacer("Max-Forwards:", "Max-Forwards", "anna@example", "an\nna@example").Replace(sound),
		strings.NewReplacer("Max-Forwards: 70", "From: <sip:eve@example.com>\r\nno colon").Replace(sound),
	} {
		source := addrPortOf(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5060})
		why := flaw([]byte(bad))
		if why == "" {
			t.Errorf("no flaw in %q", bad)
		}
		if res := e.refusal([]byte(bad), source, why); res != nil {
			t.Errorf("%s: %q to %s", why, res, known)
		}
	}
}

func TestSIPLike(t *testing.T) {
	good := "OPTIONS sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP 1.2.3.4\r\n\r\n"
	for text, want := range map[string]bool{
		good: true, "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 1.2.3.4\r\n\r\n": true, "OPTIONS sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP 1.2.3.4\r\n\r\nbody\nwith bare line feeds": true,
		"": false, "\r\n\r\n": false, "OPTIONS sip:x@y SIP/2.0\r\n": false,
		strings.Replace(good, "1.2", "1\n.2", 1): false, strings.Replace(good, "1.2", "1\r.2", 1): false, strings.Replace(good, "1.2", "1\x00.2", 1): false,
		"GET / HTTP/1.1\r\nHost: example.com and some more\r\n\r\n": false, "\x80\x00\x12\x34 RTP and more of it, and more, and more SIP/2.0\r\n\r\n": false,
	} {
		if got := sipLike([]byte(text)) && flaw([]byte(text)) == ""; got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// What flaw passes, sipgo's parser takes: nothing is lost in between.
func FuzzFlaw(f *testing.F) {
	f.Add([]byte("OPTIONS sip:x@y SIP/2.0\r\nContent-Length: 7\r\nl: 99999999999999999999\r\n\r\nbody"))
	f.Add([]byte("OPTIONS sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP a\r\n ;b=c,\r\n d\r\nm: sip:a , \"x\\\"\" <sip:b>;q=\"1,2\"\r\nRecord-Route:\r\n\r\nbody"))
	f.Add([]byte("SIP/2.0 200 OK\r\nTo: x\r\nContent-Length: 4\r\n\r\nbody"))
	p := parser()
	f.Fuzz(func(t *testing.T, b []byte) {
		if !sipLike(b) || flaw(b) != "" || len(b) > maxHead {
			return
		}
		if m, err := p.ParseSIP(b); err != nil || m == nil {
			t.Errorf("lost: %v", err)
		}
	})
}

// A name with a backslash or a comma, blanks, no angle brackets: sipgo alone takes none of these.
func TestContactLists(t *testing.T) {
	for value, want := range map[string]string{
		"sip:a@h, sip:b@h":                           "<sip:a@h> <sip:b@h>",
		"sip:a@h;expires=5 ,sip:b@h ; q=0.5,sip:c@h": "<sip:a@h>;expires=5 <sip:b@h>;q=0.5 <sip:c@h>",
		`"a, \"b" <sip:a@h>;x="1,2", <sip:c,d@h>`:    `"a, \"b" <sip:a@h>;x="1,2" <sip:c,d@h>`,
	} {
		req := parseRegister(t, "Contact: "+value)
		all, bad := contactHeaders(req)
		if bad != nil {
			t.Errorf("%s: %s", value, bad.reason)
			continue
		}
		var got []string
		for _, c := range all {
			lowerNames(c.Params)
			got = append(got, c.Value())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: got %s, want %s", value, s, want)
		}
	}
}

// RFC 3261 §12.1.1: all parameters of Record-Route, known or not, come back, in order; and the blank before a comma is no part of a branch.
func TestRecordRouteAndViaComeBackAsTheyCame(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite(`Record-Route: "the, edge" <sip:`+anna.local+`;lr;did=1.2>;x="a,b" , <sip:core.example.com;lr>;y`, "Record-Route: <sip:last.example.com;lr>",
		"Via: SIP/2.0/UDP core.example.com;branch=z9hG4bKcore , SIP/2.0/UDP last.example.com;branch=z9hG4bKlast")
	l := get(t, "the call", legs)
	if err := l.Ringing(); err != nil {
		t.Fatal(err)
	}
	res := anna.want("SIP/2.0 180")
	if got := strings.Join(res.all("Record-Route"), ", "); got != `"the, edge" <sip:`+anna.local+`;lr;did=1.2>;x="a,b" , <sip:core.example.com;lr>;y, <sip:last.example.com;lr>` {
		t.Errorf("Record-Route: %s", got)
	}
	vias := res.all("Via")
	if len(vias) != 3 || vias[1] != "SIP/2.0/UDP core.example.com;branch=z9hG4bKcore" || vias[2] != "SIP/2.0/UDP last.example.com;branch=z9hG4bKlast" {
		t.Errorf("Via: %q", vias)
	}
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	c.answered()
	l.Hangup()
	bye := anna.want("BYE")
	if got := bye.all("Route"); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", []string{`"the, edge" <sip:` + anna.local + `;lr;did=1.2>;x="a,b"`, "<sip:core.example.com;lr>;y", "<sip:last.example.com;lr>"}) {
		t.Errorf("Route: %q", got)
	}
	anna.reply(bye, 200, "", "")
	mustBeOver(t, l, false, "hung up")
}

func TestSparing(t *testing.T) {
	var s sparing
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 100 {
		if missed, ok := s.allow(now); ok != (i < sparingLines) || missed != 0 {
			t.Fatalf("line %d: %v, %d", i, ok, missed)
		}
	}
	if missed, ok := s.allow(now.Add(time.Second)); !ok || missed != 100-sparingLines {
		t.Errorf("a second later: %v, %d", ok, missed)
	}
}
