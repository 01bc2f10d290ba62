//go:build e2e

package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// baresip is a real softphone, driven by its control port. It plays a tone and
// keeps what it hears.
type baresip struct {
	*program
	c    *centre
	user string
	dir  string // where the sound it heard lands
	conn net.Conn

	mu     sync.Mutex
	events []baresipEvent
	read   int // of what it printed, by rings
	seen   int // events before this one were awaited already; the test's own
}

// baresipEvent is something that baresip tells by itself.
type baresipEvent struct {
	Event     bool
	Type      string
	Direction string
	PeerURI   string
	ID        string
	Param     string

	Response bool
	OK       bool
	Data     string
	Token    string
}

const baresipConfig = `
poll_method epoll
call_local_timeout 120
call_max_calls 4
sip_listen 127.0.0.1:%[1]d
net_interface 127.0.0.1
rtp_ports %[2]d-%[3]d
rtcp_mux no
jitter_buffer_delay 1-5
statmode_default off
audio_player aubridge,x
audio_source aufile,%[4]s
audio_alert aubridge,y
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
snd_path %[5]s
ctrl_tcp_listen 127.0.0.1:%[6]d
module_path %[7]s
module g711.so
module aufile.so
module ausine.so
module aubridge.so
module sndfile.so
module ctrl_tcp.so
module account.so
module menu.so
`

// baresip starts a phone that says a tone. Without a password it does not
// register and calls as somebody outside.
func (c *centre) baresip(user, password string, hz int, transport string) *baresip {
	c.t.Helper()
	regint := 0
	if password != "" {
		regint = 60
	}
	account := fmt.Sprintf("<sip:%s@%s:%d;transport=%s>;answermode=manual;audio_codecs=PCMU/8000/1;regint=%d", user, c.ip, sipPort, transport, regint)
	if password != "" {
		account += fmt.Sprintf(";auth_user=%s;auth_pass=%s", user, password)
	}
	return c.baresipWith(account, user, hz)
}

// baresipWith starts a phone with a line of baresip's file of accounts.
func (c *centre) baresipWith(account, user string, hz int) *baresip {
	c.t.Helper()
	needs(c.t, "baresip")
	modules, _ := filepath.Glob("/usr/lib*/baresip/modules")
	more, _ := filepath.Glob("/usr/lib/*/baresip/modules")
	if modules = append(modules, more...); len(modules) == 0 {
		cannotRun(c.t, "baresip has no modules")
	}
	b := &baresip{c: c, user: user, dir: c.t.TempDir()}
	home := c.t.TempDir()
	sip, control, rtp := freePort(c.t), freePort(c.t), 30000+freePort(c.t)
	config := fmt.Sprintf(baresipConfig, sip, rtp, rtp+9, toneFile(c.t, hz), b.dir, control, modules[0])
	for name, text := range map[string]string{"config": config, "accounts": account + "\n", "contacts": "", "uuid": ""} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	b.program = starts(c.t, "baresip "+user, exec.Command("baresip", "-f", home, "-v"))
	await(c.t, b.name+" takes commands", func() bool {
		if !b.runs() {
			c.t.Fatalf("%s ended at its start", b.name)
		}
		var err error
		b.conn, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", control))
		return err == nil
	})
	done := make(chan struct{})
	go func() { // ends with the connection
		defer close(done)
		b.listens()
	}()
	c.t.Cleanup(func() {
		if b.runs() && !c.t.Failed() {
			b.quits()
		}
		_ = b.conn.Close()
		<-done
	})
	if strings.Contains(account, "auth_pass=") {
		b.says(0, `200 OK .*\[\d+ binding`)
	}
	return b
}

// listens takes the control port's netstrings.
func (b *baresip) listens() {
	in := bufio.NewReader(b.conn)
	for {
		length, err := in.ReadString(':')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
		if err != nil || n > 1<<20 {
			return
		}
		text := make([]byte, n+1) // and the comma
		if _, err := io.ReadFull(in, text); err != nil {
			return
		}
		var e baresipEvent
		if json.Unmarshal(text[:n], &e) == nil {
			b.mu.Lock()
			b.events = append(b.events, e)
			b.mu.Unlock()
		}
	}
}

// hears waits for the next event of a type, and passes over others.
func (b *baresip) hears(kind string) baresipEvent {
	b.t.Helper()
	var found baresipEvent
	await(b.t, fmt.Sprintf("%s tells %s", b.name, kind), func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for i := b.seen; i < len(b.events); i++ {
			if b.events[i].Type == kind {
				found, b.seen = b.events[i], i+1
				return true
			}
		}
		return false
	})
	return found
}

// command is one line of the control port.
func (b *baresip) command(command, params string) {
	b.t.Helper()
	text, err := json.Marshal(map[string]string{"command": command, "params": params})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(b.conn, "%d:%s,", len(text), text); err != nil {
		b.t.Fatalf("%s does not take %q: %v", b.name, command, err)
	}
}

func (b *baresip) dials(number string) {
	b.t.Helper()
	b.command("dial", b.c.address(number))
}

// feature dials a feature code, hears the confirmation out, and waits until the
// agent is in a state.
func (b *baresip) feature(code, state string) {
	b.t.Helper()
	b.dials(code)
	b.hears("CALL_ESTABLISHED")
	b.hears("CALL_CLOSED")
	b.c.agent("a"+b.user, state)
}

// rings waits for a call and gives what the display shows. The call may have come
// before the control port was there, so what is printed counts.
func (b *baresip) rings() (display string) {
	b.t.Helper()
	var found []string
	found, b.read = b.says(b.read, `Incoming call from: (.*) sip:\S+ - \(press`)
	return found[1]
}

// answers takes the call, and says when.
func (b *baresip) answers() span {
	b.t.Helper()
	from := time.Now()
	b.command("accept", "")
	b.hears("CALL_ESTABLISHED")
	return span{from, time.Now()}
}

// hangsUp ends the call, or refuses it as busy, and says when.
func (b *baresip) hangsUp() span {
	b.t.Helper()
	from := time.Now()
	b.command("hangup", "")
	b.hears("CALL_CLOSED")
	return span{from, time.Now()}
}

// quits takes the registration back and ends the phone.
func (b *baresip) quits() {
	b.t.Helper()
	b.command("quit", "")
	b.ends(patience)
}

// heard is the sound of the last call.
func (b *baresip) heard() []int16 {
	b.t.Helper()
	var last string
	await(b.t, b.name+" kept what it heard", func() bool {
		files, _ := filepath.Glob(filepath.Join(b.dir, "*-dec.wav"))
		var newest time.Time
		for _, f := range files {
			if info, err := os.Stat(f); err == nil && info.ModTime().After(newest) {
				last, newest = f, info.ModTime()
			}
		}
		return last != ""
	})
	return readSound(b.t, last)[0]
}
