package sip

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

func TestTCPBothDirections(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newTCPPhone(t, e, "1001")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	res := c.answered()
	if !strings.Contains(res.header("Contact"), "transport=tcp") {
		t.Errorf("Contact: %s", res.header("Contact"))
	}
	l.Hangup() // the phone's Contact names its connection's port, where nobody listens: the connection is used
	anna.reply(anna.want("BYE"), 200, "", "")
	mustBeOver(t, l, false, "hung up")

	anna.registers("demo-1001")
	done := dial(e, within(t), "1001", nil)
	inv := anna.want("INVITE")
	if !strings.Contains(inv.header("Via"), "SIP/2.0/TCP") {
		t.Errorf("Via: %s", inv.header("Via"))
	}
	anna.reply(inv, 180, "a1", "")
	anna.reply(inv, 200, "a1", someSDP(1, "sendrecv"))
	anna.want("ACK")
	d := get(t, "Dial", done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	k := anna.takes(inv, "a1")
	k.request("BYE", "")
	anna.wantFor(200, "BYE")
	mustBeOver(t, d.leg, true, "BYE")
}

func TestTCPKeepAliveAndGarbage(t *testing.T) {
	e := serve(t, nil)
	anna := newTCPPhone(t, e, "anna")
	anna.write([]byte("\r\n\r\n"))
	anna.dials("1900").request("OPTIONS", "")
	anna.wantFor(200, "OPTIONS")
	bad := newTCPPhone(t, e, "bad")
	bad.write([]byte("GET / HTTP/1.1\r\n\r\n"))
	anna.dials("1900").request("OPTIONS", "")
	anna.wantFor(200, "OPTIONS")
}

func TestTCPConnectionsAreBounded(t *testing.T) {
	e := serve(t, func(c *Config) {
		c.Trunks = nil
		c.limits = limits{perAddress: 2}
	})
	server := address1(t, e, "tcp")
	var conns []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", server)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	if _, err := conns[2].Read(make([]byte, 1)); err == nil {
		t.Error("the third connection of one address is open")
	}
}

func TestByeAfterCrash(t *testing.T) {
	var mu sync.Mutex
	var state json.RawMessage
	before, anna, _, l := talking(t, func(c *Config) {
		c.OnDialog = func(_, _ string, s json.RawMessage) {
			mu.Lock()
			defer mu.Unlock()
			if s != nil {
				state = s
			}
		}
	})
	_ = before
	l.Hangup()
	seq := anna.want("BYE")
	anna.reply(seq, 200, "", "")
	after := serve(t, nil)
	done := make(chan error, 1)
	mu.Lock()
	s := state
	mu.Unlock()
	go func() { done <- after.ByeAfterCrash(within(t), s) }()
	bye := anna.want("BYE")
	if bye.header("Call-ID") != seq.header("Call-ID") || bye.tag("From") != seq.tag("From") || bye.tag("To") != seq.tag("To") || bye.seq() <= seq.seq()+900 {
		t.Errorf("BYE of the later run: %v", bye.headers)
	}
	// The answer goes to the later run's socket.
	anna.server = address1(t, after, "udp")
	conn, err := net.Dial("udp", anna.server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	anna.write = func(b []byte) error { _, err := conn.Write(b); return err }
	anna.reply(bye, 481, "", "")
	if err := get(t, "ByeAfterCrash", done); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "{}", `{"call_id":"x","local_tag":"y","target":"z","transport":"carrier pigeon"}`, `{"unknown":1}`} {
		if err := after.ByeAfterCrash(within(t), json.RawMessage(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// Trap 10: long messages over UDP.
func TestLargeMessagesOverUDP(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	var extra []string
	for i := range 8 {
		extra = append(extra, fmt.Sprintf("Record-Route: <sip:proxy%d.example.com;lr;x=%s>", i, strings.Repeat("y", 300)))
	}
	c.invite(extra...)
	l := get(t, "the call", legs)
	if err := l.Ringing(); err != nil {
		t.Fatal(err)
	}
	anna.want("SIP/2.0 180")
	l.Reject(ReasonBusy)
	anna.want("SIP/2.0 486")
}

// Trap 9: sipgo remembers every source address until its reader ends. The reader starts afresh, and serves on from the same port.
func TestReaderStartsAfresh(t *testing.T) {
	const most = 16
	e := serve(t, func(c *Config) { c.limits = limits{sources: most} })
	anna := newPhone(t, e, "127.0.0.1", "anna")
	anna.dials("1900").request("OPTIONS", "")
	anna.wantFor(200, "OPTIONS")
	l := e.udp[0]
	for i := range 10 * most { // strangers; the table fills and the reader starts again
		conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 1, byte(1+i))}, l.LocalAddr().(*net.UDPAddr))
		if err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte("ACK sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKx\r\nCSeq: 1 ACK\r\n\r\n"))
		conn.Close()
	}
	anna.dials("1900").request("OPTIONS", "")
	anna.wantFor(200, "OPTIONS")
	e.Close(within(t)) // ends the reader
	if n := len(l.retired); n < 9 {
		t.Errorf("the reader started afresh %d times only", n)
	}
}

