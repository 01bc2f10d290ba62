package sip

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// desk is a registrar with a clock of its own and a record of who became reachable.
type desk struct {
	*registrar
	clock *testClock
	mu    sync.Mutex
	heard []string
}

func newDesk(t testing.TB) *desk {
	d := &desk{clock: newTestClock()}
	d.registrar = newRegistrar(registrarOptions{
		accounts:       deskAccounts,
		onReachable:    d.hear,
		now:            d.clock.now,
		minExpires:     30 * time.Second,
		maxExpires:     time.Hour,
		defaultExpires: time.Hour,
	})
	return d
}

func (d *desk) hear(user string, reachable bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard = append(d.heard, fmt.Sprintf("%s %v", user, reachable))
}

// said gives what was heard since it was last asked.
func (d *desk) said() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := strings.Join(d.heard, ", ")
	d.heard = nil
	return s
}

var home = netip.MustParseAddrPort("192.0.2.10:5070")

// registerText makes a REGISTER of user 1001 as it comes off the wire. Lines replace the headers of the same name, or remove them when
// nothing follows the colon; Contact and Expires are added.
func registerText(lines ...string) string {
	headers := []string{
		"Via: SIP/2.0/UDP 192.168.1.5:5060;branch=z9hG4bKnashds7;rport",
		"Max-Forwards: 70",
		"From: <sip:1001@hotline>;tag=456248",
		"To: <sip:1001@hotline>",
		"Call-ID: 843817637684230@998sdasdh09",
		"CSeq: 1 REGISTER",
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		at := slices.IndexFunc(headers, func(h string) bool { return strings.HasPrefix(h, name+":") })
		switch {
		case at >= 0 && value == "":
			headers = slices.Delete(headers, at, at+1)
		case at >= 0 && name != "Contact":
			headers[at] = line
		default:
			headers = append(headers, line)
		}
	}
	return "REGISTER sip:hotline SIP/2.0\r\n" + strings.Join(headers, "\r\n") + "\r\nContent-Length: 0\r\n\r\n"
}

func parseRegister(t testing.TB, lines ...string) *sipmsg.Request {
	t.Helper()
	m, err := parser().ParseSIP([]byte(registerText(lines...)))
	if err != nil {
		t.Fatal(err)
	}
	req := m.(*sipmsg.Request)
	req.SetSource(home.String())
	return req
}

// registers sends a REGISTER of 1001 from home and gives the answer as "200 <sip:…>;expires=60 | …".
func (d *desk) registers(t testing.TB, lines ...string) string {
	t.Helper()
	return d.registersFrom(t, home, lines...)
}

func (d *desk) registersFrom(t testing.TB, source netip.AddrPort, lines ...string) string {
	t.Helper()
	return summary(d.register(parseRegister(t, lines...), "1001", source, "UDP"))
}

