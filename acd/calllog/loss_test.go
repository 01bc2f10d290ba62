package calllog

import (
	"testing"

	"hotline/acd"
	"hotline/acd/journal"
)

// The disk was full for a while: the snapshot behind the gap closes what is
// over, and takes over what went on or came meanwhile.
func TestASnapshotMakesUpForALoss(t *testing.T) {
	offer := func(n acd.OfferID, call acd.CallID, agent acd.AgentID) acd.Offer {
		return acd.Offer{Offer: n, Call: call, Agent: agent, Queue: "support"}
	}
	ended := func(n acd.OfferID, call acd.CallID, agent acd.AgentID, r acd.OfferResult) acd.OfferEnded {
		return acd.OfferEnded{Offer: n, Call: call, Agent: agent, Queue: "support", Result: r}
	}
	arrival := func(call acd.CallID) journal.CallArrived {
		return journal.CallArrived{Call: call, Number: "1901", Caller: "09" + string(call)}
	}
	queued := func(call acd.CallID) acd.CallQueued { return acd.CallQueued{Call: call, Queue: "support"} }

	s := newTale().
		at(0, journal.ServiceStarted{}, isReady("ann", acd.Idle, ""), isReady("ben", acd.Idle, ""), isReady("cat", acd.Idle, "")).
		at(1*sec, arrival("over"), queued("over"), offer(1, "over", "ann"), isReady("ann", acd.Offered, "over")).
		at(2*sec, arrival("rang"), queued("rang"), offer(2, "rang", "ben"), isReady("ben", acd.Offered, "rang")).
		at(3*sec, arrival("waits"), queued("waits")).
		// from here to 20 s everything is lost
		at(20*sec, journal.Gap{Lost: 30, From: morning.Add(5 * sec)}, journal.Heartbeat{}).
		at(21*sec, journal.FloorSnapshot{
			Floor: []byte(`{}`), LostFrom: morning.Add(5 * sec),
			Agents: []acd.AgentChanged{isReady("ann", acd.Offered, "came"), isReady("ben", acd.Talking, "rang"), isReady("cat", acd.Talking, "held")},
			Calls: []journal.OpenCall{
				{Call: "came", Stage: journal.Ringing, Queue: "support", Arrival: arrival("came"), ArrivedAt: morning.Add(10 * sec)},
				{Call: "held", Stage: journal.Hold, Queue: "support", Arrival: arrival("held"), ArrivedAt: morning.Add(8 * sec), Recording: "/var/rec/held.wav"},
				{Call: "rang", Stage: journal.Talking, Queue: "support", Arrival: arrival("rang"), ArrivedAt: morning.Add(2 * sec)},
				{Call: "waits", Stage: journal.Waiting, Queue: "support", Arrival: arrival("waits"), ArrivedAt: morning.Add(3 * sec)},
			},
			Offers: []acd.Offer{offer(5, "came", "ann")},
		})
	l := openLog(t, database(t))
	j := openJournal(t, t.TempDir())
	keep(t, j, s.entries)
	catchUp(t, l, j)
	audit(t, l)
	same(t, "calls behind the loss", lines(t, l, `select call_id, outcome, stage, agent, arrived_at, connected_at, ended_at from call_log order by call_id`), `
came - Ringing ann 10s - -
held - Hold cat 8s 21s -
over failed Ringing ann 1s - 5s
rang - Talking ben 2s 21s -
waits - Waiting - 3s - -`)

	// And life goes on.
	s = s.at(22*sec, acd.OfferAccepted{Offer: 5}, acd.CallConnected{Offer: 5}, ended(5, "came", "ann", acd.OfferAnswered),
		acd.VisitEnded{Call: "came", Queue: "support", Result: acd.VisitAnswered, Agent: "ann"}, isReady("ann", acd.Talking, "came")).
		at(23*sec, journal.HoldEnded{Call: "held", Agent: "cat"}).
		at(30*sec, acd.TalkEnded{Call: "held", Agent: "cat"}, isReady("cat", acd.Idle, ""),
			journal.CallEnded{Call: "held", Outcome: journal.Answered, Stage: journal.Talking, HungUpBy: journal.Caller}).
		at(31*sec, acd.TalkEnded{Call: "rang", Agent: "ben"}, isReady("ben", acd.Idle, ""),
			journal.CallEnded{Call: "rang", Outcome: journal.Answered, Stage: journal.Talking, HungUpBy: journal.Agent}).
		at(32*sec, acd.VisitEnded{Call: "waits", Queue: "support", Result: acd.VisitAbandoned},
			journal.CallEnded{Call: "waits", Outcome: journal.Abandoned, Stage: journal.Waiting, HungUpBy: journal.Caller}).
		at(33*sec, acd.TalkEnded{Call: "came", Agent: "ann"}, isReady("ann", acd.Idle, ""),
			journal.CallEnded{Call: "came", Outcome: journal.Answered, Stage: journal.Talking, HungUpBy: journal.Caller})
	l = openLog(t, database(t))
	j = openJournal(t, t.TempDir())
	for _, e := range s.entries { // each in a transaction of its own
		keep(t, j, []journal.Entry{e})
	}
	catchUp(t, l, j)
	audit(t, l)
	same(t, "calls at the end", lines(t, l, `select call_id, outcome, talk_ms, hold_ms, recording from call_log order by call_id`), `
came answered 11000 0 -
held answered 7000 2000 /var/rec/held.wav
over failed - - -
rang answered 10000 0 -
waits abandoned - - -`)
	same(t, "offers", lines(t, l, `select call_id, agent, result from offers order by started_at`), `
over ann failed
rang ben answered
came ann answered`)
	same(t, "quarantine", lines(t, l, `select count(*) from log.quarantine`), "0")
}
