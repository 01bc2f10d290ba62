package live

import (
	"context"
	"errors"
	"testing"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
	"hotline/ivr"
)

func TestCallerTalksToAnAgent(t *testing.T) {
	c := newCentre(t, "anna").opens()
	caller, gone := c.dials("1901")
	g := c.rings()
	if g.Agent != "anna" || g.Display != "support: Lan 0901234567" || g.From != "0901234567" {
		t.Errorf("rang %s with %q from %q", g.Agent, g.Display, g.From)
	}
	anna := g.answers()
	c.until("connected", is[journal.RecordingStarted](nil))
	anna.hangsUp()
	wait(t, "the story's end", gone)
	wait(t, "BYE to the caller", caller.Done())

	facts := c.until("ended", is[journal.CallEnded](nil))
	inOrder(t, facts, "ServiceStarted", "Configured", "AgentSignedIn", "CallArrived", "CallAnswered", "CallQueued", "Offer",
		"PhoneRang", "OfferAccepted", "Connect", "CallConnected", "OfferEnded", "VisitEnded", "RecordingStarted",
		"RecordingClosed", "TalkEnded", "LegEnded", "LegEnded", "CallEnded")
	end := the[journal.CallEnded](t, facts)
	if end.Outcome != journal.Answered || end.HungUpBy != journal.Agent || end.Stage != journal.Talking {
		t.Errorf("ended as %+v", end)
	}
}

func TestCallerHangsUpWhileThePhoneRings(t *testing.T) {
	c := newCentre(t, "anna").opens()
	caller, gone := c.dials("1901")
	g := c.rings()
	g.rang()
	c.until("rang", is[journal.PhoneRang](nil))
	caller.hangsUp()
	wait(t, "the phone stops ringing", g.leg.Done())
	wait(t, "the story's end", gone)
	facts := c.until("ended", is[journal.CallEnded](nil))
	if end := the[journal.CallEnded](t, facts); end.Outcome != journal.Abandoned || end.Stage != journal.Ringing {
		t.Errorf("ended as %+v", end)
	}
	if o := the[acd.OfferEnded](t, facts); o.Result != acd.OfferCallerGone {
		t.Errorf("offer ended as %+v", o)
	}
}

func TestCallerHangsUpWhileWaiting(t *testing.T) {
	c := newCentre(t).opens()
	caller, gone := c.dials("1901")
	c.until("queued", is[acd.CallQueued](nil))
	caller.hangsUp()
	wait(t, "the story's end", gone)
	facts := c.until("ended", is[journal.CallEnded](nil))
	if end := the[journal.CallEnded](t, facts); end.Outcome != journal.Abandoned || end.Stage != journal.Waiting || end.HungUpBy != journal.Caller {
		t.Errorf("ended as %+v", end)
	}
}

// The caller keeps the place when a phone is busy, and when an agent answers
// and drops before the bridge (domain rules 11 and 12).
func TestCallerIsOfferedToTheNextAgent(t *testing.T) {
	c := newCentre(t, "anna", "bao", "chi").opens()
	_, gone := c.dials("1901")
	first := c.rings()
	first.refuses(acd.OfferBusy)
	second := c.rings()
	if second.Agent == first.Agent {
		t.Fatalf("%s is rung again at once", first.Agent)
	}
	second.leg.hangsUp() // answers and is gone in the same moment
	second.rang()
	second.result <- nil
	third := c.rings()
	last := third.answers()
	c.until("connected", is[acd.CallConnected](nil))
	last.hangsUp()
	wait(t, "the story's end", gone)
	results := map[acd.AgentID]acd.OfferResult{}
	for _, f := range c.until("ended", is[journal.CallEnded](nil)) {
		if o, ok := f.(acd.OfferEnded); ok {
			if r, twice := results[o.Agent]; twice {
				t.Errorf("%s's offer ended twice: %s, %s", o.Agent, r, o.Result)
			}
			results[o.Agent] = o.Result
		}
	}
	if results[first.Agent] != acd.OfferBusy || results[second.Agent] != acd.OfferDroppedEarly {
		t.Errorf("offers ended as %v", results)
	}
}

