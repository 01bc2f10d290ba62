package calllog

import (
	"slices"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
)

// afterLoss brings the log to where the service stands after facts were lost.
// What was open and is no longer ended in between, and counts as failed at the
// last moment for which the journal speaks; what is open and unknown, or has got
// further than the log knows, is taken over as of the snapshot. Calls that came
// and went in between are gone: the alarm of the Gap counts their facts.
func (p *page) afterLoss(at time.Time, f journal.FloorSnapshot) {
	open := map[acd.CallID]bool{}
	for _, c := range f.Calls {
		open[c.Call] = true
	}
	rings := map[acd.OfferID]acd.CallID{}
	for _, o := range f.Offers {
		rings[o.Offer] = o.Call
	}
	talks := map[acd.CallID]acd.AgentChanged{}
	for _, a := range f.Agents {
		if a.Work == acd.Talking {
			talks[a.Call] = a
		}
	}

	lost := f.LostFrom.UTC()
	for id, c := range p.calls {
		if c.EndedAt == nil && !open[id] {
			p.presume(c, lost)
			p.leaveNothingOpen(id, lost)
		}
	}
	for id := range p.rings {
		for _, o := range p.rings[id] {
			if rings[acd.OfferID(o.Offer)] == id {
				continue
			}
			result := acd.OfferFailed
			if o.Agent == string(talks[id].Agent) {
				result = acd.OfferAnswered
			}
			p.closeOffer(o, lost, string(result))
		}
		p.rings[id] = slices.DeleteFunc(p.rings[id], func(o *offerRow) bool { return o.EndedAt != nil })
	}
	for _, c := range f.Calls {
		p.takeOver(at, c, talks[c.Call])
	}
	for _, o := range f.Offers {
		if !slices.ContainsFunc(p.rings[o.Call], func(r *offerRow) bool { return r.Offer == uint64(o.Offer) }) {
			_ = p.offered(at, o) // refused if its call is unknown, or it is closed already
		}
	}
	for _, a := range f.Agents {
		_ = p.agentChanged(at, a) // refused if it has no id
	}
	for _, c := range f.Calls { // when both sides stand
		agent := talks[c.Call].Agent
		switch c.Stage {
		case journal.Hold:
			_ = p.holdStarted(at, journal.HoldStarted{Call: c.Call, Agent: agent})
		case journal.Talking:
			_ = p.holdEnded(at, journal.HoldEnded{Call: c.Call, Agent: agent})
		}
	}
}

// takeOver brings one call to where it is. talk is the agent who talks to it.
func (p *page) takeOver(at time.Time, is journal.OpenCall, talk acd.AgentChanged) {
	if p.calls[is.Call] == nil {
		if p.arrived(is.ArrivedAt.UTC(), is.Arrival) != nil {
			return
		}
	}
	c := p.calls[is.Call]
	if c.EndedAt != nil {
		return
	}
	if c.Recording == nil {
		c.Recording = text(is.Recording)
	}
	c.touched = true
	visit := p.openVisit(is.Call, "")
	switch is.Stage {
	case journal.Flow:
		if visit != nil {
			p.closeVisit(c, visit, at, string(acd.VisitFailed), "")
		}
	case journal.Waiting, journal.Ringing:
		if visit == nil && is.Queue != "" {
			_ = p.queued(at, acd.CallQueued{Call: is.Call, Queue: is.Queue}) // the call is open
		} else if len(p.rings[is.Call]) == 0 {
			p.enter(c, journal.Waiting, "", at)
		}
	case journal.Talking, journal.Hold:
		if talk.Agent == "" || c.ConnectedAt != nil {
			return
		}
		if visit == nil {
			_ = p.queued(at, acd.CallQueued{Call: is.Call, Queue: talk.Queue})
			visit = p.openVisit(is.Call, "")
		}
		visit.ConnectedAt, visit.Agent = &at, text(talk.Agent)
		p.closeVisit(c, visit, at, string(acd.VisitAnswered), talk.Agent)
		c.ConnectedAt, c.Queue, c.Agent = &at, text(visit.Queue), text(talk.Agent)
		p.enter(c, journal.Talking, talk.Agent, at)
	}
}