func summary(res *sipmsg.Response) string {
	s := []string{}
	for _, h := range res.GetHeaders("contact") {
		s = append(s, h.Value())
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", res.StatusCode, strings.Join(s, " | ")))
}

func (d *desk) uris(user string) string {
	var s []string
	for _, b := range d.contacts(user) {
		s = append(s, b.URI.String())
	}
	return strings.Join(s, " ")
}

func TestRegistrarAnswers(t *testing.T) {
	long := strings.Repeat("x", maxContactLen)
	many := func(n int) string {
		var s []string
		for i := range n {
			s = append(s, fmt.Sprintf("<sip:1001@192.168.1.%d>", i))
		}
		return "Contact: " + strings.Join(s, ", ")
	}
	for _, c := range []struct {
		name  string
		lines []string
		want  string // "…" at the end: only the beginning
	}{
		{"one phone", []string{"Contact: <sip:1001@192.168.1.5:5060>;expires=60"}, "200 <sip:1001@192.168.1.5:5060>;expires=60"},
		{"Expires header", []string{"Contact: <sip:1001@192.168.1.5>", "Expires: 7200"}, "200 <sip:1001@192.168.1.5>;expires=3600"},
		{"the parameter goes before the header", []string{"Contact: <sip:1001@192.168.1.5>;expires=90", "Expires: 60"}, "200 <sip:1001@192.168.1.5>;expires=90"},
		{"neither", []string{"Contact: <sip:1001@192.168.1.5>"}, "200 <sip:1001@192.168.1.5>;expires=3600"},
		{"parameter in other case", []string{"Contact: <sip:1001@192.168.1.5>; Expires=60 ;Q=0.5"}, "200 <sip:1001@192.168.1.5>;q=0.5;expires=60"},
		{"without brackets", []string{"Contact: sip:1001@192.168.1.5;expires=60"}, "200 <sip:1001@192.168.1.5>;expires=60"},
		{"a list and a second header", []string{"Contact: <sip:1001@a>;expires=60, <sip:1001@b>;expires=70", `Contact: "Anna, at home" <sip:1001@c>;expires=80`},
			"200 <sip:1001@a>;expires=60 | <sip:1001@b>;expires=70 | <sip:1001@c>;expires=80"},
		{"compact form", []string{"m: <sip:1001@a>;expires=60"}, "200 <sip:1001@a>;expires=60"},
		{"URI parameters stay", []string{"Contact: <sip:1001@a:5062;transport=tcp;ob>;expires=60"}, "200 <sip:1001@a:5062;transport=tcp;ob>;expires=60"},
		{"IPv6", []string{"Contact: <sip:1001@[2001:db8::1]:5062>;expires=60"}, "200 <sip:1001@[2001:db8::1]:5062>;expires=60"},
		{"query", nil, "200"},
		{"removal of what is not there", []string{"Contact: <sip:1001@a>;expires=0"}, "200"},
		{"remove all, of none", []string{"Contact: *", "Expires: 0"}, "200"},
		{"named twice, the last counts", []string{"Contact: <sip:1001@a>;expires=60, <sip:1001@A>;expires=90"}, "200 <sip:1001@A>;expires=90"},
		{"named and removed", []string{"Contact: <sip:1001@a>;expires=60, <sip:1001@a>;expires=0"}, "200"},
		{"unreadable expires is an hour", []string{"Contact: <sip:1001@a>;expires=soon"}, "200 <sip:1001@a>;expires=3600"},
		{"overlarge expires (RFC 4475 scalar02)", []string{"Contact: <sip:1001@a>;expires=280297596632815", "Expires: 10000000000000000000000000000000000000000000000000"},
			"200 <sip:1001@a>;expires=3600"},
		{"ten", []string{many(10)}, "200 <sip:1001@192.168.1.0>;expires=3600 |…"},
		{"escaped and with other host in To", []string{"To: <sips:100%31@10.0.0.1:5061;user=phone>", "Contact: <sip:1001@a>;expires=60"}, "200 <sip:1001@a>;expires=60"},

		{"too short", []string{"Contact: <sip:1001@a>;expires=29"}, "423"},
		{"one of two too short", []string{"Contact: <sip:1001@a>;expires=60, <sip:1001@b>;expires=1"}, "423"},
		{"eleven", []string{many(11)}, "403"},
		{"very many", []string{many(maxContactValues + 1)}, "400"},
		{"somebody else's address", []string{"To: <sip:1002@hotline>", "Contact: <sip:1001@a>"}, "403"},
		{"a query of somebody else's", []string{"To: <sip:1002@hotline>"}, "403"},
		{"tel in To", []string{"To: <tel:1001>", "Contact: <sip:1001@a>"}, "403"},
		{"* with time", []string{"Contact: *", "Expires: 60"}, "400"},
		{"* without Expires", []string{"Contact: *"}, "400"},
		{"* with unreadable Expires", []string{"Contact: *", "Expires: never"}, "400"},
		{"* and another", []string{"Contact: *", "Contact: <sip:1001@a>", "Expires: 0"}, "400"},
		{"* with a parameter", []string{"Contact: *;expires=0", "Expires: 0"}, "400"},
		{"sip:* is no *", []string{"Contact: <sip:*>", "Expires: 0"}, "400"},
		{"no Call-ID", []string{"Call-ID:"}, "400"},
		{"endless Call-ID", []string{"Call-ID: " + long}, "400"},
		{"no From", []string{"From:"}, "400"},
		{"no To", []string{"To:"}, "400"},
		{"no CSeq", []string{"CSeq:"}, "400"},
		{"CSeq of another method", []string{"CSeq: 1 INVITE"}, "400"},
		{"tel in Contact", []string{"Contact: <tel:+8424>"}, "400"},
		{"mail in Contact", []string{"Contact: <mailto:a@b>"}, "400"},
		{"no host", []string{"Contact: <sip:1001@>"}, "400"},
		{"no such port", []string{"Contact: <sip:1001@a:70000>"}, "400"},
		{"too long", []string{"Contact: <sip:" + long + "@a>"}, "400"},
		{"line end in the URI", []string{"Contact: <sip:10\n01@a>"}, "400"},
		{"blank in the URI", []string{"Contact: <sip:1001@a b>"}, "400"},
		{"bad q", []string{"Contact: <sip:1001@a>;q=1.5"}, "400"},
		{"q with a line end", []string{"Contact: <sip:1001@a>;q=0.5\nX-Evil: 1"}, "400"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			got := d.registers(t, c.lines...)
			want, more := strings.CutSuffix(c.want, "…")
			if got != want && !(more && strings.HasPrefix(got, want)) {
				t.Fatalf("got  %s\nwant %s", got, c.want)
			}
			if !strings.HasPrefix(got, "200") && (len(d.aors) != 0 || len(d.sources) != 0 || d.said() != "") {
				t.Fatal("a refused request changed something")
			}
		})
	}
}