func TestAPanicEndsOneCallOnly(t *testing.T) {
	c := newCentre(t, "anna")
	c.cfg.Numbers["13"] = flowFunc(func(context.Context) error { panic("unlucky") })
	c.opens()
	caller, gone := c.dials("13")
	wait(t, "the story's end", gone)
	wait(t, "the caller's leg", caller.Done())
	if end := the[journal.CallEnded](t, c.until("ended", is[journal.CallEnded](nil))); end.Outcome != journal.Failed {
		t.Errorf("ended as %+v", end)
	}
	c.dials("1901")
	c.rings() // the others go on
}

func TestAFlowThatFailsIsOurFault(t *testing.T) {
	c := newCentre(t)
	c.cfg.Numbers["13"] = flowFunc(func(context.Context) error { return errors.New("no such prompt") })
	c.opens()
	caller, gone := c.dials("13")
	c.until("answered", is[journal.CallAnswered](nil))
	caller.hangsUp() // do not hear the apology out
	wait(t, "the story's end", gone)
	if end := the[journal.CallEnded](t, c.until("ended", is[journal.CallEnded](nil))); end.Outcome != journal.Failed && end.Outcome != journal.LeftInFlow {
		t.Errorf("ended as %+v", end)
	}
}

func TestLeavingInTheFlow(t *testing.T) {
	c := newCentre(t)
	entered := make(chan struct{})
	c.cfg.Numbers["1900"] = flowFunc(func(ctx context.Context) error { close(entered); <-ctx.Done(); return context.Cause(ctx) })
	c.opens()
	caller, gone := c.dials("1900")
	wait(t, "the flow", entered)
	caller.hangsUp()
	wait(t, "the story's end", gone)
	if end := the[journal.CallEnded](t, c.until("ended", is[journal.CallEnded](nil))); end.Outcome != journal.LeftInFlow || end.HungUpBy != journal.Caller {
		t.Errorf("ended as %+v", end)
	}
}

func TestHold(t *testing.T) {
	c := newCentre(t, "anna").opens()
	_, gone := c.dials("1901")
	anna := c.rings().answers()
	c.until("connected", is[acd.CallConnected](nil))
	anna.holds <- true
	anna.holds <- true // a refresh of the same hold
	c.until("held", is[journal.HoldStarted](nil))
	anna.holds <- false
	c.until("back", is[journal.HoldEnded](nil))
	anna.holds <- true
	anna.hangsUp()
	wait(t, "the story's end", gone)
	started, ended := 0, 0
	for _, f := range c.until("ended", is[journal.CallEnded](nil)) {
		switch f.(type) {
		case journal.HoldStarted:
			started++
		case journal.HoldEnded:
			ended++
		}
	}
	if started != ended || started < 1 || started > 2 {
		t.Errorf("%d holds started, %d ended", started, ended)
	}
}

func TestFeatureCodes(t *testing.T) {
	c := newCentre(t, "anna")
	c.cfg.Agents[0].Start = false
	c.opens()
	for _, step := range []struct {
		code     string
		presence acd.Presence
		reason   string
	}{
		{"*11", acd.Ready, ""},
		{"*12", acd.NotReady, "break"},
		{"*121", acd.NotReady, "meal"},
		{"*13", acd.SignedOut, ""},
	} {
		_, gone := c.dials(step.code, "anna")
		wait(t, "the confirmation's end", gone)
		var last acd.AgentChanged
		c.until(step.code, func(f journal.Fact) bool {
			if a, ok := f.(acd.AgentChanged); ok {
				last = a
			}
			return last.Presence == step.presence && last.Reason == step.reason && !last.Private
		})
	}
	for _, f := range c.until("stopped being private", is[acd.PrivateCallEnded](nil)) {
		if _, ok := f.(journal.CallArrived); ok {
			t.Error("a feature code stands in the call log")
		}
	}
}

func TestNoOfferRingsAPhoneInAFeatureCode(t *testing.T) {
	c := newCentre(t, "anna")
	c.cfg.Agents[0].Start = false
	c.opens()
	caller, _ := c.dials("1901")
	c.until("queued", is[acd.CallQueued](nil))
	_, confirmed := c.dials("*11", "anna")
	g := c.rings()
	wait(t, "the confirmation's end", confirmed)
	facts := c.until("offered", is[acd.Offer](nil))
	inOrder(t, facts, "AgentSignedIn", "PrivateCallEnded", "Offer")
	g.rang()
	caller.hangsUp()
}

