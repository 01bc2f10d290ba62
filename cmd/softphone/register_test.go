package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// registrar is a small one: digest, one contact per user, 423 below a minimum.
type registrar struct {
	addr     string
	password string
	algs     []string
	minimum  int // seconds
	status   int // of the challenge: 401 or 407

	mu       sync.Mutex
	contacts map[string]string
	log      []string // "1001 60" per accepted REGISTER
	news     chan struct{}
	stale    bool // says once that the nonce was old
}

func newRegistrar(t *testing.T, status int, algs ...string) *registrar {
	t.Helper()
	r := &registrar{password: "secret", algs: algs, minimum: 1, status: status, contacts: make(map[string]string), news: make(chan struct{}, 16)}
	tp := sipmsg.NewTransportLayer(net.DefaultResolver, sipmsg.NewParser(), nil)
	tx := sipmsg.NewTransactionLayer(tp)
	tx.OnRequest(func(req *sipmsg.Request, tx *sipmsg.ServerTx) { _ = tx.Respond(r.answer(req)) })
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = c.LocalAddr().String()
	done := make(chan struct{})
	go func() { defer close(done); _ = tp.ServeUDP(c) }()
	t.Cleanup(func() { tx.Close(); c.Close(); <-done; tp.Close() })
	return r
}

func (r *registrar) answer(req *sipmsg.Request) *sipmsg.Response {
	r.mu.Lock()
	defer r.mu.Unlock()
	user := req.To().Address.User
	challenge, credentials := "WWW-Authenticate", "Authorization"
	if r.status == 407 {
		challenge, credentials = "Proxy-Authenticate", "Proxy-Authorization"
	}
	h := req.GetHeader(credentials)
	if h == nil || r.stale && strings.Contains(h.Value(), `nonce="old"`) {
		res := sipmsg.NewResponseFromRequest(req, r.status, "Unauthorized", nil)
		nonce := "new"
		if r.stale && h == nil {
			nonce = "old"
		}
		for _, alg := range r.algs {
			c := digest.Challenge{Realm: "test", Nonce: nonce, Opaque: "o", Algorithm: alg, QOP: []string{"auth"}, Stale: h != nil}
			res.AppendHeader(sipmsg.NewHeader(challenge, c.String()))
		}
		return res
	}
	got, err := digest.ParseCredentials(h.Value())
	if err != nil {
		return sipmsg.NewResponseFromRequest(req, 400, "Bad Request", nil)
	}
	want, err := digest.Digest(&digest.Challenge{Realm: "test", Nonce: got.Nonce, Opaque: "o", Algorithm: got.Algorithm, QOP: []string{"auth"}},
		digest.Options{Method: "REGISTER", URI: got.URI, Username: user, Password: r.password, Cnonce: got.Cnonce, Count: got.Nc})
	if err != nil || want.Response != got.Response || got.Algorithm != r.algs[0] && r.algs[0] != "SHA-999" {
		return sipmsg.NewResponseFromRequest(req, 403, "Forbidden", nil)
	}
	seconds, _ := strconv.Atoi(req.GetHeader("Expires").Value())
	if seconds > 0 && seconds < r.minimum {
		res := sipmsg.NewResponseFromRequest(req, 423, "Interval Too Brief", nil)
		res.AppendHeader(sipmsg.NewHeader("Min-Expires", strconv.Itoa(r.minimum)))
		return res
	}
	r.contacts[user] = req.Contact().Address.String()
	r.log = append(r.log, fmt.Sprintf("%s %d", user, seconds))
	r.news <- struct{}{}
	res := sipmsg.NewResponseFromRequest(req, 200, "OK", nil)
	c := req.Contact().Clone()
	c.Params = sipmsg.HeaderParams{{K: "Expires", V: strconv.Itoa(seconds)}}
	res.AppendHeader(c)
	return res
}

