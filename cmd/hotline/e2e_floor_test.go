//go:build e2e

package main_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// floorRules gives each test below a queue and agents of its own, so that they
// can run at the same time.
const floorRules = `
queues:
  missed:  {needs: {missed: 1}, ring: 20s, wrap_up: 0s, record: false}
  refused: {needs: {refused: 1}, ring: 2s, wrap_up: 0s, record: false}
  quick:   {needs: {quick: 1}, ring: 20s, wrap_up: 2s, record: false}
  slow:    {needs: {slow: 1}, ring: 20s, wrap_up: 10m, record: false}
  away:    {needs: {away: 1}, ring: 20s, wrap_up: 0s, record: false}
  lapses:  {needs: {lapses: 1}, ring: 20s, wrap_up: 0s, record: false}
  two:     {needs: {two: 1}, ring: 20s, wrap_up: 0s, record: false}
  desk:    {needs: {desk: 1}, ring: 20s, wrap_up: 0s, record: false}
  crowd:   {needs: {crowd: 1}, ring: 20s, wrap_up: 0s, record: false}
  ghosts:  {needs: {ghosts: 1}, ring: 20s, wrap_up: 0s, record: false}
  spirits: {needs: {spirits: 1}, ring: 20s, wrap_up: 0s, record: false}
agents:
  - {id: a1201, name: "Agent 1201", extension: "1201", password: demo-1201, skills: {missed: 1}}
  - {id: a1301, name: "Agent 1301", extension: "1301", password: demo-1301, skills: {refused: 1}}
  - {id: a1302, name: "Agent 1302", extension: "1302", password: demo-1302, skills: {refused: 1}}
  - {id: a1303, name: "Agent 1303", extension: "1303", password: demo-1303, skills: {refused: 1}}
  - {id: a1401, name: "Agent 1401", extension: "1401", password: demo-1401, skills: {quick: 1}}
  - {id: a1402, name: "Agent 1402", extension: "1402", password: demo-1402, skills: {slow: 1}}
  - {id: a1501, name: "Agent 1501", extension: "1501", password: demo-1501, skills: {away: 1}}
  - {id: a1502, name: "Agent 1502", extension: "1502", password: demo-1502, skills: {lapses: 1}}
  - {id: a1503, name: "Agent 1503", extension: "1503", password: demo-1503, skills: {lapses: 1}}
  - {id: a1801, name: "Agent 1801", extension: "1801", password: demo-1801, skills: {ghosts: 1}}
  - {id: a1802, name: "Agent 1802", extension: "1802", password: demo-1802, skills: {spirits: 1}}
  - {id: a1601, name: "Agent 1601", extension: "1601", password: demo-1601, skills: {two: 1}}
  - {id: a1701, name: "Agent 1701", extension: "1701", contact: "sip:desk@127.0.0.1:14060", start: ready, skills: {desk: 1}}
numbers:
  "1912": {queue: missed}
  "1913": {queue: refused}
  "1914": {queue: quick}
  "1915": {queue: slow}
  "1916": {queue: away}
  "1917": {queue: desk}
  "1918": {queue: two}
  "1919": {queue: crowd}
  "1920": {queue: ghosts}
  "1921": {queue: spirits}
`

func TestE2EFloor(t *testing.T) {
	t.Parallel()
	c := opens(t, floorRules)
	t.Run("all", func(t *testing.T) { // ends when all of them have
		for name, test := range map[string]func(*testing.T, *centre){
			"ACallerHangsUpWaitingAndRinging": hangsUpBeforeAnAnswer,
			"BusyAndNoAnswerGoToTheNext":      busyAndNoAnswer,
			"WrapUpHoldsTheNextCallBack":      wrapUp,
			"AWrapUpEndsEarly":                wrapUpEndsEarly,
			"AnUnregisteredPhoneIsNotRung":    unregistered,
			"ARegistrationLapses":             lapses,
			"OnePhoneAnswersTheOtherStops":    twoPhones,
			"APhoneThatDoesNotRegister":       desk,
			"FiftyCallersGiveUp":              crowd,
			"AnAgentsPhoneDiesInMidTalk":      agentDies,
			"ACallersPhoneDiesInMidTalk":      callerDies,
		} {
			t.Run(name, func(t *testing.T) { t.Parallel(); test(t, c.in(t)) })
		}
	})
}