// After kill -9: what was open is failed at the last moment seen, both phones
// get BYE, the recording is repaired, and the agent is still signed in.
func TestAfterACrash(t *testing.T) {
	c := newCentre(t, "anna")
	c.cfg.Agents[0].Start = false
	c.opens()
	c.referee.Tell(acd.AgentSignedIn{Agent: "anna"})
	caller, gone := c.dials("1901")
	anna := c.rings().answers()
	c.referee.Tell(journal.DialogOpened{Dialog: "d1", State: []byte(`"caller's"`)})
	c.referee.Tell(journal.DialogOpened{Dialog: "d2", State: []byte(`"agent's"`)})
	c.referee.Tell(journal.DialogOpened{Dialog: "d3", State: []byte(`"over"`)})
	c.referee.Tell(journal.DialogClosed{Dialog: "d3"})
	c.until("recorded", is[journal.RecordingStarted](nil))
	c.until("closed", is[journal.DialogClosed](nil))
	before := c.until("recorded", is[journal.DialogClosed](nil))
	file := the[journal.RecordingStarted](t, c.until("recorded", is[journal.RecordingStarted](nil))).File
	c.crashes()
	crashed := c.referee
	defer func() { caller.hangsUp(); anna.hangsUp(); wait(t, "the old story", gone); crashed.Close() }()

	c.cfg.Phones = c.phones
	c.opens()
	c.until("the snapshot of the new run", snapshots(2))
	c.until("BYE", func() func(journal.Fact) bool {
		n := 0
		return func(f journal.Fact) bool {
			if _, ok := f.(journal.DialogClosed); ok {
				n++
			}
			return n == 3
		}
	}())
	facts := c.until("the snapshot of the new run", snapshots(2))[len(before):]
	end := the[journal.CallEnded](t, facts)
	started := the[journal.ServiceStarted](t, facts)
	if end.Outcome != journal.Failed || end.Stage != journal.Talking || end.HungUpBy != journal.System || !end.EndedAt.Equal(started.LastSeen) || end.EndedAt.IsZero() {
		t.Errorf("ended as %+v, last seen %v", end, started.LastSeen)
	}
	if started.Clean {
		t.Error("a crash counts as a clean end")
	}
	var signedOut, signedIn time.Time
	for _, e := range c.entries() {
		if a, ok := e.Fact.(acd.AgentChanged); ok {
			if a.Presence == acd.SignedOut {
				signedOut = e.At
			} else if signedIn.Before(signedOut) || signedIn.IsZero() {
				signedIn = e.At
			}
		}
	}
	if !signedIn.Equal(signedOut) {
		t.Errorf("the restart signed an agent out, from %v to %v", signedOut, signedIn)
	}
	if len(c.tapes.repaired) != 1 || c.tapes.repaired[0] != file {
		t.Errorf("repaired %v, want %s", c.tapes.repaired, file)
	}
	c.phones.mu.Lock()
	byes := len(c.phones.byes)
	c.phones.mu.Unlock()
	if byes != 2 {
		t.Errorf("%d phones got BYE, want 2", byes)
	}
	c.dials("1901")
	if g := c.rings(); g.Agent != "anna" {
		t.Errorf("rang %s", g.Agent)
	}
}

func snapshots(n int) func(journal.Fact) bool {
	return func(f journal.Fact) bool {
		if _, ok := f.(journal.FloorSnapshot); ok {
			n--
		}
		return n == 0
	}
}

// Closing time: waiters hear a goodbye and leave, talks end at the deadline.
func TestClosingTime(t *testing.T) {
	c := newCentre(t, "anna").opens()
	_, talked := c.dials("1901")
	c.rings().answers()
	c.until("connected", is[acd.CallConnected](nil))
	waiter, waited := c.dials("1901")
	c.until("both queued", func() func(journal.Fact) bool {
		n := 0
		return func(f journal.Fact) bool {
			if _, ok := f.(acd.CallQueued); ok {
				n++
			}
			return n == 2
		}
	}())
	deadline, now := context.WithCancel(t.Context())
	drained := make(chan struct{})
	go func() { defer close(drained); c.referee.Drain(deadline) }()
	wait(t, "the waiter's goodbye", waited)
	wait(t, "the waiter's BYE", waiter.Done())
	select {
	case <-talked:
		t.Fatal("the talk was cut before the deadline")
	default:
	}
	now()
	wait(t, "the talk's end", talked)
	wait(t, "the drain's end", drained)
	ends := map[journal.Outcome]int{}
	for _, f := range c.until("both ended", func() func(journal.Fact) bool {
		n := 0
		return func(f journal.Fact) bool {
			if _, ok := f.(journal.CallEnded); ok {
				n++
			}
			return n == 2
		}
	}()) {
		if e, ok := f.(journal.CallEnded); ok {
			ends[e.Outcome]++
		}
	}
	if ends[journal.Closed] != 1 || ends[journal.Answered] != 1 {
		t.Errorf("outcomes %v", ends)
	}
}

