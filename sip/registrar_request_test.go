package sip

import (
	"fmt"
	"strings"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// An answer never has a header that the request's sender slipped into another's value.
func TestRegistrarAnswersWithoutForeignLines(t *testing.T) {
	d := newDesk(t)
	req := parseRegister(t, "Contact: <sip:1001@a>;expires=60")
	req.From().DisplayName = "a\r\nX-Evil: 1"
	req.To().Params.Add("x", "1\nX-Evil: 1")
	res := d.register(req, "1001", home, "udp")
	if s := res.String(); strings.Contains(s, "\nX-Evil") || res.StatusCode != 200 || res.Destination() != home.String() {
		t.Errorf("%s", s)
	}
}

// Whatever a REGISTER says: one answer, no foreign header lines, bounded bindings that read back as they were listed.
func FuzzRegistrar(f *testing.F) {
	f.Add("Contact: <sip:1001@a>;expires=60", "Expires: 60", uint32(1))
	f.Add("Contact: *", "Expires: 0", uint32(2))
	f.Add(`Contact: "a\",b" <sip:1001@[::1]:5060;transport=tcp;x="y;z"?a=b>;q=0.111;+sip.instance="<urn:uuid:0>"`, "Contact: sip:b, sip:c;expires=0", uint32(3))
	f.Add("Contact: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>", "m: sip:a@b", uint32(4))
	f.Add("To: <sip:1001@x>;tag=1", "Contact: <sips://x@y>", uint32(5))
	f.Fuzz(func(t *testing.T, one, two string, cseq uint32) {
		d := newDesk(t)
		d.registers(t, "Contact: <sip:1001@first>;expires=60")
		m, err := sipmsg.ParseMessage([]byte(registerText(one, two, fmt.Sprintf("CSeq: %d REGISTER", cseq>>1))))
		if err != nil {
			return
		}
		req, ok := m.(*sipmsg.Request)
		if !ok {
			return
		}
		req.SetSource(home.String())
		res := d.register(req, "1001", home, "udp")
		head, _, _ := strings.Cut(res.String(), "\r\n\r\n")
		lines := strings.FieldsFunc(head, func(r rune) bool { return r == '\r' || r == '\n' })
		if len(lines) != 1+len(res.Headers()) {
			t.Fatalf("%d lines for %d headers:\n%s", len(lines), len(res.Headers()), res)
		}
		if res.StatusCode == 200 {
			listed, have := res.GetHeaders("contact"), d.aors["1001"]
			if n := len(listed); n > 0 && n != len(have.bindings) || n == 0 && have != nil {
				t.Fatalf("%d listed", n)
			}
			parser := sipmsg.HeadersParser(sipmsg.DefaultHeadersParser())
			for i, h := range listed {
				back, err := parser.ParseHeader(nil, []byte(h.String()))
				if err != nil || len(back) != 1 {
					t.Fatalf("%s reads as %v, %v", h, back, err)
				}
				c := back[0].(*sipmsg.ContactHeader)
				if !sameURI(&c.Address, &have.bindings[i].contact) || !c.Params.Has("expires") {
					t.Fatalf("%s is listed as %s", have.bindings[i].contact.String(), h)
				}
			}
		}
		d.checks(t)
		d.clock.passes(2 * time.Hour)
		d.registrar.mu.Lock()
		d.lapseAll(d.clock.now())
		d.registrar.mu.Unlock()
		if len(d.aors) != 0 || len(d.sources) != 0 {
			t.Fatal("something outlived its time")
		}
	})
}