// hangsUpBeforeAnAnswer: both calls are missed, and the phone stops ringing.
func hangsUpBeforeAnAnswer(t *testing.T, c *centre) {
	const number = "0902000001"
	anna := c.baresip("1201", "demo-1201", 800, "udp")
	anna.feature("*11", "Idle")
	anna.feature("*12", "NotReady(break)")

	caller := c.calls(number, "1912")
	c.reaches(number, "Waiting")
	caller.hangsUp()
	if report := caller.report(); report.RTP.Received == 0 {
		t.Errorf("the caller heard no music: %+v", report)
	}
	waiting := c.ended(number)

	anna.feature("*11", "Idle")
	caller = c.calls("Trần Thị Lan/"+number, "1912")
	if display := anna.rings(); display != "missed: Trần Thị Lan "+number {
		t.Errorf("the agent's display shows %q", display)
	}
	c.reaches(number, "Ringing")
	caller.hangsUp()
	anna.hears("CALL_CLOSED")
	caller.report()
	ringing := c.awaitRecord(number, "the second one ended", func(r record) bool { return r.Call != waiting.Call && r.Outcome != "" })
	c.agent("a1201", "Idle")

	for stage, r := range map[string]record{"Waiting": waiting, "Ringing": ringing} {
		if r.Outcome != "abandoned" || r.Stage != stage || r.Queue != "missed" || r.HungUpBy != "caller" || !r.Connected.IsZero() || r.Wait < 0 {
			t.Errorf("hung up while %s: %+v", stage, r)
		}
	}
	if waiting.Agent != "" || ringing.Agent != "a1201" {
		t.Errorf("agents %q and %q", waiting.Agent, ringing.Agent)
	}
	if got := c.offers(ringing.Call); got != "a1201 caller_gone" {
		t.Errorf("offers: %s", got)
	}
	missed := log[string](c, `select string_agg(stage || ' ' || queue || ' ' || outcome || ' ' || tries, ', ' order by arrived_at) from missed_calls where caller = $1`, number)
	if missed != "Waiting missed abandoned 1, Ringing missed abandoned 2" {
		t.Errorf("missed_calls: %s", missed)
	}
}

// busyAndNoAnswer: the first agent is busy, the second lets it ring, the third
// answers.
func busyAndNoAnswer(t *testing.T, c *centre) {
	const number = "0902000002"
	busy := c.baresip("1301", "demo-1301", 800, "udp")
	busy.feature("*11", "Idle")
	deaf := c.baresip("1302", "demo-1302", 800, "udp")
	deaf.feature("*11", "Idle")
	good := c.softphoneAgent("1303", "--play", "tone:800", "--calls", "1")

	caller := c.calls(number, "1913", "--play", "tone:440")
	busy.rings()
	busy.hangsUp() // 486 Busy Here
	deaf.rings()
	deaf.hears("CALL_CLOSED")
	c.reaches(number, "Talking")
	caller.hangsUp()
	caller.report()
	good.report()
	r := c.ended(number)
	if got := c.offers(r.Call); got != "a1301 busy, a1302 no_answer, a1303 answered" {
		t.Errorf("offers: %s", got)
	}
	if r.Outcome != "answered" || r.Agent != "a1303" {
		t.Errorf("the log says %+v", r)
	}
	if rang := log[int](c, `select ring_ms from offers where call_id = $1 and result = 'no_answer'`, r.Call); rang < 1500 || rang > 3000 {
		t.Errorf("the phone that was not answered rang for %d ms, want 2 s", rang)
	}
	if busied := c.wire.messages("SIP/2.0 486", "sip:1301"); len(busied) == 0 {
		t.Errorf("baresip did not say 486")
	}
	c.agent("a1301", "Idle")
	c.agent("a1302", "NotReady(missed offer)")
}