// registers waits for the next accepted REGISTER.
func (r *registrar) registers(t *testing.T) string {
	t.Helper()
	select {
	case <-r.news:
	case <-time.After(patience):
		t.Fatal("nobody registers")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.log[0]
	r.log = r.log[1:]
	return first
}

func TestRegisterRefreshUnregister(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		stale  bool
		algs   []string
	}{
		{"SHA-256 first", 401, false, []string{"SHA-256", "MD5"}},
		{"MD5 by a proxy", 407, false, []string{"MD5"}},
		{"an unknown one first", 401, false, []string{"SHA-999", "MD5"}},
		{"stale nonce", 401, true, []string{"SHA-256"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRegistrar(t, row.status, row.algs...)
			r.mu.Lock()
			r.stale, r.minimum = row.stale, 2
			r.mu.Unlock()
			agent := start(t, "agent", "agent", "--registrar", "sip:"+r.addr, "--user", "1001", "--password", "secret", "--expires", "1s", "--calls", "1")
			if got := r.registers(t); got != "1001 2" { // after 423
				t.Errorf("first %q", got)
			}
			r.mu.Lock()
			contact := r.contacts["1001"]
			r.mu.Unlock()
			agent.waitFor("registered 1001")
			if got := r.registers(t); got != "1001 2" { // again before it lapses
				t.Errorf("refresh %q", got)
			}
			start(t, "caller", "call", contact, "--hangup-after-answer", "20ms").ends(0)
			agent.ends(0)
			got := r.registers(t)
			for got == "1001 2" {
				got = r.registers(t)
			}
			if got != "1001 0" {
				t.Errorf("last %q", got)
			}
		})
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	r := newRegistrar(t, 401, "SHA-256")
	agent := start(t, "agent", "agent", "--registrar", "sip:"+r.addr, "--user", "1001", "--password", "guess")
	if got := agent.ends(1); got.Result != failed || !strings.Contains(got.Error, "403 Forbidden") {
		t.Errorf("report %+v", got)
	}
}

func TestRefreshLeavesTime(t *testing.T) {
	for granted, want := range map[time.Duration]time.Duration{
		time.Second: 500 * time.Millisecond, 10 * time.Second: 5 * time.Second, time.Minute: 54 * time.Second, time.Hour: 54 * time.Minute,
	} {
		if got := refreshAfter(granted); got != want {
			t.Errorf("%v: after %v, want %v", granted, got, want)
		}
	}
}

// TestAgentDialsFirst: the agent registers, signs in by a feature code, and then takes
// calls. Registrar and centre are a stranger.
func TestAgentDialsFirst(t *testing.T) {
	t.Parallel()
	s := newStranger(t)
	agent := start(t, "agent", "agent", "--registrar", "sip:"+s.conn.LocalAddr().String(), "--user", "1001", "--dial", "*11", "--calls", "1")
	s.expect("REGISTER sip:127.0.0.1")
	s.reply(200, "OK", "Expires: 60\n")
	s.expect("INVITE sip:*11@127.0.0.1")
	if !strings.Contains(s.header("From"), "<sip:1001@127.0.0.1>") {
		t.Error(s.last)
	}
	_, phone, _ := strings.Cut(s.header("From"), ";tag=")
	id := s.header("Call-ID")
	s.reply(200, "OK", withSDP+sdpAt(40000, ""))
	s.expect("ACK ")
	at := s.conn.LocalAddr()
	s.send(fmt.Sprintf("BYE sip:1001@%s SIP/2.0\nVia: SIP/2.0/UDP %s;branch=z9hG4bKb\nFrom: <sip:*11@127.0.0.1>;tag=them\nTo: <sip:1001@127.0.0.1>;tag=%s\nCall-ID: %s\nCSeq: 1 BYE\n",
		s.peer, at, phone, id))
	s.expect("SIP/2.0 200")
	s.request("INVITE", withSDP+sdpAt(40000, "")) // at once: the agent isn't busy any more
	s.expect("SIP/2.0 200")
	_, s.tag, _ = strings.Cut(s.header("To"), "tag=")
	s.request("ACK", "")
	s.request("BYE", "")
	s.expect("SIP/2.0 200")
	s.expect("REGISTER ")
	if s.header("Expires") != "0" {
		t.Error(s.last)
	}
	s.reply(200, "OK", "")
	if r := agent.ends(0); len(r.Calls) != 2 || r.Calls[0].Direction != "out" || r.Calls[0].HungUpBy != "remote" {
		t.Errorf("agent %+v", r)
	}
}
