//go:build e2e

package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestE2EADay is the demonstration centre with one call after the other, by
// phones that we did not write.
func TestE2EADay(t *testing.T) {
	t.Parallel()
	c := opens(t, demonstration)

	t.Run("ThroughTheMenusToAnAgent", func(t *testing.T) { throughTheMenus(t, c.in(t)) })
	t.Run("AnAgentHoldsTheCaller", func(t *testing.T) { holds(t, c.in(t)) })
	t.Run("EitherSideHangsUp", func(t *testing.T) { eitherSideHangsUp(t, c.in(t)) })
	t.Run("ALawTCPAndKeysByInfo", func(t *testing.T) { otherWays(t, c.in(t)) })
	t.Run("ACallerLeavesInTheMenus", func(t *testing.T) { leavesInTheMenus(t, c.in(t)) })
	t.Run("TheCommandsShowTheLog", func(t *testing.T) { commandsShowTheLog(t, c.in(t)) })
}

// throughTheMenus: sipp as a caller, with sound and digits.
func throughTheMenus(t *testing.T, c *centre) {
	const number = "0901111111"
	anna := c.baresip("1001", "demo-1001", 800, "udp")
	anna.feature("*11", "Idle")
	caller := c.sipp("caller.xml", number, "1900", 440, "-m", "1")
	if display := anna.rings(); display != "support: Lan "+number {
		t.Errorf("the agent's display shows %q", display)
	}
	arrived := span{to: time.Now()}
	connected := anna.answers()
	c.talks(number, 4*time.Second)
	ended := anna.hangsUp()
	caller.endsWell()
	r := c.ended(number)

	if r.Number != "1900" || r.Language != "en" || r.Queue != "support" || r.Agent != "a1001" ||
		r.Outcome != "answered" || r.Stage != "Talking" || r.HungUpBy != "agent" {
		t.Errorf("the log says %+v", r)
	}
	invited := c.wire.messages("INVITE sip:1900@")
	if len(invited) == 0 {
		t.Fatal("no INVITE of the caller on the wire")
	}
	arrived.from = invited[0].at
	nearly(t, "arrived", r.Arrived, span{arrived.from, arrived.from})
	nearly(t, "answered", r.Answered, span{r.Arrived, r.Arrived})
	nearly(t, "queued", r.Queued, arrived)
	nearly(t, "connected", r.Connected, connected)
	nearly(t, "ended", r.Ended, ended)
	nearly(t, "queued + wait", r.Queued.Add(ms(r.Wait)), connected)
	lasted(t, "talk", ms(r.Talk), connected, ended)
	if r.Ring < 0 || r.Ring > r.Wait || r.Hold != 0 {
		t.Errorf("wait %d ms, ring %d ms, hold %d ms", r.Wait, r.Ring, r.Hold)
	}
	if way := log[string](c, `select string_agg(segment, ' ' order by from_at) from log.segments where call_id = $1`, r.Call); !strings.Contains(way, "Flow Ringing Talking") && !strings.Contains(way, "Flow Waiting Ringing Talking") {
		t.Errorf("the call went through %s", way)
	}
	if got := c.offers(r.Call); got != "a1001 answered" {
		t.Errorf("offers: %s", got)
	}
	if n := log[int](c, `select count(*) from log.legs where call_id = $1 and codec = 'PCMU' and sent > 100 and received > 100`, r.Call); n != 2 {
		t.Errorf("%d legs with sound both ways, want 2", n)
	}
	c.agent("a1001", "Idle")
	if states := log[string](c, `select string_agg(state, ' ' order by from_at) from agent_time where agent = 'a1001' and (to_at >= $1 or to_at is null)`, r.Queued); states != "Idle Offered Talking Idle" {
		t.Errorf("the agent's time: %s", states)
	}

	left, right := readRecording(t, r.Recording)
	lasted(t, "the recording", lengthOf(left), connected, ended)
	isTone(t, "the recording's left channel, the caller", middle(left), 440)
	isTone(t, "the recording's right channel, the agent", middle(right), 800)
	isTone(t, "what the agent heard", middle(anna.heard()), 440)
	heard := c.wire.heard(caller.media)
	isTone(t, "what came back to the caller", middle(heard[max(0, len(heard)-3*soundRate):]), 800)

	anna.feature("*121", "NotReady(meal)")
	anna.feature("*13", "SignedOut")
}