func TestRetiredSourcesAreForgotten(t *testing.T) {
	pool := sipmsg.NewTransportLayer(nil, parser(), nil).Pool("udp")
	p := newPackets(&everyone{msg: []byte("ACK sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1\r\n\r\n")}, pool, 100, nil)
	buf := make([]byte, 2048)
	restarts := 0
	for read := 0; read < 1000; {
		if _, _, err := p.ReadFrom(buf); err != nil {
			restarts++
			continue
		}
		read++
	}
	if restarts != 9 || pool.Size() < 900 {
		t.Errorf("%d restarts, pool of %d", restarts, pool.Size())
	}
	p.retire(time.Now().Add(2 * retiredFor))
	if n := pool.Size(); n > 101 {
		t.Errorf("the pool still holds %d addresses", n)
	}
}

// everyone gives the same datagram from ever new addresses.
type everyone struct {
	net.PacketConn
	msg []byte
	at  int
}

func (s *everyone) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 77), Port: 5060} }
func (s *everyone) ReadFrom(b []byte) (int, net.Addr, error) {
	s.at++
	return copy(b, s.msg), &net.UDPAddr{IP: net.IPv4(127, 1, byte(s.at>>8), byte(s.at)), Port: 5060}, nil
}

func TestListenErrorsNameTheAddress(t *testing.T) {
	e := serve(t, nil)
	taken := "udp://" + address1(t, e, "udp")
	for _, bad := range []string{taken, "tls://127.0.0.1:5061", "udp://localhost:5060", "127.0.0.1:5060", "udp://127.0.0.1"} {
		if _, err := New(Config{Listen: []string{bad}, Media: e.cfg.Media}); err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(bad, "udp://")) {
			t.Errorf("listen on %s: %v", bad, err)
		}
	}
	if _, err := New(Config{Media: e.cfg.Media}); err == nil {
		t.Error("no address is fine?")
	}
}

// The 50 torture files of RFC 4475 that come with sipgo: whatever they are, the endpoint answers the next request. They hold addresses of
// strangers in Via and Contact, so this runs only where nothing but loopback is up; `make e2e` does that.
func TestTortureMessages(t *testing.T) {
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			t.Skipf("%s is up: messages with foreign addresses stay where there is only loopback (make e2e)", i.Name)
		}
	}
	dir := filepath.Join(sipgoDir(t), "sip", "testdata", "torture")
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
	if len(files) < 40 {
		t.Skipf("sipgo's torture files are not in %s", dir)
	}
	e := serve(t, func(c *Config) { c.Screen = func(Invite) Verdict { return NotFound } })
	for _, transport := range []string{"udp", "tcp"} {
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil || len(bytes.TrimSpace(b)) == 0 {
				continue
			}
			var bad *phone
			if transport == "udp" {
				bad = newPhone(t, e, "127.0.0.1", "torture")
			} else {
				bad = newTCPPhone(t, e, "torture")
			}
			bad.write(b)
		}
		anna := newPhone(t, e, "127.0.0.1", "anna")
		anna.dials("1900").request("OPTIONS", "")
		anna.wantFor(200, "OPTIONS")
	}
}

