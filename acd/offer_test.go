package acd

import (
	"slices"
	"testing"
	"time"
)

// TestOneWinner: several phones ring for one call (no queue asks for that yet;
// the floor is ready for it). The first that answers has it, the others have
// lost the race at no cost.
func TestOneWinner(t *testing.T) {
	at := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	f := New()
	f.Step(at, Configured{Config{
		Queues: []Queue{{ID: "support"}},
		Agents: []Agent{{ID: "anna"}, {ID: "ben"}, {ID: "chi"}},
	}})
	for _, a := range []AgentID{"anna", "ben", "chi"} {
		f.Step(at, AgentReachable{Agent: a, Reachable: true})
		f.Step(at, AgentSignedIn{Agent: a})
	}
	f.Step(at, CallQueued{Call: "c1", Queue: "support"})
	f.ring(f.visits["c1"], f.agentByID["ben"])
	f.ring(f.visits["c1"], f.agentByID["chi"])
	if n := len(f.Waiting()); n != 1 {
		t.Fatalf("the call is counted %d times", n)
	}
	idle := f.agentByID["chi"].idleSince

	// A phone that gives up does not send the caller back to those who wait
	// while another one rings.
	f.Step(at, OfferRefused{Offer: 1, Result: OfferBusy})
	if f.visits["c1"].lane != nil {
		t.Error("the caller is offered again while phones ring")
	}

	b, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	g, err := Restore(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*Floor{f, g} {
		got := f.Step(at, OfferAccepted{Offer: 2})
		want := []Command{
			Withdraw{Offer: 3, Call: "c1", Agent: "chi", Result: OfferLostRace},
			OfferEnded{Offer: 3, Call: "c1", Agent: "chi", Queue: "support", Result: OfferLostRace},
			Connect{Offer: 2, Call: "c1", Agent: "ben", Queue: "support"},
			AgentChanged{Agent: "chi", Presence: Ready, Work: Idle, Reachable: true},
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if !f.agentByID["chi"].idleSince.Equal(idle) {
			t.Error("losing the race changed the idle order")
		}
	}
}