// holds: the caller hears music meanwhile, and the agent again afterwards.
func holds(t *testing.T, c *centre) {
	const number = "0901111112"
	anna := c.baresip("1001", "demo-1001", 800, "udp")
	anna.feature("*11", "Idle")
	heard := filepath.Join(t.TempDir(), "heard.wav")
	caller := c.calls(number, "1901", "--play", "tone:440", "--record", heard, "--digits", "7")
	anna.rings()
	connected := anna.answers()
	r := c.talks(number, 1500*time.Millisecond)
	anna.says(0, `received event: '7'`) // keys pass through to the agent
	does := func(command, stage string, long time.Duration) (from, to time.Time) {
		from = time.Now()
		anna.command(command, "")
		c.reaches(number, stage)
		to = time.Now()
		info, err := os.Stat(r.Recording)
		if err != nil {
			t.Fatal(err)
		}
		c.growsTo(r.Recording, long+time.Duration(info.Size())*time.Second/16000)
		return from, to
	}
	var held, resumed, ended span
	held.from, held.to = does("hold", "Hold", 2500*time.Millisecond)
	resumed.from, resumed.to = does("resume", "Talking", 2*time.Second)
	ended.from = time.Now()
	caller.hangsUp()
	report := caller.report()
	anna.hears("CALL_CLOSED")
	ended.to = time.Now()
	r = c.ended(number)
	if r.Outcome != "answered" || r.HungUpBy != "caller" || report.HungUpBy != "local" {
		t.Errorf("the log says %+v, the caller %+v", r, report)
	}
	lasted(t, "hold", ms(r.Hold), held, resumed)
	lasted(t, "talk and hold", ms(r.Hold+r.Talk), connected, ended)

	// The caller's file begins with the answer.
	pcm := readSound(t, heard)[0]
	at := func(moment time.Time) int {
		return min(len(pcm), max(0, int(moment.Sub(report.AnsweredAt).Seconds()*soundRate)))
	}
	part := func(from, to time.Time) []int16 {
		return pcm[at(from.Add(500*time.Millisecond)):max(at(from.Add(500*time.Millisecond)), at(to.Add(-500*time.Millisecond)))]
	}
	isTone(t, "what the caller heard before the hold", part(connected.to, held.from), 800)
	if music := part(held.to, resumed.from); loudness(music) < 100 || share(music, 800) > 0.1 {
		t.Errorf("on hold the caller heard no music: loudness %.0f, the agent's tone %.2f", loudness(music), share(music, 800))
	}
	isTone(t, "what the caller heard after the hold", part(resumed.to, ended.from), 800)
	anna.feature("*13", "SignedOut")
}