// The flow of RFC 3261 §24.1 and its answer's parts.
func TestRegistrarAnswerHeaders(t *testing.T) {
	d := newDesk(t)
	res := d.register(parseRegister(t, "Contact: <sip:1001@192.0.2.4>", "Expires: 7200"), "1001", home, "udp")
	if h := res.GetHeader("date"); h == nil || h.Value() != "Mon, 02 Mar 2026 09:00:00 GMT" {
		t.Errorf("Date: %v", h)
	}
	if tag, ok := res.To().Params.Get("tag"); !ok || tag == "" {
		t.Error("no To tag")
	}
	if res.Destination() != home.String() {
		t.Errorf("answer goes to %s", res.Destination())
	}
	res = d.register(parseRegister(t, "Contact: <sip:1001@192.0.2.4>;expires=5", "CSeq: 2 REGISTER"), "1001", home, "udp")
	if h := res.GetHeader("min-expires"); res.StatusCode != 423 || h == nil || h.Value() != "30" {
		t.Errorf("%d, Min-Expires: %v", res.StatusCode, h)
	}
}

func TestRegistrarWhoMayRegister(t *testing.T) {
	d := newDesk(t)
	for user, want := range map[string]int{"1001": 200, "2001": 403, "1009": 404} {
		req := parseRegister(t, "To: <sip:"+user+"@hotline>", "Contact: <sip:x@192.168.1.5>")
		if res := d.register(req, user, home, "udp"); res.StatusCode != want {
			t.Errorf("%s gets %d, want %d", user, res.StatusCode, want)
		}
	}
}

// RFC 3261 §10.3, steps 6 and 7.
func TestRegistrarOrder(t *testing.T) {
	const a, b = "Contact: <sip:1001@a>;expires=600", "Contact: <sip:1001@b>;expires=600"
	const other = "Call-ID: other"
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"refresh", []string{"CSeq: 6 REGISTER", a}, "200 <sip:1001@a>;expires=600"},
		{"refresh, spelled otherwise", []string{"CSeq: 6 REGISTER", "Contact: <SIP:1001@A;foo=bar>;expires=600"}, "200 <sip:1001@A;foo=bar>;expires=600"},
		{"repeated CSeq", []string{"CSeq: 5 REGISTER", a}, "500"},
		{"earlier CSeq", []string{"CSeq: 4 REGISTER", a}, "500"},
		{"earlier CSeq, all or nothing", []string{"CSeq: 4 REGISTER", b, a}, "500"},
		{"earlier CSeq, removal", []string{"CSeq: 4 REGISTER", "Contact: <sip:1001@a>;expires=0"}, "500"},
		{"earlier CSeq, remove all", []string{"CSeq: 5 REGISTER", "Contact: *", "Expires: 0"}, "500"},
		{"earlier CSeq, query", []string{"CSeq: 4 REGISTER"}, "200 <sip:1001@a>;expires=500"},
		{"earlier CSeq for another contact", []string{"CSeq: 4 REGISTER", b}, "200 <sip:1001@a>;expires=500 | <sip:1001@b>;expires=600"},
		{"another Call-ID", []string{other, "CSeq: 1 REGISTER", a}, "200 <sip:1001@a>;expires=600"},
		{"another Call-ID, removal", []string{other, "CSeq: 1 REGISTER", "Contact: <sip:1001@a>;expires=0"}, "200"},
		{"another Call-ID, remove all", []string{other, "CSeq: 1 REGISTER", "Contact: *", "Expires: 0"}, "200"},
		{"removal", []string{"CSeq: 6 REGISTER", "Contact: <sip:1001@a>", "Expires: 0"}, "200"},
		{"remove all", []string{"CSeq: 6 REGISTER", "Contact: *", "Expires: 0"}, "200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			d.registers(t, "CSeq: 5 REGISTER", a)
			d.clock.passes(100 * time.Second)
			if got := d.registers(t, c.lines...); got != c.want {
				t.Fatalf("got  %s\nwant %s", got, c.want)
			}
			if strings.HasPrefix(c.want, "500") {
				if got := d.registers(t, "CSeq: 4 REGISTER"); got != "200 <sip:1001@a>;expires=500" {
					t.Fatalf("a refused request left %s", got)
				}
			}
			d.checks(t)
		})
	}
}

