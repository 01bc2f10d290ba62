package calllog

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hotline/acd"
	"hotline/acd/journal"
)

const (
	sec  = time.Second
	msec = time.Millisecond
)

// answeredCall is a whole call: menus, one agent who does not answer, one who
// does, a hold, the caller hangs up, wrap-up.
func answeredCall() *tale {
	return newTale().
		at(0, journal.ServiceStarted{Version: "v1"},
			journal.AgentsNamed{Agents: []journal.AgentName{{Agent: "ann", Name: "Ann", Extension: "1001"}, {Agent: "ben", Name: "Ben", Extension: "1002"}}},
			acd.AgentChanged{Agent: "ann", Presence: acd.SignedOut, Work: acd.Idle},
			acd.AgentChanged{Agent: "ben", Presence: acd.SignedOut, Work: acd.Idle}).
		at(1*sec, acd.AgentSignedIn{Agent: "ann"}, isReady("ann", acd.Idle, ""), isReady("ben", acd.Idle, "")).
		at(10*sec, journal.CallArrived{Call: "c1", Number: "1900", Caller: "0901234567", Name: "Lan", Trunk: "carrier"}).
		at(10*sec+200*msec, journal.CallAnswered{Call: "c1"}, journal.StepEntered{Call: "c1", Step: "language"}).
		at(13*sec, journal.DigitPressed{Call: "c1", Key: "1", Party: journal.Caller}, journal.LanguageChosen{Call: "c1", Language: "vi"}).
		at(15*sec, acd.CallQueued{Call: "c1", Queue: "support", Priority: 2},
			acd.Offer{Offer: 1, Call: "c1", Agent: "ann", Queue: "support", Until: morning.Add(35 * sec)}, isReady("ann", acd.Offered, "c1")).
		at(16*sec, journal.PhoneRang{Offer: 1, Call: "c1", Agent: "ann"}).
		at(35*sec, acd.Tick{}, acd.Withdraw{Offer: 1, Call: "c1", Agent: "ann", Result: acd.OfferNoAnswer},
			acd.OfferEnded{Offer: 1, Call: "c1", Agent: "ann", Queue: "support", Result: acd.OfferNoAnswer},
			acd.AgentChanged{Agent: "ann", Presence: acd.NotReady, Reason: "missed offer", Work: acd.Idle, Reachable: true},
			acd.Offer{Offer: 2, Call: "c1", Agent: "ben", Queue: "support"}, isReady("ben", acd.Offered, "c1")).
		at(35*sec+500*msec, journal.PhoneRang{Offer: 2, Call: "c1", Agent: "ben"}).
		at(38*sec, acd.OfferAccepted{Offer: 2}, acd.Connect{Offer: 2, Call: "c1", Agent: "ben", Queue: "support"}).
		at(38*sec+40*msec, acd.CallConnected{Offer: 2},
			acd.OfferEnded{Offer: 2, Call: "c1", Agent: "ben", Queue: "support", Result: acd.OfferAnswered},
			acd.VisitEnded{Call: "c1", Queue: "support", Result: acd.VisitAnswered, Agent: "ben", Waited: 23*sec + 40*msec},
			isReady("ben", acd.Talking, "c1")).
		at(38*sec+50*msec, journal.RecordingStarted{Call: "c1", File: "/var/rec/c1.wav"}).
		at(60*sec, journal.HoldStarted{Call: "c1", Agent: "ben"}).
		at(70*sec, journal.HoldEnded{Call: "c1", Agent: "ben"}).
		at(98*sec+40*msec, acd.CallerHungUp{Call: "c1"}, isReady("ben", acd.WrapUp, "c1")).
		at(98*sec+40*msec, acd.TalkEnded{Call: "c1", Agent: "ben"}, // crossed
			journal.LegEnded{Call: "c1", Party: journal.Caller, Leg: "x@y", Detail: "BYE", Codec: "PCMU", Sent: 10, Received: 9, Lost: 1, Jitter: 3 * msec},
			journal.RecordingClosed{Call: "c1", File: "/var/rec/c1.wav", Length: 60 * sec},
			journal.CallEnded{Call: "c1", Outcome: journal.Answered, Stage: journal.Talking, HungUpBy: journal.Caller, Detail: "BYE"}).
		at(108*sec, acd.Tick{}, isReady("ben", acd.Idle, ""))
}