// eitherSideHangsUp: baresip calls, linphone answers. Each puts the other on hold
// once.
func eitherSideHangsUp(t *testing.T, c *centre) {
	const number = "0901111113"
	binh := c.linphone("1002", "demo-1002", 800)
	binh.feature("*11", "Idle")
	lan := c.baresip(number, "", 440, "udp")
	for _, hangsUp := range []string{"agent", "caller"} {
		lan.dials("1901")
		if display := binh.rings(); display != "support: "+number {
			t.Errorf("the agent's display shows %q", display)
		}
		heard := binh.answers()
		r := c.talks(number, 3*time.Second)
		var held, ended span
		if hangsUp == "agent" {
			// The caller's own hold is the caller's affair.
			lan.command("hold", "")
			c.growsTo(r.Recording, 4*time.Second)
			lan.command("resume", "")
			c.growsTo(r.Recording, 6*time.Second)
			binh.hangsUp()
			lan.hears("CALL_CLOSED")
		} else {
			held.from = time.Now()
			binh.types("pause")
			c.reaches(number, "Hold")
			held.to = time.Now()
			ended = lan.hangsUp()
		}
		binh.isOver()
		r = c.ended(number)
		stage := "Talking"
		if hangsUp == "caller" {
			stage = "Hold"
		}
		if r.Outcome != "answered" || r.HungUpBy != hangsUp || r.Agent != "a1002" || r.Stage != stage {
			t.Errorf("the log says %+v", r)
		}
		lasted(t, "hold", ms(r.Hold), held, ended)
		left, right := readRecording(t, r.Recording)
		isTone(t, "the recording's left channel", middle(left), 440)
		isTone(t, "the recording's right channel", middle(right), 800)
		isTone(t, "what the caller heard", middle(lan.heard()), 800)
		isTone(t, "what the agent heard", middle(readSound(t, heard)[0]), 440)
		if hangsUp == "agent" {
			isTone(t, "the caller after the hold", last(left, time.Second), 440)
		}
		c.agent("a1002", "Idle")
	}
	binh.feature("*13", "SignedOut")
}

// otherWays: a caller with A-law over TCP who presses keys by INFO, an agent with
// µ-law over TCP.
func otherWays(t *testing.T, c *centre) {
	const number = "0901111114"
	chi := c.baresip("1003", "demo-1003", 800, "tcp")
	chi.feature("*11", "Idle")
	heard := filepath.Join(t.TempDir(), "heard.wav")
	caller := c.calls(number, "1900", "--transport", "tcp", "--codecs", "pcma", "--info", "--digits", "3,1",
		"--play", "tone:440", "--record", heard)
	chi.rings()
	chi.answers()
	r := c.talks(number, 3*time.Second)
	chi.hangsUp()
	report := caller.report()
	r = c.ended(number)
	if r.Language != "zh" || r.Queue != "support" || r.Agent != "a1003" || r.Outcome != "answered" || r.HungUpBy != "agent" {
		t.Errorf("the log says %+v", r)
	}
	if report.Codec != "pcma" || report.HungUpBy != "remote" || report.Error != "" {
		t.Errorf("the caller's phone says %+v", report)
	}
	codecs := log[string](c, `select string_agg(party || ' ' || codec, ', ' order by party) from log.legs where call_id = $1`, r.Call)
	if codecs != "agent PCMU, caller PCMA" {
		t.Errorf("codecs: %s", codecs)
	}
	pcm := readSound(t, heard)[0]
	isTone(t, "what the caller heard", middle(pcm[max(0, len(pcm)-3*soundRate):]), 800)
	isTone(t, "what the agent heard", middle(chi.heard()), 440)
	left, right := readRecording(t, r.Recording)
	isTone(t, "the recording's left channel", middle(left), 440)
	isTone(t, "the recording's right channel", middle(right), 800)
	if over := c.wire.messages(number); len(over) > 0 {
		t.Errorf("%d messages of this call went over UDP", len(over))
	}
	chi.feature("*13", "SignedOut")
}

// leavesInTheMenus: who never came to a queue is not to be called back.
func leavesInTheMenus(t *testing.T, c *centre) {
	const number = "0901111116"
	caller := c.calls(number, "1900", "--digits", "2", "--digits-after", "0s")
	c.awaitRecord(number, "English was chosen", func(r record) bool { return r.Language == "en" && r.Stage == "Flow" })
	caller.hangsUp()
	if report := caller.report(); report.RTP.Received == 0 {
		t.Errorf("the caller's phone says %+v", report)
	}
	if r := c.ended(number); r.Outcome != "left_in_flow" || r.Stage != "Flow" || r.HungUpBy != "caller" || r.Queue != "" || r.Wait != -1 {
		t.Errorf("the log says %+v", r)
	}
	if n := log[int](c, `select count(*) from missed_calls where caller = $1`, number); n != 0 {
		t.Errorf("the call counts as missed")
	}
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
