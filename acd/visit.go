package acd

import (
	"cmp"
	"slices"
	"time"
)

// visit is one stay of a call in one queue, from CallQueued until an agent is
// connected or the call leaves.
type visit struct {
	call     CallID
	queue    *queue
	needs    []Need // the call's own, sorted
	priority int    // 0 to 10
	since    time.Time
	arrival  uint64 // counts the visits of this floor: the last tie-break

	// effective is since less the head start of the priority: an earlier one
	// is served first, so that a priority is worth a bounded time and nobody
	// starves behind it.
	effective time.Time

	lane   *lane    // while nobody is being rung
	offers []*offer // open ones
	timer  timer    // longest wait; not armed while a phone is being answered
}

// answering gives the offer that was accepted, nil if there is none.
func (v *visit) answering() *offer {
	for _, o := range v.offers {
		if o.accepted {
			return o
		}
	}
	return nil
}

// rank computes what depends on the queue's configuration.
func (v *visit) rank() {
	v.effective = v.since.Add(-time.Duration(v.priority) * v.queue.headStart())
}

func (f *Floor) enqueue(ev CallQueued) {
	if a := f.talks[ev.Call]; a != nil {
		f.endTalk(a)
	}
	if old := f.visits[ev.Call]; old != nil {
		if old.queue.ID == ev.Queue {
			return
		}
		f.endVisit(old, VisitMoved, OfferWithdrawn)
	}
	q := f.queueByID[ev.Queue]
	switch {
	case q == nil || q.removed:
		f.refuseAtDoor(ev, VisitFailed)
		return
	case q.MaxLength > 0 && q.waiting >= q.MaxLength:
		f.refuseAtDoor(ev, VisitFull)
		return
	}
	f.lastArrival++
	v := &visit{
		call: ev.Call, queue: q, needs: sortNeeds(ev.Needs), priority: min(max(ev.Priority, 0), 10),
		since: f.now, arrival: f.lastArrival,
	}
	v.timer.visit = v
	v.rank()
	f.visits[v.call] = v
	q.waiting++
	f.wait(v)
}

func (f *Floor) refuseAtDoor(ev CallQueued, result VisitResult) {
	f.emit(LeaveQueue{Call: ev.Call, Queue: ev.Queue, Result: result})
	f.emit(VisitEnded{Call: ev.Call, Queue: ev.Queue, Result: result})
}

// wait puts a caller for whom nobody is being rung among those who wait, in
// the place that the time of entry and the priority give.
func (f *Floor) wait(v *visit) {
	if v.queue.removed {
		f.sendAway(v, VisitClosed)
		return
	}
	f.joinLane(v)
	f.limitWait(v)
}

// limitWait arms the longest wait.
func (f *Floor) limitWait(v *visit) {
	f.timers.disarm(&v.timer)
	if w := v.queue.maxWait(); w > 0 && v.answering() == nil {
		f.timers.arm(&v.timer, v.since.Add(w))
	}
}

// waitedTooLong runs at the longest wait. A caller whose phone is being
// answered is never timed out: accept disarms the timer.
func (f *Floor) waitedTooLong(v *visit) { f.sendAway(v, VisitTimedOut) }

// sendAway ends the visit by the floor's own decision.
func (f *Floor) sendAway(v *visit, result VisitResult) {
	f.withdrawAll(v, OfferWithdrawn)
	f.emit(LeaveQueue{Call: v.call, Queue: v.queue.ID, Result: result})
	f.endVisit(v, result, OfferWithdrawn)
}

func (f *Floor) callerHungUp(call CallID) {
	if a := f.talks[call]; a != nil {
		f.endTalk(a)
	} else if v := f.visits[call]; v != nil {
		f.endVisit(v, VisitAbandoned, OfferCallerGone)
	}
}

func (f *Floor) leftQueue(call CallID, result VisitResult) {
	v := f.visits[call]
	if v == nil {
		return
	}
	switch result {
	case VisitAbandoned, VisitTimedOut, VisitFull, VisitNoAgents, VisitClosed,
		VisitCallback, VisitVoicemail, VisitKey, VisitMoved, VisitFailed:
	default: // nobody leaves as answered: that is for CallConnected to say
		result = VisitFailed
	}
	f.endVisit(v, result, OfferCallerGone)
}

// endVisit states the visit's result; whatever still rings for it ends with
// the given result.
func (f *Floor) endVisit(v *visit, result VisitResult, ringing OfferResult) {
	f.withdrawAll(v, ringing)
	f.forget(v)
	f.emit(VisitEnded{Call: v.call, Queue: v.queue.ID, Result: result, Waited: f.now.Sub(v.since)})
}

func (f *Floor) withdrawAll(v *visit, result OfferResult) {
	for len(v.offers) > 0 {
		f.endOffer(v.offers[0], result, true)
	}
}

// forget takes the visit, which has no offer any more, out of the floor.
func (f *Floor) forget(v *visit) {
	f.leaveLane(v)
	f.timers.disarm(&v.timer)
	delete(f.visits, v.call)
	v.queue.waiting--
}

// openVisits gives all visits in the order of their arrival.
func (f *Floor) openVisits() []*visit {
	all := make([]*visit, 0, len(f.visits))
	for _, q := range f.queues {
		for _, l := range q.lanes {
			all = append(all, l.visits...)
		}
	}
	for _, a := range f.agents {
		// A call that several phones ring for is counted at the first of them.
		if o := a.offer; o != nil && o.visit.offers[0] == o {
			all = append(all, o.visit)
		}
	}
	slices.SortFunc(all, func(a, b *visit) int { return cmp.Compare(a.arrival, b.arrival) })
	return all
}
