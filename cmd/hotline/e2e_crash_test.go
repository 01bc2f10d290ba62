//go:build e2e

package main_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hotline/acd/calllog"
)

// TestE2EACrashAndClosingTime kills the service in mid-talk, starts it again, and
// closes it in order while callers are there.
func TestE2EACrashAndClosingTime(t *testing.T) {
	t.Parallel()
	c := opens(t, demonstration)
	anna := c.baresip("1001", "demo-1001", 800, "udp")
	anna.feature("*11", "Idle")

	// One talks, one waits.
	talking := c.calls("0903000001", "1901", "--play", "tone:440")
	anna.rings()
	anna.answers()
	r := c.talks("0903000001", 3*time.Second)
	waiting := c.calls("0903000002", "1901")
	c.reaches("0903000002", "Waiting")
	killed := c.crashes()

	left, right := readRecording(t, r.Recording)
	isTone(t, "the left channel after the kill", middle(left), 440)
	isTone(t, "the right channel after the kill", middle(right), 800)
	if talk := killed.Sub(r.Connected); lengthOf(left) < talk-time.Second || lengthOf(left) > talk+time.Second {
		t.Errorf("%v are recorded of a talk of %v", lengthOf(left), talk)
	}

	c.starts()
	anna.hears("CALL_CLOSED")
	for _, caller := range []*softphone{talking, waiting} {
		if report := caller.report(); report.Result != "answered" || report.HungUpBy != "remote" {
			t.Errorf("after the crash %s says %+v", caller.name, report)
		}
	}
	for caller, stage := range map[string]string{"0903000001": "Talking", "0903000002": "Waiting"} {
		r := c.ended(caller)
		if r.Outcome != "failed" || r.Stage != stage || r.HungUpBy != "system" {
			t.Errorf("the log says %+v", r)
		}
		// The last moment that the journal saw: a heartbeat comes every 5 s.
		if d := killed.Sub(r.Ended); d < -time.Second || d > 6*time.Second {
			t.Errorf("%s ended at %v, killed at %v", caller, r.Ended, killed)
		}
	}
	after, _ := readRecording(t, r.Recording)
	if len(after) < len(left) {
		t.Errorf("the recording is %v long after the start, and was %v before", lengthOf(after), lengthOf(left))
	}
	if n := log[int](c, `select count(*) from missed_calls where outcome = 'failed'`); n != 2 {
		t.Errorf("%d failed calls are to be called back, want 2", n)
	}
	if down := log[string](c, `select string_agg(state || '(' || reason || ')', ' ') from agent_time where agent = 'a1001' and reason = 'service down'`); down == "" {
		t.Errorf("the agent's time does not tell of the crash")
	}
	anna.quits()
	closingTime(t, c)
}

// closingTime: the first SIGTERM lets the talk end, the second does not. The
// agent is still signed in, over all restarts; only the phone registers again.
func closingTime(t *testing.T, c *centre) {
	const talker, waiter = "0903000003", "0903000004"
	anna := c.baresip("1001", "demo-1001", 800, "udp")
	c.agent("a1001", "Idle")
	talking := c.calls(talker, "1901", "--play", "tone:440")
	anna.rings()
	anna.answers()
	r := c.talks(talker, time.Second)
	heard := filepath.Join(t.TempDir(), "heard.wav")
	waiting := c.calls(waiter, "1901", "--record", heard)
	c.reaches(waiter, "Waiting")
	phone := c.plainPhone("127.0.0.1")
	defer phone.close()
	c.hangsUpOnPostgres()
	c.service.signals(syscall.SIGTERM)
	closing := time.Now()

	goodbye := waiting.report()
	if goodbye.HungUpBy != "remote" || goodbye.EndedAt.Sub(closing) < time.Second {
		t.Errorf("at closing time the waiting caller's phone says %+v", goodbye)
	}
	pcm := readSound(t, heard)[0]
	if said := pcm[min(len(pcm), int(closing.Sub(goodbye.AnsweredAt).Seconds()*soundRate)):]; loudness(said) < 100 {
		t.Errorf("the waiting caller heard no goodbye (%v, loudness %.0f)", lengthOf(said), loudness(said))
	}
	if a := phone.answers(phone.invite(c.address("1901"))); a.code != 503 || a.header("Retry-After") == "" {
		t.Errorf("a new call at closing time: %d, Retry-After %q; want 503", a.code, a.header("Retry-After"))
	}
	c.growsTo(r.Recording, 3*time.Second) // the talk goes on
	anna.hangsUp()
	if report := talking.report(); report.HungUpBy != "remote" || report.Error != "" {
		t.Errorf("the talking caller's phone says %+v", report)
	}
	if status := c.service.ends(patience); status != 0 {
		t.Errorf("closing time ended with status %d", status)
	}
	c.noComplaints()

	c.starts()
	if r := c.ended(talker); r.Outcome != "answered" || r.HungUpBy != "agent" {
		t.Errorf("the log says %+v", r)
	}
	if r := c.ended(waiter); r.Outcome != "closed" || r.Stage != "Waiting" || r.HungUpBy != "system" {
		t.Errorf("the log says %+v", r)
	}

	const last = "0903000005"
	anna.quits()
	anna = c.baresip("1001", "demo-1001", 800, "udp")
	c.agent("a1001", "Idle")
	talking = c.calls(last, "1901", "--play", "tone:440")
	anna.rings()
	anna.answers()
	c.talks(last, time.Second)
	c.hangsUpOnPostgres()
	heardSoFar := c.service.said.length()
	c.service.signals(syscall.SIGTERM)
	c.service.says(heardSoFar, "closing time")
	c.service.signals(syscall.SIGTERM)
	if status := c.service.ends(patience); status != 0 {
		t.Errorf("the second SIGTERM ended it with status %d", status)
	}
	anna.hears("CALL_CLOSED")
	if report := talking.report(); report.HungUpBy != "remote" {
		t.Errorf("after two SIGTERMs the caller's phone says %+v", report)
	}
	c.starts()
	if r := c.ended(last); r.Outcome != "answered" || r.HungUpBy != "system" {
		t.Errorf("the log says %+v", r)
	}
}