// A queue's longest wait ends in the flow, not in silence.
func TestLongestWait(t *testing.T) {
	c := newCentre(t)
	q := support
	q.MaxWait = time.Millisecond
	c.cfg.Floor.Queues = []acd.Queue{q}
	c.opens()
	_, gone := c.dials("1901")
	wait(t, "the story's end", gone)
	if end := the[journal.CallEnded](t, c.until("ended", is[journal.CallEnded](nil))); end.Outcome != journal.TimedOut || end.HungUpBy != journal.System {
		t.Errorf("ended as %+v", end)
	}
}

func TestACallGoesOnWithoutItsRecording(t *testing.T) {
	c := newCentre(t, "anna")
	c.tapes.fail = errors.New("no space left on device")
	c.opens()
	caller, gone := c.dials("1901")
	anna := c.rings().answers()
	c.until("alarm", is[journal.Alarm](nil))
	select {
	case <-anna.Done():
		t.Fatal("the talk ended")
	default:
	}
	caller.hangsUp()
	wait(t, "the agent's BYE", anna.Done())
	wait(t, "the story's end", gone)
	if end := the[journal.CallEnded](t, c.until("ended", is[journal.CallEnded](nil))); end.Outcome != journal.Answered || end.HungUpBy != journal.Caller {
		t.Errorf("ended as %+v", end)
	}
}

// flowFunc is a flow that never reaches a queue.
type flowFunc func(ctx context.Context) error

func (f flowFunc) Run(ctx context.Context, _ ivr.Voice, _ ivr.Trace) (ivr.Choice, error) {
	return ivr.Choice{}, f(ctx)
}

// No agent is rung for a caller whose phone has died in the queue.
func TestAGhostInTheQueueIsFound(t *testing.T) {
	c := newCentre(t)
	c.cfg.watch = quickWatch
	c.opens()
	caller, gone := c.dials("1901")
	c.until("queued", is[acd.CallQueued](nil))
	caller.gone.Store(true)
	wait(t, "the story's end", gone)
	facts := c.until("ended", is[journal.CallEnded](nil))
	end := the[journal.CallEnded](t, facts)
	if end.Outcome != journal.Failed || end.Stage != journal.Waiting || end.HungUpBy != journal.System || end.Detail != "caller's phone is gone" {
		t.Errorf("ended as %+v", end)
	}
	if v := the[acd.VisitEnded](t, facts); v.Result != acd.VisitFailed {
		t.Errorf("the visit ended as %+v", v)
	}
}

var quickWatch = watch{first: 50 * time.Millisecond, steady: 50 * time.Millisecond, answer: time.Second, every: 10 * time.Millisecond, askAgain: 20 * time.Millisecond}

// Rule 3: a phone that is gone without a BYE is found, one on mute is not cut.
func TestAGhostIsFoundAndAMutedPhoneIsNot(t *testing.T) {
	c := newCentre(t, "anna")
	c.cfg.watch = quickWatch
	c.opens()
	caller, gone := c.dials("1901")
	g := c.rings()
	anna := g.answers()
	asked := func(l *leg, times int64) {
		for l.asked.Load() < times {
			select {
			case <-l.heard:
			case <-l.Done():
				t.Fatal("a phone on mute was cut off")
			}
		}
	}
	asked(caller, 2)
	asked(anna, 2)
	anna.gone.Store(true)
	wait(t, "the story's end", gone)
	wait(t, "BYE to the caller", caller.Done())
	end := the[journal.CallEnded](t, c.until("ended", is[journal.CallEnded](nil)))
	if end.Outcome != journal.Answered || end.HungUpBy != journal.System || end.Detail != "agent's phone is gone" {
		t.Errorf("ended as %+v", end)
	}
}
