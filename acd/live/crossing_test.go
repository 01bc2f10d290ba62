package live

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
	"hotline/sip/media"
)

// together makes the loop see all that f lets happen as one batch.
func (c *centre) together(f func()) {
	c.t.Helper()
	hold := told{fact: acd.Tick{}, stands: make(chan bool)} // the loop waits until somebody listens
	c.referee.inbox <- hold
	c.waits("the loop to hold", func() bool { return len(c.referee.inbox) == 0 })
	f()
	<-hold.stands
}

// waits for something that tells nobody.
func (c *centre) waits(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			c.t.Fatalf("never: %s", what)
		}
	}
}

func ofCall[F any](t *testing.T, facts []journal.Fact, fits func(F) bool) {
	t.Helper()
	for _, f := range facts {
		if f, ok := f.(F); ok && fits(f) {
			return
		}
	}
	t.Errorf("no %T fits in %v", *new(F), kinds(facts))
}

// Rule 2: no phone rings for an offer that was taken back in the moment in
// which it was made. Nobody would ever stop it.
func TestAnOfferTakenBackAtOnceNeverRings(t *testing.T) {
	c := newCentre(t, "anna")
	c.cfg.Agents[0].Start = false
	c.opens()
	caller, gone := c.dials("1901")
	c.until("queued", is[acd.CallQueued](nil))
	c.together(func() {
		c.referee.Tell(acd.AgentSignedIn{Agent: "anna"})
		c.referee.Tell(acd.AgentPaused{Agent: "anna", Reason: "break"})
	})
	c.until("withdrawn", is[acd.Withdraw](nil))
	c.referee.Tell(acd.AgentSignedIn{Agent: "anna"})
	anna := c.rings().answers() // a ghost's answer would connect nobody
	c.until("connected", is[acd.CallConnected](nil))
	caller.hangsUp()
	wait(t, "the agent's BYE", anna.Done())
	wait(t, "the story's end", gone)
}

// The floor takes an offer back while the story bridges it: whoever comes
// first, agent and caller must not talk behind the floor's back.
func TestAnOfferTakenBackWhileItIsBridged(t *testing.T) {
	agents := []acd.AgentID{"a00"}
	for i := 1; i < 12; i++ {
		agents = append(agents, acd.AgentID(fmt.Sprintf("a%02d", i)))
	}
	c := newCentre(t, agents...).opens()
	caller, gone := c.dials("1901")
	for i := range agents[1:] {
		g := c.rings()
		var offer acd.Offer
		c.until("the offer", func(f journal.Fact) bool {
			o, ok := f.(acd.Offer)
			if ok {
				offer = o
			}
			return ok && o.Agent == g.Agent
		})
		takeBack := func() { c.referee.Tell(acd.OfferRefused{Offer: offer.Offer, Result: acd.OfferFailed}) }
		if i%2 == 0 { // before the story hears of it
			c.together(func() {
				g.answers()
				c.waits("PhoneRang and OfferAccepted", func() bool { return len(c.referee.inbox) == 2 })
				takeBack()
			})
		} else { // when it has the leg
			g.leg.onAudio.Store(&takeBack)
			g.answers()
		}
		wait(t, "the agent's BYE", g.leg.Done())
		c.until("the leg's end", func(f journal.Fact) bool {
			l, ok := f.(journal.LegEnded)
			return ok && l.Leg == g.leg.id
		})
	}
	last := c.rings()
	anna := last.answers()
	c.until("connected", is[journal.RecordingStarted](nil))
	caller.hangsUp()
	wait(t, "the agent's BYE", anna.Done())
	wait(t, "the story's end", gone)
	facts := c.until("ended", is[journal.CallEnded](nil))
	legs := map[string]int{}
	for _, f := range facts {
		if f, ok := f.(journal.LegEnded); ok {
			legs[f.Leg]++
		}
	}
	for leg, n := range legs {
		if n != 1 {
			t.Errorf("leg %s ended %d times", leg, n)
		}
	}
	if len(legs) != len(agents)+1 {
		t.Errorf("%d legs ended, want %d", len(legs), len(agents)+1)
	}
	ofCall(t, facts, func(v acd.VisitEnded) bool { return v.Result == acd.VisitAnswered && v.Agent == last.Agent })
}