// checks that the count of sources agrees with the bindings.
func (d *desk) checks(t testing.TB) {
	t.Helper()
	d.registrar.mu.Lock()
	defer d.registrar.mu.Unlock()
	want := map[netip.Addr]int{}
	for user, a := range d.aors {
		if len(a.bindings) == 0 || len(a.bindings) > maxContacts {
			t.Errorf("%s has %d bindings", user, len(a.bindings))
		}
		for _, b := range a.bindings {
			want[b.Source.Addr()]++
			if b.touched {
				t.Error("a binding is still marked")
			}
			if d.next.IsZero() || d.next.After(b.Expires) {
				t.Errorf("wakes at %v, a binding ends at %v", d.next, b.Expires)
			}
		}
	}
	if fmt.Sprint(want) != fmt.Sprint(d.sources) {
		t.Errorf("sources are %v, want %v", d.sources, want)
	}
}

func TestRegistrarKeepsWhereThePhoneIs(t *testing.T) {
	d := newDesk(t)
	d.registersFrom(t, netip.MustParseAddrPort("[::ffff:192.0.2.10]:5070"),
		"Contact: <sip:1001@192.168.1.5;transport=udp?Route=%3Csip:evil%3E>;q=0.3;expires=60, <sip:1001@192.168.1.6>;expires=60")
	got := d.contacts("1001")
	if len(got) != 2 || got[0].URI.Host != "192.168.1.6" || got[0].Q != 1000 || got[1].Q != 300 {
		t.Fatalf("got %+v", got)
	}
	b := got[1]
	if b.Source != home || b.Transport != "udp" || !b.Expires.Equal(d.clock.now().Add(time.Minute)) {
		t.Errorf("got %+v", b)
	}
	if s := b.URI.String(); s != "sip:1001@192.168.1.5;transport=udp" {
		t.Errorf("to be called at %s", s)
	}
	if !d.known(netip.MustParseAddr("192.0.2.10")) || !d.known(netip.MustParseAddr("::ffff:192.0.2.10")) || d.known(netip.MustParseAddr("192.0.2.11")) {
		t.Error("wrong sources known")
	}
	// It moves behind another NAT.
	moved := netip.MustParseAddrPort("198.51.100.7:1024")
	d.registersFrom(t, moved, "CSeq: 2 REGISTER", "Contact: <sip:1001@192.168.1.6>;expires=60")
	if b := d.contacts("1001")[0]; b.Source != moved {
		t.Errorf("still at %v", b.Source)
	}
	d.registersFrom(t, moved, "CSeq: 3 REGISTER", "Contact: *", "Expires: 0")
	if d.known(home.Addr()) || d.known(moved.Addr()) || len(d.contacts("1001")) != 0 || len(d.aors) != 0 {
		t.Error("something is left")
	}
}

// A phone that lost its memory comes back under another Call-ID and contact, from the same socket.
func TestRegistrarForgetsTheRestartedPhone(t *testing.T) {
	d := newDesk(t)
	desktop := netip.MustParseAddrPort("192.0.2.10:5080")
	d.registers(t, "Contact: <sip:1001-0x1@a>;expires=60, <sip:1001-0x1@a;transport=tcp>;expires=60")
	d.registersFrom(t, desktop, "Call-ID: desk", "Contact: <sip:1001-0x2@a>;expires=60")
	d.registers(t, "Call-ID: again", "Contact: <sip:1001-0x3@a>;expires=60")
	if got := d.uris("1001"); got != "sip:1001-0x2@a sip:1001-0x3@a" {
		t.Errorf("got %s", got)
	}
	// Two phones behind one proxy come from one socket and are two all the same.
	proxied := "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1, SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK2"
	d.registers(t, proxied, "Call-ID: p1", "Contact: <sip:1001@p1>;expires=60")
	d.registers(t, proxied, "Call-ID: p2", "Contact: <sip:1001@p2>;expires=60")
	if got := d.uris("1001"); got != "sip:1001-0x2@a sip:1001-0x3@a sip:1001@p1 sip:1001@p2" {
		t.Errorf("got %s", got)
	}
	for i := range 20 {
		d.registers(t, fmt.Sprintf("Call-ID: restart%d", i), fmt.Sprintf("Contact: <sip:1001-%d@a>;expires=60", i))
	}
	if got := d.uris("1001"); !strings.HasSuffix(got, "sip:1001@p2 sip:1001-19@a") {
		t.Errorf("after 20 restarts: %s", got)
	}
	if d.said() != "1001 true" {
		t.Error("restarts were taken for lapses")
	}
	d.checks(t)
}