// wrapUp: the second caller waits until the agent is done with the first.
func wrapUp(t *testing.T, c *centre) {
	c.softphoneAgent("1401", "--play", "tone:800", "--hangup-after", "500ms")
	first := c.calls("0902000003", "1914")
	c.reaches("0902000003", "Talking")
	second := c.calls("0902000004", "1914")
	first.report()
	second.report()
	one, two := c.ended("0902000003"), c.ended("0902000004")
	if one.Outcome != "answered" || two.Outcome != "answered" {
		t.Errorf("the log says %+v and %+v", one, two)
	}
	if gap := two.Connected.Sub(one.Ended); gap < 1900*time.Millisecond || gap > 3*time.Second {
		t.Errorf("the second caller was connected %v after the first had ended, want 2 s of wrap-up", gap)
	}
}

// wrapUpEndsEarly: ten minutes of wrap-up, and *14.
func wrapUpEndsEarly(t *testing.T, c *centre) {
	anna := c.baresip("1402", "demo-1402", 800, "udp")
	anna.feature("*11", "Idle")
	for i, number := range []string{"0902000005", "0902000006"} {
		caller := c.calls(number, "1915", "--play", "tone:440")
		if i > 0 {
			c.reaches(number, "Waiting")
			anna.feature("*14", "Offered")
		}
		anna.rings()
		anna.answers()
		c.reaches(number, "Talking")
		anna.hangsUp()
		caller.report()
		if r := c.ended(number); r.Outcome != "answered" || r.HungUpBy != "agent" {
			t.Errorf("the log says %+v", r)
		}
		c.agent("a1402", "WrapUp")
	}
}

// unregistered: the agent is signed in, but there is no phone to ring.
func unregistered(t *testing.T, c *centre) {
	const number = "0902000007"
	phone := c.softphoneAgent("1501")
	phone.hangsUp()
	phone.report()
	c.agent("a1501", "Unreachable")
	caller := c.calls(number, "1916", "--play", "tone:440")
	r := c.reaches(number, "Waiting")
	if got := c.offers(r.Call); got != "" {
		t.Errorf("offers to an agent without a phone: %s", got)
	}
	anna := c.baresip("1501", "demo-1501", 800, "udp") // the phone is back: nothing else is needed
	anna.rings()
	anna.answers()
	c.reaches(number, "Talking")
	caller.hangsUp()
	caller.report()
	anna.hears("CALL_CLOSED")
	if got := c.offers(r.Call); got != "a1501 answered" {
		t.Errorf("offers: %s", got)
	}
}

// lapses: a phone that is gone without a word stops being reachable when its
// registration is over. One that registers again in time goes on ringing.
func lapses(t *testing.T, c *centre) {
	stays := c.baresipWith(fmt.Sprintf("<sip:1503@%s:%d;transport=udp>;regint=30;auth_user=1503;auth_pass=demo-1503", c.ip, sipPort), "1503", 800)
	stays.feature("*11", "Idle")
	phone := c.softphoneAgent("1502", "--expires", "30s")
	phone.kills()
	awaitFor(t, 40*time.Second, "the agent's phone is not reachable", func() bool {
		state, err := tryLog[string](c, `select state from agent_time where agent = 'a1502' and to_at is null`)
		return err == nil && state == "Unreachable"
	})
	c.agent("a1503", "Idle")
	if left := log[int](c, `select count(*) from agent_time where agent = 'a1503' and state = 'Unreachable' and from_at > (select min(to_at) from agent_time where agent = 'a1503' and state = 'Private')`); left != 0 {
		t.Errorf("the phone that registered again was not reachable %d times", left)
	}
}