func TestDestination(t *testing.T) {
	e := serve(t, nil)
	uri := func(s string) sipmsg.Uri {
		var u sipmsg.Uri
		if err := sipmsg.ParseUri(s, &u); err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, c := range []struct {
		what, target string
		d            dialog
		transport    string
		to           string
	}{
		{"a trunk's Contact is elsewhere", "sip:203.0.113.9:5070", dialog{Transport: "udp", Source: "203.0.113.5:5060"}, "udp", "203.0.113.9:5070"},
		{"default port", "sip:203.0.113.9", dialog{Transport: "udp", Source: "203.0.113.5:5060"}, "udp", "203.0.113.9:5060"},
		{"a trunk behind NAT", "sip:10.0.0.9:5070", dialog{Transport: "udp", Source: "203.0.113.5:31000"}, "udp", "203.0.113.5:31000"},
		{"both in the office", "sip:10.0.0.9:5070", dialog{Transport: "udp", Source: "192.168.1.5:5060"}, "udp", "10.0.0.9:5070"},
		{"a browser", "sip:x@abc.invalid", dialog{Transport: "udp", Source: "203.0.113.5:31000"}, "udp", "203.0.113.5:31000"},
		{"a phone is symmetric", "sip:1001@192.168.0.7:5060", dialog{Transport: "udp", Source: "198.51.100.7:40000", Phone: true}, "udp", "198.51.100.7:40000"},
		{"a trunk's route wins", "sip:198.51.100.1:5080;lr", dialog{Transport: "udp", Source: "198.51.100.7:40000", Routes: []string{"<sip:198.51.100.1:5080;lr>"}}, "udp", "198.51.100.1:5080"},
		{"a phone's proxy", "sip:198.51.100.7:5080;lr", dialog{Transport: "udp", Source: "198.51.100.7:40000", Phone: true, Routes: []string{"<sip:198.51.100.7:5080;lr>"}}, "udp", "198.51.100.7:5080"},
		{"a phone's route elsewhere", "sip:198.51.100.1:5080;lr", dialog{Transport: "udp", Source: "198.51.100.7:40000", Phone: true, Routes: []string{"<sip:198.51.100.1:5080;lr>"}}, "udp", "198.51.100.7:40000"},
		{"a phone's connection is gone", "sip:198.51.100.7:5062;transport=tcp", dialog{Transport: "tcp", Source: "198.51.100.7:40000", Phone: true}, "tcp", "198.51.100.7:5062"},
		{"and its Contact is elsewhere", "sip:1001@203.0.113.1:22;transport=tcp", dialog{Transport: "tcp", Source: "198.51.100.7:40000", Phone: true}, "tcp", "198.51.100.7:40000"},
		{"IPv6", "sip:[2001:db8::1]:5062", dialog{Transport: "udp", Source: "[2001:db8::1]:5062"}, "udp", "[2001:db8::1]:5062"},
	} {
		transport, to := c.d.destination(e, uri(c.target))
		if transport != c.transport || to != c.to {
			t.Errorf("%s: %s %s, want %s %s", c.what, transport, to, c.transport, c.to)
		}
	}
}

// sipgoDir is where sipgo's source lies in the module cache.
func sipgoDir(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/emiago/sipgo").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// A socket on all addresses tells each peer the one that the peer can reach.
func TestListenOnAllAddresses(t *testing.T) {
	e, legs := calls(t, func(c *Config) { c.Listen = []string{"udp://0.0.0.0:0"} })
	_, port, _ := net.SplitHostPort(address1(t, e, "udp"))
	server := "127.0.0.1:" + port
	anna := newPhone(t, e, "127.0.0.1", "anna")
	anna.server = server
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	if res := c.answered(); res.target() != "sip:"+server {
		t.Errorf("Contact %s, want %s", res.target(), server)
	}
	l.Hangup()
	bye := anna.want("BYE")
	if !strings.Contains(bye.header("Via"), server) {
		t.Errorf("Via %s", bye.header("Via"))
	}
	anna.reply(bye, 200, "", "")
	mustBeOver(t, l, false, "hung up")
}

func TestNoSocketForTheTransport(t *testing.T) {
	e := serve(t, func(c *Config) {
		c.Listen = []string{"tcp://127.0.0.1:0"}
		c.Accounts = func(string) (Account, bool) { return Account{User: "anna", Contact: "sip:anna@127.0.0.1:9"}, true }
	})
	var de *DialError
	if _, err := e.Dial(within(t), Dial{User: "anna"}, nil); !errors.As(err, &de) || !strings.Contains(de.Text, "no UDP address") {
		t.Errorf("Dial over UDP without a UDP socket: %v", err)
	}
}

func TestStaticContactOverTCP(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := serve(t, func(c *Config) {
		c.Accounts = func(string) (Account, bool) {
			return Account{User: "anna", Contact: "sip:anna@" + l.Addr().String() + ";transport=tcp"}, true
		}
	})
	done := dial(e, within(t), "anna", nil)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	anna := &phone{t: t, user: "anna", local: l.Addr().String(), tcp: true, msgs: make(chan message, 64)}
	anna.write = func(b []byte) error { _, err := conn.Write(b); return err }
	go readStream(conn, anna.msgs) // ends with conn
	inv := anna.want("INVITE")
	anna.reply(inv, 200, "a1", someSDP(1, "sendrecv"))
	anna.want("ACK")
	d := get(t, "Dial", done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	d.leg.Hangup()
	anna.reply(anna.want("BYE"), 200, "", "")
	// Nobody listens any more.
	l.Close()
	conn.Close()
	mustBeOver(t, d.leg, false, "hung up")
	var de *DialError
	if _, err := e.Dial(within(t), Dial{User: "anna"}, nil); !errors.As(err, &de) || de.Result != DialUnreachable || de.Code != 0 {
		t.Errorf("Dial to a closed port: %v", err)
	}
}
