package sip

import (
	"fmt"
	"strings"
	"testing"
)

// Requests that sipgo's parser lets through, or would drop without a word, and what RFC 3261 wants for them.
func TestMalformedRequests(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	base := func() []string {
		return []string{
			"OPTIONS sip:1900@127.0.0.1 SIP/2.0", "Via: SIP/2.0/UDP " + anna.local + ";branch=" + unique("z9hG4bK-m"), "Max-Forwards: 70",
			"From: <sip:anna@example.com>;tag=" + unique("f"), "To: <sip:1900@example.com>", "Call-ID: " + unique("m"), "CSeq: 1 OPTIONS",
		}
	}
	without := func(name string) func([]string) []string {
		return func(ls []string) []string {
			var kept []string
			for _, l := range ls {
				if !strings.HasPrefix(l, name+":") {
					kept = append(kept, l)
				}
			}
			return kept
		}
	}
	replace := func(name, line string) func([]string) []string {
		return func(ls []string) []string { return append(without(name)(ls), line) }
	}
	with := func(line string) func([]string) []string {
		return func(ls []string) []string { return append(ls, line) }
	}
	first := func(line string) func([]string) []string {
		return func(ls []string) []string { ls[0] = line; return ls }
	}
	for _, c := range []struct {
		name   string
		change func([]string) []string
		want   int
	}{
		{"sound", with("X-Unknown: is ignored"), 200},
		{"no From", without("From"), 400},
		{"no To", without("To"), 400},
		{"no Call-ID", without("Call-ID"), 400},
		{"no CSeq", without("CSeq"), 400},
		{"no From tag", replace("From", "From: <sip:anna@example.com>"), 400},
		{"two From", with("From: <sip:eve@example.com>;tag=1"), 400},
		{"two Call-ID", with("Call-ID: another"), 400},
		{"method differs from CSeq", replace("CSeq", "CSeq: 1 INVITE"), 400},
		{"CSeq too large", replace("CSeq", "CSeq: 36893488147419103232 OPTIONS"), 400},
		{"CSeq no number", replace("CSeq", "CSeq: one OPTIONS"), 400},
		{"Content-Length no number", with("Content-Length: -999"), 400},
		{"Content-Length too large", with("Content-Length: 9999"), 400},
		{"To can't be parsed", replace("To", `To: "Mr. J. User <sip:j.user@example.com>`), 400},
		{"Max-Forwards no number", replace("Max-Forwards", "Max-Forwards: many"), 400},
		{"Max-Forwards 0", replace("Max-Forwards", "Max-Forwards: 0"), 483},
		{"no Max-Forwards", without("Max-Forwards"), 200}, // RFC 2543 had none
		{"Require", with("Require: 100rel, nothingSupportsThis"), 420},
		{"wrong version", first("OPTIONS sip:1900@127.0.0.1 SIP/7.0"), 505},
		{"unknown scheme", first("OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0"), 416},
		{"unknown method", func(ls []string) []string {
			return replace("CSeq", "CSeq: 1 NEWMETHOD")(first("NEWMETHOD sip:1900@127.0.0.1 SIP/2.0")(ls))
		}, 501},
		{"unsupported method", func(ls []string) []string {
			return replace("CSeq", "CSeq: 1 MESSAGE")(first("MESSAGE sip:1900@127.0.0.1 SIP/2.0")(ls))
		}, 405},
		{"long Call-ID", replace("Call-ID", "Call-ID: "+strings.Repeat("x", 300)), 400},
		{"long URI", first("OPTIONS sip:" + strings.Repeat("9", 1500) + "@127.0.0.1 SIP/2.0"), 414},
		{"long header", with("X-Long: " + strings.Repeat("x", 5000)), 400},
		{"control character", with("Subject: \x01"), 400},
		{"control character in the URI", first("OPTIONS sip:1900\x01@127.0.0.1 SIP/2.0"), 400},
		{"Record-Route can't be parsed", with("Record-Route: <sip:a;lr>, nonsense"), 400},
		{"Route can't be parsed", with("Route: <sip:a;lr"), 400},
	} {
		anna.send("", c.change(base())...)
		res := anna.want("SIP/2.0 ")
		if !strings.HasPrefix(res.start, fmt.Sprintf("SIP/2.0 %d ", c.want)) {
			t.Errorf("%s: got %s, want %d", c.name, res.start, c.want)
		}
		if c.want == 420 && res.header("Unsupported") != "100rel, nothingSupportsThis" {
			t.Errorf("Unsupported: %q", res.header("Unsupported"))
		}
		if (c.want == 405 || c.want == 501) && res.header("Allow") == "" {
			t.Errorf("%s: no Allow", c.name)
		}
	}
	// INVITEs that can't become a call.
	for _, c := range []struct{ name, body, extra, want string }{
		{"no common codec", strings.Replace(someSDP(1, "sendrecv"), "RTP/AVP 0 8 101", "RTP/AVP 3 101", 1), "", "488"},
		{"broken session description", "v=0\r\nhello\r\n", "", "400"},
		{"another body", "<call/>", "Content-Type: text/xml", "415"},
	} {
		d := anna.dials("1900")
		var extra []string
		if c.extra != "" {
			extra = append(extra, c.extra)
		}
		d.request("INVITE", c.body, extra...)
		res := anna.want("SIP/2.0 ")
		d.ack(res, "")
		if !strings.HasPrefix(res.start, "SIP/2.0 "+c.want) {
			t.Errorf("%s: got %s", c.name, res.start)
		}
	}
	if len(legs) > 0 {
		t.Error("a malformed INVITE became a call")
	}
}

func TestUserPartRoundTrip(t *testing.T) {
	for _, s := range []string{"1900", "*11", "+84 901", "a@b", "Nguyễn", "x%41", `"quoted"`, "a\r\nb"} {
		if strings.ContainsAny(userPart(s), "\r\n @\"<>") {
			t.Errorf("userPart(%q) = %q", s, userPart(s))
		}
		if got := unescape(userPart(s)); got != s {
			t.Errorf("unescape(userPart(%q)) = %q", s, got)
		}
	}
}
