package live

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
)

// book is what is open at this moment, read from the facts themselves: so the
// loop and the recovery after a crash cannot disagree about it.
type book struct {
	calls   map[acd.CallID]journal.OpenCall
	offers  map[acd.OfferID]acd.Offer
	dialogs map[string]journal.DialogOpened
	agents  map[acd.AgentID]acd.AgentChanged
}

func newBook() book {
	return book{
		calls:   map[acd.CallID]journal.OpenCall{},
		offers:  map[acd.OfferID]acd.Offer{},
		dialogs: map[string]journal.DialogOpened{},
		agents:  map[acd.AgentID]acd.AgentChanged{},
	}
}

// read takes one fact, in the journal's order.
func (b *book) read(at time.Time, f journal.Fact) {
	switch f := f.(type) {
	case journal.CallArrived:
		b.calls[f.Call] = journal.OpenCall{Call: f.Call, Stage: journal.Flow, Arrival: f, ArrivedAt: at}
	case journal.CallEnded:
		delete(b.calls, f.Call)
	case acd.CallQueued:
		b.stage(f.Call, journal.Waiting)
		if c, ok := b.calls[f.Call]; ok {
			c.Queue = f.Queue
			b.calls[f.Call] = c
		}
	case acd.LeaveQueue:
		b.stage(f.Call, journal.Flow)
	case acd.Offer:
		b.offers[f.Offer] = f
	case journal.PhoneRang:
		if _, open := b.offers[f.Offer]; open { // else it crossed with the end of its offer
			b.stage(f.Call, journal.Ringing)
		}
	case acd.OfferEnded:
		delete(b.offers, f.Offer)
		if f.Result == acd.OfferAnswered {
			b.stage(f.Call, journal.Talking)
		} else if b.calls[f.Call].Stage == journal.Ringing {
			b.stage(f.Call, journal.Waiting)
		}
	case journal.HoldStarted:
		b.stage(f.Call, journal.Hold)
	case journal.HoldEnded:
		b.stage(f.Call, journal.Talking)
	case journal.RecordingStarted:
		if c, ok := b.calls[f.Call]; ok {
			c.Recording = f.File
			b.calls[f.Call] = c
		}
	case journal.RecordingClosed:
		if c, ok := b.calls[f.Call]; ok {
			c.Recording = ""
			b.calls[f.Call] = c
		}
	case journal.DialogOpened:
		b.dialogs[f.Dialog] = f
	case journal.DialogClosed:
		delete(b.dialogs, f.Dialog)
	case acd.AgentChanged:
		b.agents[f.Agent] = f
	case journal.FloorSnapshot:
		b.open(f)
	}
}

func (b *book) stage(id acd.CallID, s journal.Stage) {
	if c, ok := b.calls[id]; ok {
		c.Stage = s
		b.calls[id] = c
	}
}

// somethingOpen says whether the record would miss the time if the service
// died now.
func (b *book) somethingOpen() bool {
	if len(b.calls) > 0 {
		return true
	}
	for _, a := range b.agents {
		if a.Presence != acd.SignedOut {
			return true
		}
	}
	return false
}

func (b *book) openCalls() []journal.OpenCall {
	calls := make([]journal.OpenCall, 0, len(b.calls))
	for _, c := range b.calls {
		calls = append(calls, c)
	}
	slices.SortFunc(calls, func(x, y journal.OpenCall) int { return strings.Compare(string(x.Call), string(y.Call)) })
	return calls
}

func (b *book) openOffers() []acd.Offer {
	offers := make([]acd.Offer, 0, len(b.offers))
	for _, o := range b.offers {
		offers = append(offers, o)
	}
	slices.SortFunc(offers, func(x, y acd.Offer) int { return cmp.Compare(x.Offer, y.Offer) })
	return offers
}

func (b *book) openDialogs() []journal.DialogOpened {
	dialogs := make([]journal.DialogOpened, 0, len(b.dialogs))
	for _, d := range b.dialogs {
		dialogs = append(dialogs, d)
	}
	slices.SortFunc(dialogs, func(x, y journal.DialogOpened) int { return strings.Compare(x.Dialog, y.Dialog) })
	return dialogs
}

func (b *book) agentStates() []acd.AgentChanged {
	agents := make([]acd.AgentChanged, 0, len(b.agents))
	for _, a := range b.agents {
		agents = append(agents, a)
	}
	slices.SortFunc(agents, func(x, y acd.AgentChanged) int { return strings.Compare(string(x.Agent), string(y.Agent)) })
	return agents
}

func (b *book) snapshot(floor []byte) journal.FloorSnapshot {
	return journal.FloorSnapshot{
		Floor:   json.RawMessage(floor),
		Agents:  b.agentStates(),
		Calls:   b.openCalls(),
		Offers:  b.openOffers(),
		Dialogs: b.openDialogs(),
	}
}

// open starts the book from a snapshot.
func (b *book) open(s journal.FloorSnapshot) {
	*b = newBook()
	for _, a := range s.Agents {
		b.agents[a.Agent] = a
	}
	for _, c := range s.Calls {
		b.calls[c.Call] = c
	}
	for _, o := range s.Offers {
		b.offers[o.Offer] = o
	}
	for _, d := range s.Dialogs {
		b.dialogs[d.Dialog] = d
	}
}