// crowd: callers who come and go faster than anybody could answer.
func crowd(t *testing.T, c *centre) {
	const all = 50
	callers := c.sipp("crowd.xml", "0905000", "1919", 440, "-m", fmt.Sprint(all), "-r", "25", "-l", fmt.Sprint(all))
	callers.endsWell()
	await(t, "all calls are in the log as abandoned", func() bool {
		n, err := tryLog[int](c, `select count(*) from missed_calls where number = '1919' and outcome = 'abandoned' and stage = 'Waiting' and wait_ms between 900 and 3000`)
		return err == nil && n == all
	})
}

// agentDies: no BYE, no sound. The caller is not left on the line for ever.
func agentDies(t *testing.T, c *centre) {
	const number = "0902000010"
	agent := c.softphoneAgent("1801", "--play", "tone:800")
	caller := c.calls(number, "1920", "--play", "tone:440")
	c.reaches(number, "Talking")
	agent.kills()
	caller.ends(65 * time.Second)
	if r := c.ended(number); r.Outcome != "answered" || r.HungUpBy != "system" || r.Stage != "Talking" {
		t.Errorf("the log says %+v", r)
	}
}

// callerDies: the agent is free again.
func callerDies(t *testing.T, c *centre) {
	const number = "0902000011"
	agent := c.baresip("1802", "demo-1802", 800, "udp")
	agent.feature("*11", "Idle")
	caller := c.calls(number, "1921", "--play", "tone:440")
	agent.rings()
	agent.answers()
	c.reaches(number, "Talking")
	caller.kills()
	awaitFor(t, 65*time.Second, "the agent is free again", func() bool {
		state, err := tryLog[string](c, `select state from agent_time where agent = 'a1802' and to_at is null`)
		return err == nil && state == "Idle"
	})
	agent.hears("CALL_CLOSED")
	if r := c.ended(number); r.Outcome != "answered" || r.HungUpBy != "system" {
		t.Errorf("the log says %+v", r)
	}
}

// twoPhones: one agent, two phones. Both ring, one answers, and the other shows
// no missed call (RFC 3326).
func twoPhones(t *testing.T, c *centre) {
	const number = "0902000008"
	table := c.baresip("1601", "demo-1601", 800, "udp")
	pocket := c.baresip("1601", "demo-1601", 900, "udp")
	table.feature("*11", "Idle")
	caller := c.calls(number, "1918", "--play", "tone:440")
	table.rings()
	pocket.rings()
	pocket.answers()
	table.hears("CALL_CLOSED")
	c.reaches(number, "Talking")
	pocket.hangsUp()
	caller.report()
	r := c.ended(number)
	if got := c.offers(r.Call); got != "a1601 answered" {
		t.Errorf("offers: %s", got)
	}
	cancels := c.wire.messages("CANCEL sip:1601")
	if len(cancels) != 1 || !strings.Contains(answer{text: cancels[0].text}.header("Reason"), "cause=200") {
		t.Errorf("want one CANCEL that says who answered: %v", cancels)
	}
}

// desk: a phone with a fixed address, whose agent is ready from the start.
func desk(t *testing.T, c *centre) {
	const number = "0902000009"
	c.agent("a1701", "Idle")
	phone := &softphone{starts(t, "softphone desk", ourCommand(t, "softphone", "agent", "--listen", "127.0.0.1:14060", "--calls", "1", "--play", "tone:800")), c}
	phone.says(0, "waiting for calls")
	caller := c.calls(number, "1917", "--play", "tone:440")
	c.reaches(number, "Talking")
	caller.signals(syscall.SIGTERM)
	caller.report()
	if report := phone.report(); len(report.Calls) != 1 || report.Calls[0].HungUpBy != "remote" || report.Calls[0].PeerName != "desk: "+number {
		t.Errorf("the phone says %+v", report)
	}
	if r := c.ended(number); r.Outcome != "answered" || r.Agent != "a1701" {
		t.Errorf("the log says %+v", r)
	}
}
