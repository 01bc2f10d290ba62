package sip

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// challengeParts reads a quoted parameter of a challenge.
func challengePart(challenge, name string) string {
	_, rest, _ := strings.Cut(challenge, name+`="`)
	v, _, _ := strings.Cut(rest, `"`)
	return v
}

// credentials answers a challenge the way RFC 7616 says, written out by hand.
func credentials(challenge, user, password, method, uri, nc string) string {
	sum, alg := func(s string) string { b := md5.Sum([]byte(s)); return hex.EncodeToString(b[:]) }, "MD5"
	if strings.Contains(challenge, "SHA-256") {
		sum, alg = func(s string) string { b := sha256.Sum256([]byte(s)); return hex.EncodeToString(b[:]) }, "SHA-256"
	}
	realm, nonce := challengePart(challenge, "realm"), challengePart(challenge, "nonce")
	response := sum(sum(user+":"+realm+":"+password) + ":" + nonce + ":" + nc + ":0a4f113b:auth:" + sum(method+":"+uri))
	return fmt.Sprintf(`Authorization: Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=%s, cnonce="0a4f113b", opaque="%s", qop=auth, nc=%s`,
		user, realm, nonce, uri, response, alg, challengePart(challenge, "opaque"), nc)
}

func (p *phone) registers(password string) {
	p.t.Helper()
	p.registersAs(password, "<"+p.contact()+">")
}

func (p *phone) registersAs(password, contact string) {
	p.t.Helper()
	c := p.dials(p.user)
	c.uri = "sip:" + p.server
	c.to, c.contactURI = "<sip:"+p.user+"@example.com>", strings.Trim(contact, "<>")
	c.request("REGISTER", "")
	challenge := p.wantFor(401, "REGISTER").header("WWW-Authenticate")
	c.request("REGISTER", "", credentials(challenge, p.user, password, "REGISTER", c.uri, "00000001"))
	p.wantFor(200, "REGISTER")
}

func TestTrunkMayCallWithoutDigest(t *testing.T) {
	verdicts := map[string]Verdict{"1900": Accept, "*11": Challenge, "404": NotFound, "403": Forbidden, "503": Unavailable}
	e, legs := calls(t, func(c *Config) { c.Screen = func(i Invite) Verdict { return verdicts[i.Number] } })
	trunk := newPhone(t, e, "127.0.0.1", "0901234567")
	for number, status := range map[string]string{"*11": "401", "404": "404", "403": "403", "503": "503"} {
		c := trunk.dials(number)
		c.invite()
		res := trunk.want("SIP/2.0 " + status)
		c.ack(res, "")
		if status == "503" && res.header("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		if auth := res.all("WWW-Authenticate"); status == "401" && (len(auth) != 2 || !strings.Contains(auth[0]+auth[1], "SHA-256") || !strings.Contains(auth[0]+auth[1], "MD5")) {
			t.Errorf("challenges: %q", auth)
		}
	}
	c := trunk.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	l.Reject(ReasonBusy)
	trunk.want("SIP/2.0 486")
}

func TestAgentCallsFromHome(t *testing.T) {
	e, legs := calls(t, func(c *Config) {
		c.Screen = func(i Invite) Verdict {
			if i.Account == "" {
				return Challenge
			}
			return Accept
		}
	})
	for _, algorithm := range []int{0, 1} {
		agent := newPhone(t, e, "127.0.0.9", "1001")
		c := agent.dials("*11")
		c.invite()
		res := agent.want("SIP/2.0 401")
		c.ack(res, "")
		c.invite(credentials(res.all("WWW-Authenticate")[algorithm], "1001", "demo-1001", "INVITE", c.uri, "00000001"))
		l := get(t, "the call", legs)
		if inv := l.Invite(); inv.Account != "1001" || inv.Number != "*11" || inv.Trunk != "" {
			t.Errorf("Invite() = %+v", inv)
		}
		l.Reject(ReasonDeclined)
		c.ack(agent.want("SIP/2.0 603"), "")
		// Wrong password, and a user that does not exist: the same challenge, then 403.
		for _, who := range [][2]string{{"1001", "wrong"}, {"9999", "wrong"}} {
			c := agent.dials("*11")
			c.invite()
			res := agent.want("SIP/2.0 401")
			c.ack(res, "")
			c.invite(credentials(res.all("WWW-Authenticate")[algorithm], who[0], who[1], "INVITE", c.uri, "00000001"))
			c.ack(agent.want("SIP/2.0 403"), "")
		}
	}
}

