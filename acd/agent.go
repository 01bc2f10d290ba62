package acd

import (
	"slices"
	"strings"
	"time"
)

// MissedOffer is the reason of NotReady that the floor itself gives to an agent
// who left offers unanswered.
const MissedOffer = "missed offer"

// agent is a person on the floor: what is configured and how it stands.
type agent struct {
	id     AgentID
	name   string
	skills []Skill // by name, each once
	// removed agents are no longer configured and only finish the call they are in.
	removed bool

	presence  Presence
	reason    string // of NotReady
	work      Work
	reachable bool
	private   bool
	missed    int // offers in a row that were not answered

	offer *offer // while Offered
	call  CallID // while Offered, Talking or WrapUp
	queue *queue // of that call

	until time.Time // end of the wrap-up while WrapUp, of a rest while Idle
	timer timer     // goes off at until

	// idleSince is when the agent last became available. It is kept while
	// Offered, for an offer that costs nothing does not change the idle
	// order, and cleared by whatever else ends the availability.
	idleSince time.Time
	inLine    bool

	told    AgentChanged // last emitted
	touched bool
}

func newAgent(id AgentID) *agent {
	a := &agent{id: id, presence: SignedOut, work: Idle}
	a.timer.agent = a
	return a
}

// changed is the agent's state as AgentChanged tells it.
func (a *agent) changed() AgentChanged {
	c := AgentChanged{
		Agent: a.id, Presence: a.presence, Reason: a.reason, Work: a.work,
		Reachable: a.reachable, Private: a.private, Call: a.call, Until: a.until,
	}
	if a.queue != nil {
		c.Queue = a.queue.ID
	}
	return c
}

// present finds an agent who is configured; nil if there is none.
func (f *Floor) present(id AgentID) *agent {
	if a := f.agentByID[id]; a != nil && !a.removed {
		return a
	}
	return nil
}

func (f *Floor) signIn(id AgentID) {
	a := f.present(id)
	if a == nil {
		return
	}
	a.presence, a.reason, a.missed = Ready, "", 0
	f.settle(a, f.now)
}

// absent makes the agent NotReady or SignedOut. A ringing phone is silenced; a
// call that was answered goes on.
func (f *Floor) absent(id AgentID, p Presence, reason string) {
	a := f.present(id)
	if a == nil {
		return
	}
	a.presence, a.reason = p, reason
	f.stopRinging(a, OfferWithdrawn)
	f.settle(a, f.now)
}

func (f *Floor) reachable(id AgentID, reachable bool) {
	a := f.agentByID[id]
	if a == nil {
		return
	}
	a.reachable = reachable
	if !reachable {
		f.stopRinging(a, OfferUnreachable)
	}
	f.settle(a, f.now)
}

func (f *Floor) private(id AgentID, private bool) {
	a := f.agentByID[id]
	if a == nil {
		return
	}
	a.private = private
	if private {
		f.stopRinging(a, OfferWithdrawn)
	}
	f.settle(a, f.now)
}

// stopRinging ends the agent's offer unless it was accepted already.
func (f *Floor) stopRinging(a *agent, result OfferResult) {
	if a.offer != nil && !a.offer.accepted {
		f.loseOffer(a.offer, result, true)
	}
}

// endTalk starts the wrap-up of an agent who is Talking. Presence does not
// matter: a paused agent has a wrap-up too.
func (f *Floor) endTalk(a *agent) {
	delete(f.talks, a.call)
	if w := a.queue.wrapUp(); w > 0 && !a.removed {
		a.work = WrapUp
		f.occupy(a, f.now.Add(w))
		f.touch(a)
		return
	}
	f.free(a, f.now)
}

func (f *Floor) endWrapUp(id AgentID) {
	if a := f.agentByID[id]; a != nil && a.work == WrapUp {
		f.free(a, f.now)
	}
}

// restOrWrapUpOver runs when a.until has come. That moment counts for the idle
// order, also if the floor hears of it late.
func (f *Floor) restOrWrapUpOver(a *agent) {
	if a.work == WrapUp {
		f.free(a, a.until)
		return
	}
	at := a.until
	a.until = time.Time{}
	f.settle(a, at)
}

// occupy keeps the agent from offers until the given time.
func (f *Floor) occupy(a *agent, until time.Time) {
	a.until = until
	f.timers.arm(&a.timer, until)
}

// free makes the agent Idle from the given moment on, out of any call.
func (f *Floor) free(a *agent, at time.Time) {
	a.work, a.call, a.queue, a.offer = Idle, "", nil, nil
	a.until = time.Time{}
	f.timers.disarm(&a.timer)
	f.settle(a, at)
}

// settle brings the agent's place in the line up to date after any change of
// presence, work, reachability or rest. A change that makes the agent
// available happened at the given moment.
func (f *Floor) settle(a *agent, at time.Time) {
	f.touch(a)
	if a.removed && a.work == Idle {
		f.vanish(a)
		return
	}
	willing := a.presence == Ready && a.reachable && !a.private && !a.removed
	switch {
	case willing && a.work == Idle && a.until.IsZero():
		if !a.inLine {
			if a.idleSince.IsZero() {
				a.idleSince = at
			}
			f.joinLine(a)
		}
	case willing && a.work == Offered:
		f.leaveLine(a)
	default:
		f.leaveLine(a)
		a.idleSince = time.Time{}
	}
}

// vanish forgets an agent who is no longer configured and in no call.
func (f *Floor) vanish(a *agent) {
	f.leaveLine(a)
	f.timers.disarm(&a.timer)
	a.until = time.Time{}
	if i, found := slices.BinarySearchFunc(f.agents, a.id, agentByID); found {
		f.agents = slices.Delete(f.agents, i, i+1)
	}
	delete(f.agentByID, a.id)
}

func agentByID(a *agent, id AgentID) int { return strings.Compare(string(a.id), string(id)) }

// idleOrder is the order of the line: the longest idle first, then by id.
func idleOrder(a, b *agent) int {
	if c := a.idleSince.Compare(b.idleSince); c != 0 {
		return c
	}
	return strings.Compare(string(a.id), string(b.id))
}

func (f *Floor) joinLine(a *agent) {
	i, _ := slices.BinarySearchFunc(f.line, a, idleOrder)
	f.line = slices.Insert(f.line, i, a)
	a.inLine = true
	f.freed = append(f.freed, a)
}

func (f *Floor) leaveLine(a *agent) {
	if !a.inLine {
		return
	}
	if i, found := slices.BinarySearchFunc(f.line, a, idleOrder); found {
		f.line = slices.Delete(f.line, i, i+1)
	}
	a.inLine = false
}