// An agent's phone with two calls of its own is free after the last of them.
func TestAnAgentIsPrivateUntilTheLastCallEnds(t *testing.T) {
	c := newCentre(t, "anna")
	entered := make(chan struct{}, 2)
	c.cfg.Numbers["1900"] = flowFunc(func(ctx context.Context) error {
		entered <- struct{}{}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	c.opens()
	first, firstGone := c.dials("1900", "anna")
	second, secondGone := c.dials("1900", "anna")
	wait(t, "the first call", entered)
	wait(t, "the second call", entered)
	first.hangsUp()
	wait(t, "the first call's end", firstGone)
	caller, gone := c.dials("1901")
	c.until("queued", is[acd.CallQueued](nil))
	second.hangsUp()
	wait(t, "the second call's end", secondGone)
	g := c.rings()
	facts := c.until("offered", is[acd.Offer](nil))
	inOrder(t, facts, "PrivateCallStarted", "CallQueued", "PrivateCallEnded", "Offer")
	the[acd.PrivateCallStarted](t, facts)
	the[acd.PrivateCallEnded](t, facts)
	caller.hangsUp()
	wait(t, "the phone stops ringing", g.leg.Done())
	wait(t, "the story's end", gone)
}

// Only a party that hung up has hung up. A phone that never confirmed, or that
// we could not reach, leaves a call that failed.
func TestWhoHungUp(t *testing.T) {
	for _, end := range []struct {
		byPeer bool
		detail string
		by     journal.Party
	}{
		{true, "BYE", journal.Caller},
		{true, "no ACK", journal.System},
		{true, "transport failed", journal.System},
		{false, "audio failed", journal.System},
	} {
		for _, stage := range []journal.Stage{journal.Flow, journal.Waiting, journal.Ringing, journal.Talking, journal.Hold} {
			t.Run(fmt.Sprintf("%s in %s", end.detail, stage), func(t *testing.T) {
				c := newCentre(t, "anna")
				entered := make(chan struct{})
				c.cfg.Numbers["1900"] = flowFunc(func(ctx context.Context) error { close(entered); <-ctx.Done(); return context.Cause(ctx) })
				c.cfg.Agents[0].Start = stage != journal.Waiting
				c.opens()
				number, want := "1901", journal.Abandoned
				if stage == journal.Flow {
					number, want = "1900", journal.LeftInFlow
				}
				caller, gone := c.dials(number)
				var anna *leg
				switch stage {
				case journal.Flow:
					wait(t, "the flow", entered)
				case journal.Waiting:
					c.until("queued", is[acd.CallQueued](nil))
				case journal.Ringing:
					g := c.rings()
					anna = g.leg
					g.rang()
				default:
					anna = c.rings().answers()
					c.until("connected", is[acd.CallConnected](nil))
					want = journal.Answered
				}
				if stage == journal.Hold {
					anna.holds <- true
					c.until("held", is[journal.HoldStarted](nil))
				}
				caller.end(end.byPeer, end.detail)
				wait(t, "the story's end", gone)
				if anna != nil {
					wait(t, "the agent's phone", anna.Done())
				}
				if end.by == journal.System && want != journal.Answered {
					want = journal.Failed
				}
				facts := c.until("ended", is[journal.CallEnded](nil))
				got := the[journal.CallEnded](t, facts)
				if got.Outcome != want || got.Stage != stage || got.HungUpBy != end.by || got.Detail != end.detail {
					t.Errorf("ended as %+v, want %s by %s in %s", got, want, end.by, stage)
				}
				if stage == journal.Waiting || stage == journal.Ringing {
					visit := acd.VisitAbandoned
					if want == journal.Failed {
						visit = acd.VisitFailed
					}
					if v := the[acd.VisitEnded](t, facts); v.Result != visit {
						t.Errorf("the visit ended as %+v, want %s", v, visit)
					}
				}
			})
		}
	}
}

// A panic in a talk ends it for both sides and in the record.
func TestAPanicInATalkLeavesNobodyBehind(t *testing.T) {
	c := newCentre(t, "anna")
	c.cfg.StartTape = func(acd.CallID, time.Time, media.Codec) (Tape, error) { panic("out of tape") }
	c.opens()
	caller, gone := c.dials("1901")
	anna := c.rings().answers()
	wait(t, "the story's end", gone)
	wait(t, "BYE to the agent", anna.Done())
	wait(t, "BYE to the caller", caller.Done())
	facts := c.until("ended", is[journal.CallEnded](nil))
	inOrder(t, facts, "CallConnected", "TalkEnded", "LegEnded", "LegEnded", "CallEnded")
	if end := the[journal.CallEnded](t, facts); end.Outcome != journal.Failed || end.Stage != journal.Talking || end.HungUpBy != journal.System {
		t.Errorf("ended as %+v", end)
	}
}

// An INVITE that was let in just before closing time is on record, and one that
// comes after the last fact is turned away.
func TestArrivingAtClosingTime(t *testing.T) {
	c := newCentre(t).opens()
	c.referee.Drain(t.Context())
	caller, gone := c.dials("1901")
	wait(t, "the story's end", gone)
	wait(t, "the caller's leg", caller.Done())
	facts := c.until("ended", is[journal.CallEnded](nil))
	inOrder(t, facts, "CallArrived", "LegEnded", "CallEnded")
	if end := the[journal.CallEnded](t, facts); end.Outcome != journal.Rejected || end.HungUpBy != journal.System {
		t.Errorf("ended as %+v", end)
	}
	c.referee.Close()
	late, lateGone := c.dials("1901")
	wait(t, "the late caller's leg", late.Done())
	wait(t, "the late story's end", lateGone)
	if err := c.journal.Close(); err != nil {
		t.Error(err)
	}
	c.journal = nil
}

// After a crash phones that are gone do not keep BYE from the others, nor the
// service from closing; what was not answered by then is tried again.
func TestByeAfterACrashReachesEverybody(t *testing.T) {
	c := newCentre(t).opens()
	const dead = 60
	for i := range dead {
		c.referee.Tell(journal.DialogOpened{Dialog: fmt.Sprintf("d%03d", i), State: []byte(`"dead"`)})
	}
	c.referee.tellAndWait(journal.DialogOpened{Dialog: "e", State: []byte(`"alive"`)})
	crashed := c.referee
	c.crashes()
	defer crashed.Close()

	for run := range 2 {
		byes := &deadPhones{phones: c.phones, alive: make(chan struct{}), asked: make(chan struct{}, dead)}
		c.cfg.Phones = byes
		c.opens()
		if run == 0 {
			wait(t, "BYE to the phone that answers", byes.alive)
			c.until("its dialog's end", func(f journal.Fact) bool {
				closed, ok := f.(journal.DialogClosed)
				return ok && closed.Dialog == "e"
			})
		}
		for range dead {
			wait(t, "BYE to the dead", byes.asked)
		}
		c.referee.Drain(t.Context()) // without a deadline
		c.closes()
	}
}

// deadPhones answer BYE only if they are alive.
type deadPhones struct {
	*phones
	alive, asked chan struct{}
}

func (p *deadPhones) ByeAfterCrash(ctx context.Context, state []byte) error {
	if string(state) == `"alive"` {
		close(p.alive)
		return nil
	}
	p.asked <- struct{}{}
	<-ctx.Done()
	return errors.New("no answer")
}