func TestAnsweredCall(t *testing.T) {
	l := told(t, answeredCall())
	audit(t, l)
	calls, err := l.Calls(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	want := []Call{{
		CallID: "c1", Number: "1900", Caller: "0901234567", Language: "vi", Queue: "support", Agent: "ben",
		Outcome: "answered", Stage: "Talking",
		ArrivedAt: morning.Add(10 * sec), AnsweredAt: after(10*sec + 200*msec), QueuedAt: after(15 * sec),
		ConnectedAt: after(38*sec + 40*msec), EndedAt: after(98*sec + 40*msec),
		WaitMS: ms(23040), RingMS: ms(19000 + 2500), TalkMS: ms(50000), HoldMS: ms(10000),
		HungUpBy: "caller", Recording: "/var/rec/c1.wav",
	}}
	if d := cmp.Diff(want, calls); d != "" {
		t.Error(d)
	}
	if missed, err := l.Missed(t.Context(), Filter{}); err != nil || len(missed) != 0 {
		t.Errorf("missed: %v, %v", missed, err)
	}
	same(t, "offers", lines(t, l, "select * from offers order by started_at"), `
		c1 ann 15s 35s no_answer 19000
		c1 ben 35s 38.04s answered 2500`)
	same(t, "visits", lines(t, l, "select * from log.visits"), `
		c1 1 support 2 15s 38.04s 38.04s answered ben`)
	same(t, "segments", lines(t, l, "select segment, agent, from_at, to_at from log.segments order by from_at"), `
		Flow - 10s 15s
		Ringing - 15s 35s
		Ringing - 35s 38.04s
		Talking ben 38.04s 1m0s
		Hold ben 1m0s 1m10s
		Talking ben 1m10s 1m38.04s`)
	same(t, "agent_time", lines(t, l, "select * from agent_time order by agent, from_at"), `
		ann SignedOut - 0s 1s
		ann Idle - 1s 15s
		ann Offered - 15s 35s
		ann NotReady missed offer 35s -
		ben SignedOut - 0s 1s
		ben Idle - 1s 35s
		ben Offered - 35s 38.04s
		ben Talking - 38.04s 1m0s
		ben Hold - 1m0s 1m10s
		ben Talking - 1m10s 1m38.04s
		ben WrapUp - 1m38.04s 1m48s
		ben Idle - 1m48s -`)
	same(t, "legs", lines(t, l, "select * from log.legs"), `
		c1 x@y caller - BYE PCMU 10 9 1 0 3000 0 1m38.04s`)
	same(t, "agents", lines(t, l, "select agent, name, extension from log.agents order by 1"), `
		ann Ann 1001
		ben Ben 1002`)
}

func same(t *testing.T, what, got, want string) {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(strings.TrimPrefix(want, "\n")) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	if d := cmp.Diff(b.String(), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// Every moment of the story is in the log as it happens, and a new projection
// at every single fact makes the same log as one for all.
func TestEveryFactInATransactionOfItsOwn(t *testing.T) {
	want := everything(t, told(t, answeredCall()))
	dsn := database(t)
	j := openJournal(t, t.TempDir())
	var stages, waits []string
	for _, e := range answeredCall().entries {
		keep(t, j, []journal.Entry{e})
		l := openLog(t, dsn)
		catchUp(t, l, j)
		if row := lines(t, l, "select stage, coalesce(outcome, 'open') from call_log"); row != "" && (len(stages) == 0 || stages[len(stages)-1] != row) {
			stages = append(stages, row)
			waits = append(waits, lines(t, l, "select wait_ms, talk_ms from call_log"))
		}
		l.Close()
	}
	l := openLog(t, dsn)
	if d := cmp.Diff(want, everything(t, l)); d != "" {
		t.Error(d)
	}
	same(t, "stages", strings.Join(stages, ""), `
		Flow open
		Waiting open
		Ringing open
		Waiting open
		Ringing open
		Talking open
		Hold open
		Talking open
		Flow open
		Talking answered`)
	same(t, "wait and talk", strings.Join(waits, ""), `
		- -
		- -
		- -
		- -
		- -
		23040 -
		23040 21960
		23040 21960
		23040 50000
		23040 50000`)
}

func TestMissedCalls(t *testing.T) {
	s := newTale()
	arrive := func(at time.Duration, call acd.CallID, caller string) {
		s.at(at, journal.CallArrived{Call: call, Number: "1901", Caller: caller}, journal.CallAnswered{Call: call})
	}
	end := func(call acd.CallID, o journal.Outcome, stage journal.Stage, by journal.Party) journal.CallEnded {
		return journal.CallEnded{Call: call, Outcome: o, Stage: stage, HungUpBy: by}
	}
	// Hung up while waiting.
	arrive(0, "waiting", "111")
	s.at(1*sec, acd.CallQueued{Call: "waiting", Queue: "support"})
	s.at(9*sec, acd.CallerHungUp{Call: "waiting"}, acd.VisitEnded{Call: "waiting", Queue: "support", Result: acd.VisitAbandoned},
		end("waiting", journal.Abandoned, journal.Waiting, journal.Caller))
	// Hung up while two phones rang; the end was written before the floor's word.
	arrive(20*sec, "ringing", "111")
	s.at(21*sec, acd.CallQueued{Call: "ringing", Queue: "support"},
		acd.Offer{Offer: 1, Call: "ringing", Agent: "ann", Queue: "support"}, acd.Offer{Offer: 2, Call: "ringing", Agent: "ben", Queue: "support"})
	s.at(22*sec, journal.PhoneRang{Offer: 1, Call: "ringing", Agent: "ann"})
	s.at(25*sec, end("ringing", journal.Abandoned, journal.Ringing, journal.Caller),
		acd.OfferEnded{Offer: 1, Call: "ringing", Agent: "ann", Queue: "support", Result: acd.OfferCallerGone},
		acd.OfferEnded{Offer: 2, Call: "ringing", Agent: "ben", Queue: "support", Result: acd.OfferCallerGone},
		acd.VisitEnded{Call: "ringing", Queue: "support", Result: acd.VisitAbandoned})
	// Left in the flow: before a queue that is nobody's loss, behind one it is.
	arrive(30*sec, "flow", "222")
	s.at(33*sec, end("flow", journal.LeftInFlow, journal.Flow, journal.Caller))
	arrive(40*sec, "behind", "222")
	s.at(41*sec, acd.CallQueued{Call: "behind", Queue: "support"})
	s.at(51*sec, acd.VisitEnded{Call: "behind", Queue: "support", Result: acd.VisitTimedOut})
	s.at(54*sec, end("behind", journal.LeftInFlow, journal.Flow, journal.Caller))
	// Overflow: two visits, nobody.
	arrive(60*sec, "overflow", "")
	s.at(61*sec, acd.CallQueued{Call: "overflow", Queue: "support"})
	s.at(71*sec, acd.CallQueued{Call: "overflow", Queue: "sales"}, acd.VisitEnded{Call: "overflow", Queue: "support", Result: acd.VisitMoved})
	s.at(76*sec, acd.VisitEnded{Call: "overflow", Queue: "sales", Result: acd.VisitTimedOut})
	s.at(80*sec, end("overflow", journal.TimedOut, journal.Flow, journal.System))
	// Refused at the door.
	arrive(90*sec, "full", "")
	s.at(91*sec, acd.CallQueued{Call: "full", Queue: "support"}, acd.VisitEnded{Call: "full", Queue: "support", Result: acd.VisitFull},
		end("full", journal.Full, journal.Flow, journal.System))
	for _, o := range []journal.Outcome{journal.SelfServed, journal.Blocked} {
		arrive(100*sec, acd.CallID(o), "333")
		s.at(101*sec, end(acd.CallID(o), o, journal.Flow, journal.System))
	}
	s.at(110*sec, journal.CallArrived{Call: "internal", Number: "1901", Caller: "1001", Agent: "ann", Direction: "internal"},
		end("internal", journal.Failed, journal.Flow, journal.System))
	// A day later, and this time somebody answers.
	s.at(24*time.Hour+21*sec, journal.CallArrived{Call: "again", Number: "1901", Caller: "111"}, acd.CallQueued{Call: "again", Queue: "support"},
		acd.Offer{Offer: 3, Call: "again", Agent: "ann", Queue: "support"}, acd.OfferAccepted{Offer: 3}, acd.CallConnected{Offer: 3},
		acd.OfferEnded{Offer: 3, Call: "again", Agent: "ann", Queue: "support", Result: acd.OfferAnswered},
		acd.VisitEnded{Call: "again", Queue: "support", Result: acd.VisitAnswered, Agent: "ann"})
	s.at(24*time.Hour+30*sec, end("again", journal.Answered, journal.Talking, journal.Agent))
	s.at(24*time.Hour+40*sec, journal.CallArrived{Call: "rejected", Number: "1901", Caller: "111"}, end("rejected", journal.Rejected, journal.Flow, journal.System))

	l := told(t, s)
	audit(t, l)
	same(t, "missed", lines(t, l, "select call_id, caller, queue, outcome, stage, wait_ms, tries, got_through_at from missed_calls order by arrived_at"), `
		waiting 111 support abandoned Waiting 8000 1 24h0m21s
		ringing 111 support abandoned Ringing 4000 2 24h0m21s
		behind 222 support left_in_flow Flow 10000 2 -
		overflow - sales timed_out Flow 15000 1 -
		full - support full Flow 0 1 -
		rejected 111 - rejected Flow - 2 -`)
	same(t, "ring", lines(t, l, "select ring_ms, agent from call_log where call_id = 'ringing'"), `
		7000 ben`)

	for want, f := range map[string]Filter{
		"rejected full overflow behind ringing waiting": {},
		"rejected full":          {Limit: 2},
		"full behind ringing":    {Queue: "support", Since: morning.Add(20 * sec)},
		"behind ringing waiting": {Until: morning.Add(60 * sec)},
	} {
		missed, err := l.Missed(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range missed {
			got = append(got, m.CallID)
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%+v: %s", f, s)
		}
	}
}

// A call that goes to a second agent counts both talks, and the first agent
// and queue are the ones that the log names.
func TestSecondConnectionKeepsTheFirstAgent(t *testing.T) {
	connect := func(s *tale, at time.Duration, n acd.OfferID, agent acd.AgentID, queue acd.QueueID) {
		s.at(at, acd.CallQueued{Call: "c", Queue: queue}, acd.Offer{Offer: n, Call: "c", Agent: agent, Queue: queue})
		s.at(at+2*sec, acd.OfferAccepted{Offer: n})
		s.at(at+3*sec, acd.CallConnected{Offer: n}, acd.OfferEnded{Offer: n, Call: "c", Agent: agent, Queue: queue, Result: acd.OfferAnswered},
			acd.VisitEnded{Call: "c", Queue: queue, Result: acd.VisitAnswered, Agent: agent}, acd.CallConnected{Offer: n})
	}
	s := newTale().at(0, journal.CallArrived{Call: "c", Number: "1901", Caller: "1"})
	connect(s, 1*sec, 1, "ann", "support")
	connect(s, 14*sec, 2, "ben", "sales") // straight out of the talk
	s.at(20*sec, acd.TalkEnded{Call: "c", Agent: "ann"}, acd.TalkEnded{Call: "c", Agent: "ben"})
	s.at(22*sec, journal.CallEnded{Call: "c", Outcome: journal.Answered, Stage: journal.Flow, HungUpBy: journal.Caller})
	l := told(t, s)
	audit(t, l)
	same(t, "call", lines(t, l, "select queue, agent, wait_ms, ring_ms, talk_ms, hold_ms from call_log"), `
		support ann 3000 2000 13000 0`)
}

func TestStateOfAnAgent(t *testing.T) {
	change := func(c acd.AgentChanged) acd.AgentChanged { c.Agent = "ann"; return c }
	s := newTale()
	for i, c := range []acd.AgentChanged{
		{Presence: acd.SignedOut, Work: acd.Idle},
		{Presence: acd.SignedOut, Work: acd.Idle, Reachable: true}, // no change of the state
		{Presence: acd.Ready, Work: acd.Idle},
		{Presence: acd.Ready, Work: acd.Idle, Reachable: true},
		{Presence: acd.NotReady, Reason: "lunch", Work: acd.Idle, Reachable: true},
		{Presence: acd.NotReady, Reason: "toilet", Work: acd.Idle},
		{Presence: acd.NotReady, Reason: "toilet", Work: acd.Idle, Private: true},
		{Presence: acd.Ready, Work: acd.Offered, Reachable: true},
		{Presence: acd.NotReady, Reason: "lunch", Work: acd.Talking, Reachable: true, Call: "c"},
		{Presence: acd.SignedOut, Work: acd.WrapUp, Call: "c"},
	} {
		s.at(time.Duration(i)*sec, change(c))
	}
	// At one moment there and back: nothing happened.
	s.at(20*sec, isReady("ann", acd.Idle, ""), isReady("ann", acd.Offered, "c"), isReady("ann", acd.Idle, ""), change(acd.AgentChanged{Presence: acd.SignedOut, Work: acd.WrapUp, Call: "c"}))
	s.at(30*sec, isReady("ann", acd.Idle, ""), journal.CallArrived{Call: "c", Number: "1"}, journal.HoldStarted{Call: "c", Agent: "ann"}) // not talking: no hold
	s.at(40*sec, isReady("ann", acd.Talking, "c"), journal.HoldStarted{Call: "c", Agent: "ann"})
	s.at(50*sec, acd.AgentChanged{Agent: "ann", Presence: acd.NotReady, Reason: "lunch", Work: acd.Talking, Call: "c"}) // paused on hold: still hold
	s.at(60*sec, isReady("ann", acd.Idle, ""))                                                                          // the hold's end was not told
	s.at(61*sec, journal.HoldEnded{Call: "c", Agent: "ann"})
	s.at(70*sec, isReady("ann", acd.Talking, "d"))
	l := told(t, s)
	same(t, "agent_time", lines(t, l, "select state, reason, from_at, to_at from agent_time order by from_at"), `
		SignedOut - 0s 2s
		Unreachable - 2s 3s
		Idle - 3s 4s
		NotReady lunch 4s 5s
		NotReady toilet 5s 6s
		Private - 6s 7s
		Offered - 7s 8s
		Talking - 8s 9s
		WrapUp - 9s 30s
		Idle - 30s 40s
		Hold - 40s 1m0s
		Idle - 1m0s 1m10s
		Talking - 1m10s -`)
}

// crashed is a service that was killed with a call in each stage.
func crashed() *tale {
	s := newTale().at(0, journal.ServiceStarted{Version: "v1"}, isReady("ann", acd.Idle, ""), isReady("ben", acd.Idle, ""),
		acd.AgentChanged{Agent: "chi", Presence: acd.SignedOut, Work: acd.Idle})
	for i, c := range []acd.CallID{"flow", "waiting", "ringing", "talking"} {
		s.at(time.Duration(i+1)*sec, journal.CallArrived{Call: c, Number: "1901", Caller: string(c)})
		if c != "flow" {
			s.at(s.now.Sub(morning), acd.CallQueued{Call: c, Queue: "support"})
		}
	}
	s.at(5*sec, acd.Offer{Offer: 1, Call: "talking", Agent: "ann", Queue: "support"}, isReady("ann", acd.Offered, "talking"))
	s.at(6*sec, acd.OfferAccepted{Offer: 1}, acd.CallConnected{Offer: 1},
		acd.OfferEnded{Offer: 1, Call: "talking", Agent: "ann", Queue: "support", Result: acd.OfferAnswered},
		acd.VisitEnded{Call: "talking", Queue: "support", Result: acd.VisitAnswered, Agent: "ann"}, isReady("ann", acd.Talking, "talking"))
	s.at(7*sec, acd.Offer{Offer: 2, Call: "ringing", Agent: "ben", Queue: "support"}, isReady("ben", acd.Offered, "ringing"))
	s.at(8*sec, journal.HoldStarted{Call: "talking", Agent: "ann"})
	return s.at(10*sec, journal.Heartbeat{})
}

const (
	crashedCalls = `
		flow failed Flow 10s - - - system
		waiting failed Waiting 10s 8000 - - system
		ringing failed Ringing 10s 7000 - - system
		talking failed Hold 10s 2000 2000 2000 system`
	crashedTime = `
		ann Idle - 0s 5s
		ann Offered - 5s 6s
		ann Talking - 6s 8s
		ann Hold - 8s 10s
		ann Unreachable service down 10s 1m1s
		ann Idle - 1m1s -
		ben Idle - 0s 7s
		ben Offered - 7s 10s
		ben Unreachable service down 10s -
		chi SignedOut - 0s -`
)

func checkCrashed(t *testing.T, l *Log, calls string) {
	t.Helper()
	audit(t, l)
	same(t, "calls", lines(t, l, "select call_id, outcome, stage, ended_at, wait_ms, talk_ms, hold_ms, hung_up_by from call_log order by arrived_at"), calls)
	same(t, "visits and offers", lines(t, l, `select call_id, visit, ended_at, result from log.visits union all
		(select call_id, offer, ended_at, result from log.offers) order by 2, 1`), `
		ringing 1 10s failed
		talking 1 6s answered
		talking 1 6s answered
		waiting 1 10s failed
		ringing 2 10s failed`)
	same(t, "agent_time", lines(t, l, "select * from agent_time order by agent, from_at"), crashedTime)
}

// After a crash what was open is closed at the last moment seen, also when the
// service never says how its calls ended.
func TestCrashClosesWhatWasOpen(t *testing.T) {
	l := told(t, crashed().at(60*sec, journal.ServiceStarted{LastSeen: morning.Add(10 * sec)}).at(61*sec, isReady("ann", acd.Idle, "")))
	checkCrashed(t, l, crashedCalls)
}

func TestCrashAsTheServiceTellsIt(t *testing.T) {
	s := crashed().at(60*sec, journal.ServiceStarted{LastSeen: morning.Add(10 * sec)})
	for _, c := range []struct {
		call  acd.CallID
		stage journal.Stage
	}{{"flow", journal.Flow}, {"waiting", journal.Waiting}, {"ringing", journal.Ringing}, {"talking", journal.Hold}} {
		s.at(60*sec, journal.CallEnded{Call: c.call, Outcome: journal.Failed, Stage: c.stage, HungUpBy: journal.System, EndedAt: morning.Add(10 * sec)})
	}
	s.at(60*sec, acd.VisitEnded{Call: "waiting", Queue: "support", Result: acd.VisitFailed}) // a floor that remembers
	l := told(t, s.at(61*sec, isReady("ann", acd.Idle, "")))
	checkCrashed(t, l, crashedCalls)
	same(t, "presumed", lines(t, l, "select count(*) from log.calls where presumed"), "0")
}

// The journal was deleted with the crash: what the log knows serves as the
// last moment seen.
func TestCrashWithoutAJournal(t *testing.T) {
	l := openLog(t, database(t))
	j := openJournal(t, t.TempDir())
	keep(t, j, crashed().entries)
	catchUp(t, l, j)
	j = openJournal(t, t.TempDir())
	keep(t, j, newTale().at(60*sec, journal.ServiceStarted{}).at(61*sec, isReady("ann", acd.Idle, "")).entries)
	catchUp(t, l, j)
	checkCrashed(t, l, crashedCalls)
	if a := lines(t, l, "select text from log.alarms"); !strings.HasPrefix(a, "the journal that the call log was made from is gone") || strings.Count(a, "\n") != 1 {
		t.Errorf("alarms: %s", a)
	}
}

func TestOrderlyStop(t *testing.T) {
	l := told(t, newTale().
		at(0, journal.ServiceStarted{}, isReady("ann", acd.Idle, ""), acd.AgentChanged{Agent: "ben", Presence: acd.NotReady, Reason: "lunch", Work: acd.Idle},
			acd.AgentChanged{Agent: "chi", Presence: acd.SignedOut, Work: acd.Idle}).
		at(10*sec, journal.ServiceStopped{}).
		at(70*sec, journal.ServiceStarted{LastSeen: morning.Add(10 * sec), Clean: true},
			acd.AgentChanged{Agent: "ann", Presence: acd.SignedOut, Work: acd.Idle}, acd.AgentChanged{Agent: "chi", Presence: acd.SignedOut, Work: acd.Idle}).
		at(71*sec, isReady("ann", acd.Idle, "")))
	audit(t, l)
	same(t, "agent_time", lines(t, l, "select * from agent_time order by agent, from_at"), `
		ann Idle - 0s 10s
		ann Unreachable service down 10s 1m10s
		ann SignedOut - 1m10s 1m11s
		ann Idle - 1m11s -
		ben NotReady lunch 0s 10s
		ben Unreachable service down 10s -
		chi SignedOut - 0s -`)
}

// A second run counts its offers from 1 again.
func TestOfferNumbersStartAgain(t *testing.T) {
	s := newTale()
	for run := range 2 {
		base := time.Duration(run) * time.Minute
		call := acd.CallID(rune('a' + run))
		s.at(base, journal.ServiceStarted{LastSeen: s.now}, journal.CallArrived{Call: call, Number: "1901", Caller: "1"}, acd.CallQueued{Call: call, Queue: "support"})
		for n := range acd.OfferID(2) {
			s.at(base+time.Duration(n)*5*sec, acd.Offer{Offer: n + 1, Call: call, Agent: "ann", Queue: "support"})
			s.at(base+time.Duration(n)*5*sec+2*sec, journal.PhoneRang{Offer: n + 1, Call: call, Agent: "ann"})
			s.at(base+time.Duration(n)*5*sec+4*sec, acd.OfferAccepted{Offer: n + 1})
			if n == 0 {
				s.at(s.now.Sub(morning), acd.OfferEnded{Offer: n + 1, Call: call, Agent: "ann", Queue: "support", Result: acd.OfferDroppedEarly})
			}
		}
		if run == 1 {
			s.at(s.now.Sub(morning), acd.CallConnected{Offer: 2}, acd.OfferEnded{Offer: 2, Call: call, Agent: "ann", Queue: "support", Result: acd.OfferAnswered},
				acd.VisitEnded{Call: call, Queue: "support", Result: acd.VisitAnswered, Agent: "ann"})
			s.at(base+20*sec, journal.CallEnded{Call: call, Outcome: journal.Answered, Stage: journal.Talking, HungUpBy: journal.Agent})
		}
	}
	l := told(t, s)
	audit(t, l)
	same(t, "offers", lines(t, l, "select * from offers order by started_at"), `
		a ann 0s 4s dropped_before_bridge 2000
		a ann 5s 9s failed 2000
		b ann 1m0s 1m4s dropped_before_bridge 2000
		b ann 1m5s 1m9s answered 2000`)
}

func TestWaitingForCaughtUpEndsWithItsContext(t *testing.T) {
	l := openLog(t, database(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.CaughtUp(ctx, journal.Position{Incarnation: "x", Seq: 1}); err == nil {
		t.Error("caught up without projecting")
	}
}
