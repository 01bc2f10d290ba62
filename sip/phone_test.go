package sip

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hotline/sip/media"
)

// patience is how long a test waits for what must come; only a failing test waits that long.
const patience = 10 * time.Second

// phone is a stranger on purpose: it writes and reads SIP as text and shares nothing with the dialogs under test.
type phone struct {
	t      *testing.T
	user   string
	local  string // host:port
	server string
	tcp    bool
	write  func([]byte) error
	cut    func() // of TCP: ends the connection
	msgs   chan message
	seen   []message // what want passed over, and what it found
}

// message is a SIP message as a phone reads it.
type message struct {
	start   string
	headers []string
	body    string
}

func (m message) all(name string) []string {
	var vs []string
	for _, h := range m.headers {
		n, v, _ := strings.Cut(h, ":")
		if strings.EqualFold(strings.TrimSpace(n), name) {
			vs = append(vs, strings.TrimSpace(v))
		}
	}
	return vs
}

func (m message) header(name string) string {
	if vs := m.all(name); len(vs) > 0 {
		return vs[0]
	}
	return ""
}

func (m message) tag(name string) string {
	_, tag, _ := strings.Cut(m.header(name), ";tag=")
	tag, _, _ = strings.Cut(tag, ";")
	return tag
}

func (m message) target() string {
	_, rest, _ := strings.Cut(m.header("Contact"), "<")
	uri, _, _ := strings.Cut(rest, ">")
	return uri
}

func (m message) branch() string {
	_, b, _ := strings.Cut(m.header("Via"), "branch=")
	b, _, _ = strings.Cut(b, ";")
	return b
}

func (m message) seq() int {
	n, _, _ := strings.Cut(m.header("CSeq"), " ")
	i, _ := strconv.Atoi(n)
	return i
}

func parseText(head, body string) message {
	lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	return message{start: lines[0], headers: lines[1:], body: body}
}

// newPhone makes a phone on UDP at an IP address of the loopback network.
func newPhone(t *testing.T, e *Endpoint, ip, user string) *phone {
	t.Helper()
	conn, err := net.ListenPacket("udp4", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := address1(t, e, "udp")
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(server))
	p := &phone{t: t, user: user, local: conn.LocalAddr().String(), server: server, msgs: make(chan message, 256)}
	p.write = func(b []byte) error { _, err := conn.WriteTo(b, to); return err }
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			head, body, _ := strings.Cut(string(buf[:n]), "\r\n\r\n")
			p.msgs <- parseText(head, body)
		}
	})
	t.Cleanup(func() { conn.Close(); reading.Wait() })
	return p
}

// newTCPPhone makes a phone with one connection to the server.
func newTCPPhone(t *testing.T, e *Endpoint, user string) *phone {
	t.Helper()
	server := address1(t, e, "tcp")
	conn, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	p := &phone{t: t, user: user, local: conn.LocalAddr().String(), server: server, tcp: true, msgs: make(chan message, 256)}
	p.write = func(b []byte) error { _, err := conn.Write(b); return err }
	p.cut = func() { conn.Close() }
	var reading sync.WaitGroup
	reading.Go(func() { readStream(conn, p.msgs) })
	t.Cleanup(func() { conn.Close(); reading.Wait() })
	return p
}

func readStream(conn io.Reader, to chan<- message) {
	r := bufio.NewReader(conn)
	for {
		var head strings.Builder
		for !strings.HasSuffix(head.String(), "\r\n\r\n") {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if head.Len() > 0 || line != "\r\n" { // a keep-alive's answer
				head.WriteString(line)
			}
		}
		m := parseText(head.String(), "")
		n, _ := strconv.Atoi(m.header("Content-Length"))
		body := make([]byte, n)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		m.body = string(body)
		to <- m
	}
}

func address1(t *testing.T, e *Endpoint, network string) string {
	t.Helper()
	for _, a := range e.Addrs() {
		if rest, ok := strings.CutPrefix(a, network+"://"); ok {
			return rest
		}
	}
	t.Fatalf("the endpoint has no %s listener", network)
	return ""
}

func (p *phone) transport() string {
	if p.tcp {
		return "TCP"
	}
	return "UDP"
}

// send writes lines as a message; the Content-Length is right unless lines has one.
func (p *phone) send(body string, lines ...string) {
	p.t.Helper()
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString(l + "\r\n")
	}
	if !strings.Contains(b.String(), "\r\nContent-Length:") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	if err := p.write(b.Bytes()); err != nil {
		p.t.Fatalf("%s: %v", p.user, err)
	}
}