// TestE2EPostgresAway stops a Postgres of the company's own during a call and
// starts it again: nothing is missing.
func TestE2EPostgresAway(t *testing.T) {
	t.Parallel()
	needsPostgres(t)
	dir := filepath.Join(t.TempDir(), "postgres")
	var postgres *calllog.Private
	start := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var err error
		if postgres, err = calllog.StartPrivate(ctx, calllog.PrivateOptions{Dir: dir}); err != nil {
			t.Fatal(err)
		}
	}
	start()
	t.Cleanup(func() { // after the centre has closed
		if postgres != nil {
			_ = postgres.Close()
		}
	})
	c := opens(t, demonstration+"\ndatabase: \""+postgres.DSN()+"\"\n")
	anna := c.baresip("1001", "demo-1001", 800, "udp")
	anna.feature("*11", "Idle")

	type call struct{ connected, ended span }
	saw := map[string]call{}
	talk := func(number string, whileTalking func()) {
		t.Helper()
		caller := c.calls(number, "1901", "--play", "tone:440")
		anna.rings()
		at := call{connected: anna.answers()}
		whileTalking()
		at.ended = anna.hangsUp()
		saw[number] = at
		if report := caller.report(); report.HungUpBy != "remote" || report.RTP.Received == 0 || report.Error != "" {
			t.Errorf("%s: %+v", caller.name, report)
		}
	}
	talk("0904000001", func() {
		r := c.talks("0904000001", time.Second)
		c.hangsUpOnPostgres()
		if err := postgres.Close(); err != nil {
			t.Fatal(err)
		}
		c.growsTo(r.Recording, 2*time.Second)
	})
	talk("0904000002", func() { c.grows(2, time.Second) })
	abandoned := c.calls("0904000003", "1901", "--for", "60s")
	anna.rings()
	abandoned.hangsUp()
	abandoned.report()
	anna.hears("CALL_CLOSED")
	talk("0904000004", func() {
		c.grows(3, time.Second)
		start()
		c.reaches("0904000004", "Talking")
	})

	for number, at := range saw {
		r := c.ended(number)
		if r.Outcome != "answered" || r.HungUpBy != "agent" || r.Agent != "a1001" || r.Recording == "" {
			t.Errorf("the log says %+v", r)
		}
		nearly(t, number+" connected", r.Connected, at.connected)
		nearly(t, number+" ended", r.Ended, at.ended)
		lasted(t, number+" talk", ms(r.Talk), at.connected, at.ended)
	}
	if r := c.ended("0904000003"); r.Outcome != "abandoned" || r.Stage != "Ringing" {
		t.Errorf("the log says %+v", r)
	}
	if n := log[int](c, "select count(*) from call_log"); n != 4 {
		t.Errorf("%d calls in the log, want 4", n)
	}
	c.agent("a1001", "Idle")
}

// grows waits until the n-th recording of the centre is so long: the log can't
// tell which file that is while Postgres is away.
func (c *centre) grows(n int, long time.Duration) {
	c.t.Helper()
	await(c.t, "a recording of the call under way", func() bool {
		files, _ := filepath.Glob(filepath.Join(c.dir, "data", "recordings", "*", "*", "*", "*.wav"))
		if len(files) < n {
			return false
		}
		info, err := os.Stat(files[len(files)-1]) // named by time, to the second
		return err == nil && info.Size() > int64(16000*long.Seconds())
	})
}

// TestE2EPrivatePostgresIsKilled kills the private Postgres during a call: it is
// started again, and the log catches up.
func TestE2EPrivatePostgresIsKilled(t *testing.T) {
	t.Parallel()
	const number = "0904000005"
	c := opens(t, demonstration)
	anna := c.softphoneAgent("1001", "--play", "tone:800")
	caller := c.calls(number, "1901", "--play", "tone:440")
	r := c.talks(number, time.Second)
	b, err := os.ReadFile(filepath.Join(c.dir, "data", "postgres", "cluster", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		t.Fatal(err)
	}
	c.hangsUpOnPostgres()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.growsTo(r.Recording, 2*time.Second)
	ended := span{from: time.Now()}
	caller.hangsUp()
	caller.report()
	ended.to = time.Now()
	r = c.ended(number)
	if r.Outcome != "answered" || r.HungUpBy != "caller" {
		t.Errorf("the log says %+v", r)
	}
	nearly(t, "ended", r.Ended, ended)
	c.agent("a1001", "Idle")
	anna.hangsUp()
	anna.report()
}