func TestStrangersGetSilence(t *testing.T) {
	e, _ := calls(t, nil)
	stranger := newPhone(t, e, "127.0.0.66", "scanner")
	for _, method := range []string{"OPTIONS", "BYE", "SUBSCRIBE", "FOO", "INFO"} {
		stranger.dials("100").request(method, "")
	}
	c := stranger.dials("100")
	c.to += ";tag=guess"
	c.request("BYE", "")
	c.request("CANCEL", "")
	stranger.send("", "OPTIONS sip:x SIP/2.0", "Call-ID: no-via-no-cseq")
	stranger.send("", "REGISTER sip:x SIP/2.0", "Via: SIP/2.0/UDP "+stranger.local+";branch=z9hG4bKx", "CSeq: 1 REGISTER", "Call-ID: no-from")
	stranger.write([]byte("\x00\x01\x00\x00 stun or something like it, more than thirty-two bytes of it\r\n\r\n"))
	stranger.write([]byte("\r\n\r\n"))
	// Challenges are what strangers do get.
	for range 3 {
		d := stranger.dials("100")
		d.request("REGISTER", "")
		stranger.wantFor(401, "REGISTER")
		d.invite()
		d.ack(stranger.wantFor(401, "INVITE"), "")
	}
	if n := len(stranger.seen); n != 6 {
		t.Errorf("a stranger heard %d messages, want the six challenges", n)
		for _, m := range stranger.seen {
			t.Log(m.start, m.header("CSeq"))
		}
	}
}

// RFC 3261 §8.2.7: what a stranger gets keeps nothing alive. A transaction would give the same answer to all that comes on its branch.
func TestStrangersLeaveNoTransactions(t *testing.T) {
	e, _ := calls(t, nil)
	stranger := newPhone(t, e, "127.0.0.66", "1001")
	c := stranger.dials("1900")
	c.request("REGISTER", "")
	first := stranger.wantFor(401, "REGISTER")
	c.write("REGISTER", c.seq, c.branch, "")
	if again := stranger.wantFor(401, "REGISTER"); challengePart(again.header("WWW-Authenticate"), "nonce") == challengePart(first.header("WWW-Authenticate"), "nonce") {
		t.Error("the challenge of a REGISTER was kept")
	}
	for _, wrong := range []string{"Authorization: Digest nonsense", credentials(first.header("WWW-Authenticate"), "1001", "guess", "INVITE", c.uri, "00000001")} {
		want := "SIP/2.0 403"
		if strings.HasSuffix(wrong, "nonsense") {
			want = "SIP/2.0 400"
		}
		d := stranger.dials("1900")
		d.invite(wrong)
		res := stranger.want(want)
		d.write("INVITE", d.inviteSeq, d.inviteVia, someSDP(1, "sendrecv"))
		if again := stranger.wantFor(401, "INVITE"); again.tag("To") != res.tag("To") {
			t.Errorf("To tags %q and %q", again.tag("To"), res.tag("To"))
		}
	}
}

func TestRegisteredPhoneIsKnown(t *testing.T) {
	changes := make(chan string, 8)
	e := serve(t, func(c *Config) {
		c.OnReachable = func(user string, up bool) { changes <- fmt.Sprint(user, " ", up) }
	})
	agent := newPhone(t, e, "127.0.0.5", "1001")
	if e.Reachable("1001") {
		t.Error("reachable before it registered")
	}
	agent.registers("demo-1001")
	if s := get(t, "the news", changes); s != "1001 true" || !e.Reachable("1001") {
		t.Errorf("news %q", s)
	}
	agent.dials("1900").request("OPTIONS", "")
	agent.wantFor(200, "OPTIONS")
	c := agent.dials("1900")
	c.to += ";tag=none"
	c.request("BYE", "")
	agent.wantFor(481, "BYE")
}

func TestDrain(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	c.answered()
	e.Drain()
	d := anna.dials("1900")
	d.invite()
	if res := anna.want("SIP/2.0 503"); res.header("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	c.reinvite(someSDP(2, "sendrecv")) // what is open goes on
	c.request("BYE", "")
	anna.wantFor(200, "BYE")
}

func TestTooManyCallsBeingSetUp(t *testing.T) {
	e, legs := calls(t, func(c *Config) { c.limits = limits{invites: 2} })
	anna := newPhone(t, e, "127.0.0.1", "anna")
	var open []*call
	for range 2 {
		c := anna.dials("1900")
		c.invite()
		open = append(open, c)
		anna.want("SIP/2.0 100")
	}
	c := anna.dials("1900")
	c.invite()
	c.ack(anna.want("SIP/2.0 503"), "")
	get(t, "the call", legs).Reject(ReasonBusy)
	anna.want("SIP/2.0 486")
	d := anna.dials("1900")
	d.invite()
	get(t, "the call", legs)
	get(t, "the call", legs)
	_ = open
}

func TestMergedRequest(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	c.write("INVITE", c.seq, unique("z9hG4bK-t"), someSDP(1, "sendrecv")) // the same call on another way
	anna.want("SIP/2.0 482")
	c.write("INVITE", c.seq, c.inviteVia, someSDP(1, "sendrecv")) // only repeated
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	c.answered()
	if len(legs) > 0 {
		t.Error("a second leg")
	}
}
