package sip

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// doorman is a judge that knows everybody, or nobody.
type doorman struct{ knows atomic.Bool }

func (d *doorman) trunk(netip.Addr) string                       { return "" }
func (d *doorman) keeps(netip.AddrPort) bool                     { return d.knows.Load() }
func (d *doorman) refusal([]byte, netip.AddrPort, string) []byte { return nil }

func welcoming() *doorman {
	d := &doorman{}
	d.knows.Store(true)
	return d
}

// line is an accepted connection in memory, and its far end.
func line(d *doorman) (near *bounded, far net.Conn) {
	a, b := net.Pipe()
	l := newConnections(nil, limits{}.withDefaults(), timers{}.withDefaults(), d)
	near = &bounded{Conn: a, list: l, welcome: time.Now(), heard: time.Now()}
	l.admit(near)
	return near, b
}

// reads gives what ended the reading, and after how long.
func (c *bounded) reads() (messages int, took time.Duration, err error) {
	began := time.Now()
	b := make([]byte, 32<<10)
	for {
		if _, err = c.Read(b); err != nil {
			c.Close()
			return messages, time.Since(began), err
		}
		messages++
	}
}

const tcpOptions = "OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.66;branch=z9hG4bKx\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"

// says writes a text a second, until the line is cut.
func says(far net.Conn, text string) {
	for {
		time.Sleep(time.Second) // of the bubble's clock
		if _, err := io.WriteString(far, text); err != nil {
			return
		}
	}
}

// A stranger that connects may not stay, whether it is silent, asks again and again, or sends keep-alives.
func TestStrangersConnectionsEnd(t *testing.T) {
	for _, text := range []string{"", tcpOptions, "\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			near, far := line(&doorman{})
			var saying sync.WaitGroup
			defer saying.Wait()
			if text != "" {
				saying.Go(func() { says(far, text) })
			}
			if _, took, err := near.reads(); !errors.Is(err, errStranger) || took != time.Minute {
				t.Errorf("saying %.10q it ended after %s: %v", text, took, err)
			}
			if len(near.list.open)+len(near.list.count) > 0 {
				t.Error("it is still counted")
			}
		})
	}
}

// Whoever registered within the minute stays as long as it says something now and then.
func TestConnectionsOfPhonesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &doorman{}
		near, far := line(d)
		go func() {
			time.Sleep(59 * time.Second)
			d.knows.Store(true)
			for range 5 {
				time.Sleep(time.Hour)
				io.WriteString(far, tcpOptions)
			}
		}()
		n, took, err := near.reads()
		if n != 5 || !errors.Is(err, errQuiet) || took < 6*time.Hour+10*time.Minute || took > 6*time.Hour+12*time.Minute {
			t.Errorf("%d messages, ended after %s: %v", n, took, err)
		}
	})
}

// A message has to end some time, whoever sends it.
func TestMessagesOverTCPMustEnd(t *testing.T) {
	for _, begun := range []string{"O", "X: y\r\n", "OPTIONS sip:x SIP/2.0\r\nContent-Length: 10\r\n\r\nhalf", "\r"} {
		synctest.Test(t, func(t *testing.T) {
			near, far := line(welcoming())
			var saying sync.WaitGroup
			defer saying.Wait()
			saying.Go(func() {
				time.Sleep(time.Hour)
				io.WriteString(far, begun)
				if strings.HasPrefix(begun, "X") {
					says(far, begun)
				}
			})
			if n, took, err := near.reads(); n != 0 || !errors.Is(err, errSlow) || took != time.Hour+10*time.Second {
				t.Errorf("%q: ended after %s: %v", begun, took, err)
			}
		})
	}
}

