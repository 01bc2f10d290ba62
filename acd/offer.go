package acd

import "slices"

// offer is one attempt to hand one call to one agent.
type offer struct {
	id       OfferID
	visit    *visit
	agent    *agent
	accepted bool  // the phone answered and Connect was said
	timer    timer // end of the ringing; once accepted, of the time to bridge
}

// ring offers the call to an agent of the line.
func (f *Floor) ring(v *visit, a *agent) {
	f.lastOffer++
	o := &offer{id: f.lastOffer, visit: v, agent: a}
	o.timer.offer = o
	f.offers[o.id] = o
	f.leaveLane(v)
	v.offers = append(v.offers, o)
	a.work, a.offer, a.call, a.queue = Offered, o, v.call, v.queue
	f.settle(a, f.now)

	until := f.now.Add(v.queue.ringFor())
	f.timers.arm(&o.timer, until)
	f.emit(Offer{Offer: o.id, Call: v.call, Agent: a.id, Queue: v.queue.ID, Until: until})
}

// accept: the first phone that answers wins the call, any other one that rings
// for it has lost the race. An offer that is over has no winner any more; its
// Withdraw was said when it ended.
func (f *Floor) accept(id OfferID) {
	o := f.offers[id]
	if o == nil || o.accepted {
		return
	}
	v := o.visit
	o.accepted = true
	o.agent.missed = 0
	f.timers.arm(&o.timer, f.now.Add(bridgeWithin))
	f.timers.disarm(&v.timer)
	for _, other := range slices.Clone(v.offers) {
		if other != o {
			f.endOffer(other, OfferLostRace, true)
		}
	}
	f.emit(Connect{Offer: o.id, Call: v.call, Agent: o.agent.id, Queue: v.queue.ID})
}

// connected: the agent talks, the visit is over.
func (f *Floor) connected(id OfferID) {
	o := f.offers[id]
	if o == nil || !o.accepted {
		return
	}
	v, a := o.visit, o.agent
	f.close(o)
	f.emit(OfferEnded{Offer: o.id, Call: v.call, Agent: a.id, Queue: v.queue.ID, Result: OfferAnswered})
	f.forget(v)
	f.emit(VisitEnded{
		Call: v.call, Queue: v.queue.ID, Result: VisitAnswered, Agent: a.id, Waited: f.now.Sub(v.since),
	})
	a.work, a.offer = Talking, nil
	f.talks[v.call] = a
	f.settle(a, f.now)
}

// refuse ends an offer that the phone's side ended. Once accepted only failed
// still counts, and then the phone, which was answered, has to be told.
func (f *Floor) refuse(id OfferID, result OfferResult) {
	o := f.offers[id]
	if o == nil {
		return
	}
	switch result {
	case OfferBusy, OfferRejected, OfferUnreachable, OfferNoAnswer:
		if o.accepted {
			return
		}
	case OfferFailed:
	default: // no phone says this
		if o.accepted {
			return
		}
		result = OfferFailed
	}
	f.loseOffer(o, result, o.accepted)
}

func (f *Floor) dropped(id OfferID) {
	o := f.offers[id]
	switch {
	case o == nil:
	case o.accepted:
		f.loseOffer(o, OfferDroppedEarly, false)
	default:
		f.loseOffer(o, OfferRejected, false)
	}
}

// offerDue runs when a phone has rung long enough, or when a phone that was
// answered has not been bridged in time.
func (f *Floor) offerDue(o *offer) {
	if o.accepted {
		f.loseOffer(o, OfferFailed, true)
	} else {
		f.loseOffer(o, OfferNoAnswer, true)
	}
}

// loseOffer ends an offer whose caller goes on waiting, in the old place.
func (f *Floor) loseOffer(o *offer, result OfferResult, withdraw bool) {
	v := o.visit
	f.endOffer(o, result, withdraw)
	if len(v.offers) == 0 {
		f.wait(v)
	}
}

// endOffer states the offer's result and what it means for the agent. What
// becomes of the caller is for the function that calls it to say.
func (f *Floor) endOffer(o *offer, result OfferResult, withdraw bool) {
	v, a := o.visit, o.agent
	if withdraw {
		f.emit(Withdraw{Offer: o.id, Call: v.call, Agent: a.id, Result: result})
	}
	f.emit(OfferEnded{Offer: o.id, Call: v.call, Agent: a.id, Queue: v.queue.ID, Result: result})
	f.close(o)
	a.work, a.offer, a.call, a.queue = Idle, nil, "", nil
	f.charge(a, v.queue, result)
	f.settle(a, f.now)
}

// close takes the offer out of the floor.
func (f *Floor) close(o *offer) {
	f.timers.disarm(&o.timer)
	delete(f.offers, o.id)
	o.visit.offers = slices.DeleteFunc(o.visit.offers, func(p *offer) bool { return p == o })
}

// charge makes the agent bear what the result costs. Without that a phone that
// is busy would be rung again at once, in a fast loop.
func (f *Floor) charge(a *agent, q *queue, result OfferResult) {
	switch result {
	case OfferCallerGone, OfferWithdrawn, OfferLostRace:
		return // the agent could do nothing about it
	case OfferUnreachable:
		a.reachable = false // until AgentReachable says otherwise
	case OfferNoAnswer:
		a.missed++
		if a.missed >= q.missedToPause() {
			a.missed = 0
			a.presence, a.reason = NotReady, MissedOffer
		} else {
			f.occupy(a, f.now.Add(rest))
		}
	case OfferBusy, OfferRejected:
		a.missed = 0 // somebody is there: the row of unanswered offers ends
		f.occupy(a, f.now.Add(rest))
	default:
		f.occupy(a, f.now.Add(rest))
	}
}