// want reads until a message whose start line begins with one of the given texts, e.g. "SIP/2.0 200" or "BYE".
func (p *phone) want(starts ...string) message {
	p.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case m := <-p.msgs:
			p.seen = append(p.seen, m)
			for _, s := range starts {
				if strings.HasPrefix(m.start, s) {
					return m
				}
			}
		case <-timeout.C:
			var got []string
			for _, m := range p.seen {
				got = append(got, m.start+" ["+m.header("CSeq")+"]")
			}
			p.t.Fatalf("%s waits for %q in vain; got:\n%s", p.user, starts, strings.Join(got, "\n"))
		}
	}
}

// wantFor reads until a response with that status to a request of the method.
func (p *phone) wantFor(status int, method string) message {
	p.t.Helper()
	for {
		m := p.want("SIP/2.0 " + strconv.Itoa(status))
		if strings.HasSuffix(m.header("CSeq"), " "+method) {
			return m
		}
	}
}

// count tells how many of the messages read so far begin so.
func (p *phone) count(start string) int {
	n := 0
	for _, m := range p.seen {
		if strings.HasPrefix(m.start, start) {
			n++
		}
	}
	return n
}

var branches struct {
	sync.Mutex
	n int
}

func unique(prefix string) string {
	branches.Lock()
	defer branches.Unlock()
	branches.n++
	return fmt.Sprintf("%s%d", prefix, branches.n)
}

// call is a dialog as the phone sees it.
type call struct {
	p          *phone
	callID     string
	from, to   string // with tags, as in requests of this phone
	uri        string // Request-URI
	seq        int
	branch     string // of the last request
	inviteSeq  int
	inviteVia  string
	remoteSeq  int
	contactURI string
}

func (p *phone) contact() string {
	s := "sip:" + p.user + "@" + p.local
	if p.tcp {
		s += ";transport=tcp"
	}
	return s
}

// dials starts a call from this phone; invite sends it.
func (p *phone) dials(number string) *call {
	return &call{
		p: p, callID: unique("call-") + "@" + p.local, from: "<sip:" + p.user + "@example.com>;tag=" + unique("ft"), to: "<sip:" + number + "@example.com>",
		uri: "sip:" + number + "@" + p.server, seq: 0, contactURI: p.contact(),
	}
}

// request sends the next request of the dialog.
func (c *call) request(method, body string, extra ...string) {
	c.p.t.Helper()
	c.seq++
	c.branch = unique("z9hG4bK-t")
	c.write(method, c.seq, c.branch, body, extra...)
	if method == "INVITE" {
		c.inviteSeq, c.inviteVia = c.seq, c.branch
	}
}

func (c *call) write(method string, seq int, branch, body string, extra ...string) {
	c.p.t.Helper()
	lines := []string{
		method + " " + c.uri + " SIP/2.0",
		"Via: SIP/2.0/" + c.p.transport() + " " + c.p.local + ";branch=" + branch,
		"Max-Forwards: 70", "From: " + c.from, "To: " + c.to, "Call-ID: " + c.callID, fmt.Sprintf("CSeq: %d %s", seq, method),
		"Contact: <" + c.contactURI + ">",
	}
	if strings.HasPrefix(body, "v=0") {
		lines = append(lines, "Content-Type: application/sdp")
	}
	c.p.send(body, append(lines, extra...)...)
}

func (c *call) invite(extra ...string) {
	c.p.t.Helper()
	c.request("INVITE", someSDP(1, "sendrecv"), extra...)
}

// ack acknowledges a final response to the last INVITE.
func (c *call) ack(res message, body string) {
	c.p.t.Helper()
	branch := unique("z9hG4bK-t")
	if !strings.HasPrefix(res.start, "SIP/2.0 2") {
		branch = c.inviteVia
		to := c.to
		c.to = res.header("To")
		defer func() { c.to = to }()
	}
	c.write("ACK", c.inviteSeq, branch, body)
}

// cancel cancels the last INVITE.
func (c *call) cancel(extra ...string) {
	c.p.t.Helper()
	c.write("CANCEL", c.inviteSeq, c.inviteVia, "", extra...)
}

