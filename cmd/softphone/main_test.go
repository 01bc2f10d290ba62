package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"hotline/sip/media"
	"hotline/sip/sdp"
)

func TestMain(m *testing.M) {
	sipmsg.SetDefaultLogger(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// console collects what a phone tells people, and lets a test wait for it.
type console struct {
	t    *testing.T
	name string
	mu   sync.Mutex
	text strings.Builder
	news chan struct{} // 1: something came
}

func newConsole(t *testing.T, name string) *console {
	return &console{t: t, name: name, news: make(chan struct{}, 1)}
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(b)
	select {
	case c.news <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// waitFor returns what follows the words on their line.
func (c *console) waitFor(words string) string {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		if _, rest, ok := strings.Cut(c.String(), words); ok && strings.Contains(rest, "\n") {
			line, _, _ := strings.Cut(rest, "\n")
			return line
		}
		select {
		case <-c.news:
		case <-deadline:
			c.t.Fatalf("%s never said %q but\n%s", c.name, words, c)
		}
	}
}

// running is a softphone started as from the command line.
type running struct {
	*console
	stop   context.CancelFunc
	out    bytes.Buffer
	status chan int
}

func start(t *testing.T, name string, args ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r := &running{console: newConsole(t, name), stop: stop, status: make(chan int, 1)}
	go func() { r.status <- run(ctx, args, &r.out, r.console) }()
	t.Cleanup(stop)
	return r
}

// ends waits for the end and reads the report.
func (r *running) ends(status int) report {
	r.t.Helper()
	select {
	case got := <-r.status:
		if got != status {
			r.t.Fatalf("%s: exit status %d, want %d; it said\n%s%s", r.name, got, status, r, r.out.String())
		}
	case <-time.After(patience):
		r.t.Fatalf("%s doesn't end; it said\n%s", r.name, r)
	}
	lines := strings.Split(strings.TrimSpace(r.out.String()), "\n")
	var rep report
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &rep); err != nil {
		r.t.Fatalf("%s: last line %q: %v", r.name, lines[len(lines)-1], err)
	}
	return rep
}

// agentWaits starts an agent without a registrar and returns where it is.
func agentWaits(t *testing.T, args ...string) (agent *running, address string) {
	t.Helper()
	agent = start(t, "agent", append([]string{"agent", "--listen", "127.0.0.1:0"}, args...)...)
	return agent, "sip:anna@" + agent.waitFor("waiting for calls at sip:")
}

// testPhone is a phone of ours for tests that look inside.
func testPhone(t *testing.T, id identity) *phone {
	t.Helper()
	p, err := newPhone(phoneConfig{
		identity: id, Listen: netip.MustParseAddrPort("127.0.0.1:0"), Transport: "udp",
		Codecs: []sdp.Codec{sdp.PCMU, sdp.PCMA}, MediaPorts: media.PortRange{First: 30000, Last: 59999},
		Log: slog.New(slog.DiscardHandler), Progress: progress(newConsole(t, "phone")),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// share is how much of the sound's energy is at hz (Goertzel), from 0 to 1.
func share(pcm []int16, hz int) float64 {
	w := 2 * math.Pi * float64(hz) / sampleRate
	var s1, s2, energy float64
	for _, x := range pcm {
		s0 := float64(x) + 2*math.Cos(w)*s1 - s2
		s2, s1 = s1, s0
		energy += float64(x) * float64(x)
	}
	if energy == 0 {
		return 0
	}
	power := s1*s1 + s2*s2 - 2*math.Cos(w)*s1*s2
	return 2 * power / (float64(len(pcm)) * energy)
}

// hears waits until a recording that is being written has a second of the tone, in frames
// of 20 ms: a busy machine may drop frames, but what is there must be the tone.
func hears(t *testing.T, file string, hz int) {
	t.Helper()
	const frame, level = sampleRate / 50, toneLevel / 2
	timeout, look := time.After(patience), time.NewTicker(50*time.Millisecond)
	defer look.Stop()
	for {
		loud, right := 0, 0
		b, err := os.ReadFile(file)
		if err == nil && len(b) > wavHeaderSize {
			pcm, _ := samples(wavPCM, 16, b[wavHeaderSize:])
			for ; len(pcm) >= frame; pcm = pcm[frame:] {
				var energy float64
				for _, x := range pcm[:frame] {
					energy += float64(x) * float64(x)
				}
				if energy < frame*level*level {
					continue
				}
				if loud++; share(pcm[:frame], hz) > 0.8 {
					right++
				}
			}
		}
		if loud >= 50 {
			if right < loud*9/10 {
				t.Errorf("%s: %d of %d frames are %d Hz", file, right, loud, hz)
			}
			return
		}
		select {
		case <-look.C:
		case <-timeout:
			t.Fatalf("%s: %d frames of sound, %v", file, loud, err)
		}
	}
}

func TestTwoPhonesTalk(t *testing.T) {
	for _, row := range []struct {
		transport, codec string
		info             bool
	}{{"udp", "pcmu", false}, {"tcp", "pcma", true}} {
		t.Run(row.transport, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			at := filepath.Join(dir, "agent.wav")
			ct := filepath.Join(dir, "caller.wav")
			agent, address := agentWaits(t, "--transport", row.transport, "--play", "tone:880", "--record", at, "--calls", "1")
			args := []string{"call", address + ";transport=" + row.transport, "--from", "Bob/0905", "--codecs", row.codec, "--play", "tone:440", "--record", ct,
				"--digits", "1,2#", "--digits-after", "100ms", "--digit-gap", "300ms"}
			if row.info {
				args = append(args, "--info")
			}
			caller := start(t, "caller", args...)
			agent.waitFor("heard key #")
			hears(t, at, 440)
			hears(t, ct, 880)
			caller.stop()
			called, took := caller.ends(0), agent.ends(0)
			if called.Result != answered || called.Code != 200 || called.HungUpBy != "local" || called.Sent != "12#" || called.Codec != row.codec {
				t.Errorf("caller %+v", called)
			}
			if called.RTP == nil || called.RTP.Sent < 25 || called.RTP.Received < 50 {
				t.Errorf("caller's RTP %+v", called.RTP)
			}
			if called.DialedAt.IsZero() || called.RingingAt.Before(called.DialedAt) || called.AnsweredAt.Before(called.RingingAt) || !called.EndedAt.After(called.AnsweredAt) {
				t.Errorf("times %v %v %v %v", called.DialedAt, called.RingingAt, called.AnsweredAt, called.EndedAt)
			}
			if len(took.Calls) != 1 {
				t.Fatalf("agent %+v", took)
			}
			a := took.Calls[0]
			if a.Result != answered || a.HungUpBy != "remote" || a.Received != "12#" || a.Peer != "0905" || a.PeerName != "Bob" || a.Recorded != at {
				t.Errorf("agent %+v", a)
			}
			for file, r := range map[string]*report{at: a, ct: &called} {
				pcm, err := readWAV(file)
				if err != nil {
					t.Fatal(err)
				}
				// The file is as long as the talk; its last packet may reach past the end.
				if talk := inSamples(r.EndedAt.Sub(r.AnsweredAt)); int64(len(pcm)) < talk || int64(len(pcm)) > talk+maxDrift+maxPacket {
					t.Errorf("%s has %d samples, the talk %d", file, len(pcm), talk)
				}
			}
		})
	}
}

func TestAgentHangsUp(t *testing.T) {
	t.Parallel()
	agent, address := agentWaits(t, "--hangup-after", "200ms", "--calls", "1")
	called := start(t, "caller", "call", address).ends(0)
	if took := agent.ends(0); called.HungUpBy != "remote" || took.Calls[0].HungUpBy != "local" {
		t.Errorf("caller %+v, agent %+v", called, took.Calls[0])
	}
}

func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	agent, address := agentWaits(t, "--answer-after", "1h", "--calls", "1")
	caller := start(t, "caller", "call", address)
	caller.waitFor("ringing")
	caller.stop()
	if r := caller.ends(1); r.Result != cancelled || r.Code != 487 || !r.AnsweredAt.IsZero() {
		t.Errorf("caller %+v", r)
	}
	if r := agent.ends(0).Calls[0]; r.Result != cancelled || r.HungUpBy != "remote" {
		t.Errorf("agent %+v", r)
	}
}

func TestInterruptedTalkEndsInOrder(t *testing.T) {
	t.Parallel()
	agent, address := agentWaits(t, "--calls", "1")
	caller := start(t, "caller", "call", address)
	agent.waitFor("answered")
	caller.waitFor("answered")
	caller.stop()
	if r := caller.ends(0); r.HungUpBy != "local" {
		t.Errorf("caller %+v", r)
	}
	agent.ends(0)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		status int
		want   result
	}{{486, busy}, {603, rejected}, {480, noAnswer}, {404, rejected}, {500, failed}} {
		t.Run(fmt.Sprint(row.status), func(t *testing.T) {
			t.Parallel()
			agent, address := agentWaits(t, "--reject", fmt.Sprint(row.status), "--calls", "1")
			if r := start(t, "caller", "call", address).ends(1); r.Result != row.want || r.Code != row.status {
				t.Errorf("caller %+v", r)
			}
			agent.ends(0)
		})
	}
}

func TestSecondCallerHearsBusy(t *testing.T) {
	t.Parallel()
	agent, address := agentWaits(t, "--calls", "2")
	first := start(t, "first", "call", address)
	first.waitFor("answered")
	if r := start(t, "second", "call", address).ends(1); r.Result != busy {
		t.Errorf("second %+v", r)
	}
	first.stop()
	first.ends(0)
	third := start(t, "third", "call", address, "--hangup-after-answer", "50ms")
	third.ends(0)
	if r := agent.ends(0); len(r.Calls) != 2 {
		t.Errorf("agent %+v", r)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		want string
		args []string
	}{
		{"want sip:NUMBER@HOST", []string{"call", "1901"}},
		{"want sip:NUMBER@HOST", []string{"call", "sips:1901@127.0.0.1"}},
		{"expected", []string{}},
		{"unknown flag", []string{"call", "sip:1@127.0.0.1", "--loud"}},
		{"cannot read nix.wav: no such file or directory", []string{"call", "sip:1@127.0.0.1", "--play", "nix.wav"}},
		{"want tone:FREQUENCY", []string{"call", "sip:1@127.0.0.1", "--play", "tone:9000"}},
		{"cannot record to", []string{"call", "sip:1@127.0.0.1", "--record", "/no/such/folder/a.wav"}},
		{`'x' is no key`, []string{"call", "sip:1@127.0.0.1", "--digits", "1,x"}},
		{"want FIRST-LAST", []string{"call", "sip:1@127.0.0.1", "--media-ports", "9"}},
		{"want NUMBER or NAME/NUMBER", []string{"call", "sip:1@127.0.0.1", "--from", "a\r\nVia: x/1"}},
		{"want --registrar or --listen", []string{"agent"}},
		{"--registrar needs --user", []string{"agent", "--registrar", "sip:127.0.0.1"}},
		{"--dial needs --registrar", []string{"agent", "--listen", "127.0.0.1:0", "--dial", "*11"}},
		{"want a status from 400", []string{"agent", "--listen", "127.0.0.1:0", "--reject", "200"}},
		{"want an address and a port", []string{"agent", "--listen", "6000"}},
	} {
		var out, help bytes.Buffer
		if status := run(context.Background(), row.args, &out, &help); status != exitUsage || !strings.Contains(help.String(), row.want) || out.Len() > 0 {
			t.Errorf("%v: status %d, %q, want … %s …", row.args, status, help.String(), row.want)
		}
	}
	var out, help bytes.Buffer
	if status := run(context.Background(), []string{"call", "--help"}, &out, &help); status != 0 || !strings.Contains(out.String(), "--digits") {
		t.Errorf("help: status %d\n%s", status, out.String())
	}
}