func TestMessagesOverTCPAreBounded(t *testing.T) {
	for text, want := range map[string]error{
		"OPTIONS sip:x SIP/2.0\r\n" + strings.Repeat("X: y\r\n", maxHead/6+1): errTCPTooLong,
		"OPTIONS sip:x SIP/2.0\r\nContent-Length: 70000\r\n\r\n":              errTCPTooLong,
		"OPTIONS sip:x SIP/2.0\r\nContent-Length: 99999999999999\r\n\r\n":     errUnframed,
		"OPTIONS sip:x SIP/2.0\r\nContent-Length: 1\r\nl: 2\r\n\r\n":          errUnframed,
		"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP x\r\n\r\n":                 errUnframed,
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n":              errUnframed,
	} {
		near, far := line(welcoming())
		go io.WriteString(far, text)
		if n, _, err := near.reads(); n != 0 || !errors.Is(err, want) {
			t.Errorf("%.60q: %d messages, %v", text, n, err)
		}
	}
}

// However TCP cuts it, each message arrives whole, and what it says of its length is what counts.
func TestMessagesOverTCPInPieces(t *testing.T) {
	e := serve(t, nil)
	anna := newTCPPhone(t, e, "anna")
	text := "\r\n\r\n" + anna.options("z9hG4bK-1") + "\r\n\r\n" + anna.options("z9hG4bK-2")
	text += strings.Replace(anna.options("z9hG4bK-3"), "Content-Length: 0\r\n\r\n", "Content-Type: text/plain\r\nContent-Length:\r\n 10\r\n\r\nBYE sip:x\n", 1)
	for i := range len(text) {
		anna.write([]byte(text[i : i+1]))
	}
	seen := map[string]bool{}
	for range 3 {
		seen[anna.wantFor(200, "OPTIONS").branch()] = true
	}
	if len(seen) != 3 {
		t.Errorf("answers to %v", seen)
	}
}

// Who may keep a TCP connection: trunks, addresses with a registered phone, and whoever has a call, registered or not.
func TestWhoMayStayConnected(t *testing.T) {
	e, legs := calls(t, nil)
	anna, at := newPhone(t, e, "127.0.0.1", "anna"), netip.MustParseAddrPort
	agent := newPhone(t, e, "127.0.0.5", "1001")
	home := newPhone(t, e, "127.0.0.6", "1002")
	if !e.keeps(at(anna.local)) || e.keeps(at(agent.local)) {
		t.Error("before anything happened")
	}
	agent.registers("demo-1001")
	if !e.keeps(at(agent.local)) || e.keeps(at(home.local)) {
		t.Error("after 1001 registered")
	}
	c := home.dials("1900")
	c.invite()
	res := home.want("SIP/2.0 401")
	c.ack(res, "")
	c.invite(credentials(res.all("WWW-Authenticate")[0], "1002", "demo-1002", "INVITE", c.uri, "00000001"))
	l := get(t, "the call", legs)
	if !e.keeps(at(home.local)) {
		t.Error("1002 has a call")
	}
	l.Reject(ReasonBusy)
	c.ack(home.want("SIP/2.0 486"), "")
	<-l.quiet
	if e.keeps(at(home.local)) {
		t.Error("the call of 1002 is over")
	}
}

// A registered phone whose connection is gone can name any host in its Contact; nobody is connected to for its sake.
func TestContactOfAPhoneLeadsNowhereElse(t *testing.T) {
	victim, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	e := serve(t, nil)
	agent := newTCPPhone(t, e, "1001")
	agent.registersAs("demo-1001", "sip:1001@"+victim.Addr().String()+";transport=tcp")
	agent.cut()
	for e.connected(agent.local) {
		runtime.Gosched()
	}
	var de *DialError
	if _, err := e.Dial(within(t), Dial{User: "1001"}, nil); !errors.As(err, &de) || de.Result != DialUnreachable {
		t.Errorf("Dial: %v", err)
	}
	victim.(*net.TCPListener).SetDeadline(time.Now())
	if conn, err := victim.Accept(); err == nil {
		conn.Close()
		t.Error("a third party was connected to")
	}
}