// joins takes the dialog's other half from a response.
func (c *call) joins(res message) {
	c.to = res.header("To")
	if t := res.target(); t != "" {
		c.uri = t
	}
}

// answered: the INVITE got its 200, and the ACK is sent.
func (c *call) answered() message {
	c.p.t.Helper()
	res := c.p.wantFor(200, "INVITE")
	c.joins(res)
	c.ack(res, "")
	return res
}

// reply answers a request that this phone received. tag may be "" for none.
func (p *phone) reply(req message, status int, tag, body string, extra ...string) {
	p.t.Helper()
	lines := []string{fmt.Sprintf("SIP/2.0 %d Test", status)}
	for _, v := range req.all("Via") {
		lines = append(lines, "Via: "+v)
	}
	to := req.header("To")
	if tag != "" && !strings.Contains(to, ";tag=") {
		to += ";tag=" + tag
	}
	lines = append(lines, "From: "+req.header("From"), "To: "+to, "Call-ID: "+req.header("Call-ID"), "CSeq: "+req.header("CSeq"))
	if status > 100 && status < 300 {
		lines = append(lines, "Contact: <"+p.contact()+">")
	}
	if strings.HasPrefix(body, "v=0") {
		lines = append(lines, "Content-Type: application/sdp")
	}
	p.send(body, append(lines, extra...)...)
}

// takes is the dialog of an INVITE that this phone received and answered with tag.
func (p *phone) takes(invite message, tag string) *call {
	return &call{p: p, callID: invite.header("Call-ID"), from: invite.header("To") + ";tag=" + tag, to: invite.header("From"),
		uri: invite.target(), seq: 100, contactURI: p.contact(), remoteSeq: invite.seq()}
}

func someSDP(version int, direction string) string {
	return fmt.Sprintf("v=0\r\no=- 7 %d IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0 8 101\r\n"+
		"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=%s\r\n", version, direction)
}

// testTimers are quick, but not so quick that a busy machine misses them.
var testTimers = timers{t1: 50 * time.Millisecond, probe: 50 * time.Millisecond}

// testLog shows what the endpoint logs when the test fails.
func testLog(t *testing.T) *slog.Logger {
	w := &logWriter{t: t}
	t.Cleanup(w.close)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type logWriter struct {
	mu sync.Mutex
	t  *testing.T
}

func (w *logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

func (w *logWriter) close() { w.mu.Lock(); defer w.mu.Unlock(); w.t = nil }

// accounts of the tests: 1001 and 1002 register.
var testAccounts = map[string]Account{
	"1001": {User: "1001", Password: "demo-1001"},
	"1002": {User: "1002", Password: "demo-1002"},
}

// serve starts an endpoint on loopback whose trunk is 127.0.0.1; other addresses are strangers until they register.
func serve(t *testing.T, change func(*Config)) *Endpoint {
	t.Helper()
	engine, err := media.NewEngine(media.Config{IP: netip.MustParseAddr("127.0.0.1"), Ports: media.PortRange{First: 20000, Last: 29999}, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	cfg := Config{
		Listen: []string{"udp://127.0.0.1:0", "tcp://127.0.0.1:0"},
		Trunks: []Trunk{{Name: "carrier", From: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}},
		Accounts: func(user string) (Account, bool) {
			a, ok := testAccounts[user]
			return a, ok
		},
		Media:  engine,
		Screen: func(Invite) Verdict { return Accept },
		Log:    testLog(t),
		timers: testTimers,
	}
	if change != nil {
		change(&cfg)
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := e.Serve(context.Background()); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		e.Close(ctx)
		serving.Wait()
	})
	return e
}

// calls serves and gives the legs that OnCall got.
func calls(t *testing.T, change func(*Config)) (*Endpoint, <-chan *Leg) {
	legs := make(chan *Leg, 16)
	e := serve(t, func(c *Config) {
		c.OnCall = func(l *Leg) { legs <- l }
		if change != nil {
			change(c)
		}
	})
	return e, legs
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// get receives, or fails the test.
func get[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case v := <-from:
		return v
	case <-timeout.C:
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

func mustBeOver(t *testing.T, l *Leg, byPeer bool, detail string) {
	t.Helper()
	get(t, "the end of the leg", l.Done())
	if p, d := l.HungUp(); p != byPeer || !strings.HasPrefix(d, detail) {
		t.Errorf("HungUp() = %v, %q; want %v, %q", p, d, byPeer, detail)
	}
}
