package sip

import (
	"testing"

	sipmsg "github.com/emiago/sipgo/sip"
)

// The examples of RFC 3261 §19.1.4.
func TestSameURI(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", true},
		{"sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true},
		{"sip:carol@chicago.com", "sip:carol@chicago.com;security=on", true},
		{"sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com", "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com", true},
		{"sip:alice@atlanta.com?subject=project%20x&priority=urgent", "sip:alice@atlanta.com?priority=urgent&subject=project%20x", true},
		{"SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false}, // different user
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false},
		{"sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false},
		{"sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false},
		{"sip:a@b", "sips:a@b", false},
		{"sip:a@b;user=phone", "sip:a@b", false},
		{"sip:a@b;ttl=1", "sip:a@b", false},
		{"sip:a@b;maddr=1.2.3.4", "sip:a@b", false},
		{"sip:a@b;x=1", "sip:a@b;x=2", false},
		{"sip:a:pw@b", "sip:a@b", false},
		{"sip:b", "sip:a@b", false},
		{"sip:a@[2001:db8::9]", "sip:a@[2001:DB8:0::9]", true}, // RFC 5954
		{"tel:+1", "tel:+1", true},
		{"tel:+1", "tel:+2", false},
	} {
		var a, b sipmsg.Uri
		if sipmsg.ParseUri(c.a, &a) != nil || sipmsg.ParseUri(c.b, &b) != nil {
			t.Fatal(c)
		}
		if sameURI(&a, &b) != c.want || sameURI(&b, &a) != c.want {
			t.Errorf("%s and %s: not %v", c.a, c.b, c.want)
		}
	}
}
