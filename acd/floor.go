package acd

import (
	"slices"
	"strings"
	"time"
)

// Floor holds all queues, agents, waiting calls and offers, and decides. The
// zero value is not usable: see New and Restore.
//
// A Floor is not safe for concurrent use; one goroutine owns it.
type Floor struct {
	now     time.Time // of the latest Step, UTC, never backwards
	version string    // as configured
	seed    uint64    // as configured

	queues    []*queue // by id; with those removed that a call or an agent still refers to
	queueByID map[QueueID]*queue
	agents    []*agent // by id; with those removed who are still in a call
	agentByID map[AgentID]*agent
	visits    map[CallID]*visit // calls that wait, are rung for, or are being answered
	talks     map[CallID]*agent // who talks with the call
	offers    map[OfferID]*offer

	lastOffer   OfferID
	lastArrival uint64

	line   []*agent // available agents, see joinLine
	freed  []*agent // joined the line since the last match
	fresh  []*lane  // got their first caller since the last match
	open   []*lane  // scratch space of match
	timers timers

	commands []Command // of the current Step
	touched  []*agent  // whose state this Step may have changed
}

// New gives an empty floor: no queues and no agents until the first Configured.
func New() *Floor {
	return &Floor{
		queueByID: map[QueueID]*queue{},
		agentByID: map[AgentID]*agent{},
		visits:    map[CallID]*visit{},
		talks:     map[CallID]*agent{},
		offers:    map[OfferID]*offer{},
	}
}

// Step tells the floor what happened, and when, and returns the decisions in
// the order in which they follow from each other; the AgentChanged of all
// agents that changed come last, by agent id. The slice is valid until the next
// Step.
//
// Any event is legal in any state; one that no longer applies is ignored, as
// is one about an unknown agent, call or offer. Events are given as values, not
// as pointers. If now lies before the time of the Step before, time stands
// still.
func (f *Floor) Step(now time.Time, ev Event) []Command {
	f.commands = f.commands[:0]
	if now = now.UTC().Round(0); now.After(f.now) {
		f.now = now
	}
	f.take(ev)
	f.fireDue()
	f.match()
	f.tellAgents()
	return f.commands
}

// Deadline says when the floor has something to do by itself; call Step with
// Tick by then. It reports false if there is nothing to wait for.
func (f *Floor) Deadline() (time.Time, bool) {
	if t := f.timers.first(); t != nil {
		return t.at, true
	}
	return time.Time{}, false
}

func (f *Floor) take(ev Event) {
	switch ev := ev.(type) {
	case Configured:
		f.configure(ev.Config)

	case AgentSignedIn:
		f.signIn(ev.Agent)
	case AgentPaused:
		f.absent(ev.Agent, NotReady, ev.Reason)
	case AgentSignedOut:
		f.absent(ev.Agent, SignedOut, "")
	case AgentReachable:
		f.reachable(ev.Agent, ev.Reachable)
	case PrivateCallStarted:
		f.private(ev.Agent, true)
	case PrivateCallEnded:
		f.private(ev.Agent, false)
	case WrapUpEnded:
		f.endWrapUp(ev.Agent)

	case CallQueued:
		f.enqueue(ev)
	case CallerHungUp:
		f.callerHungUp(ev.Call)
	case CallLeftQueue:
		f.leftQueue(ev.Call, ev.Result)

	case OfferAccepted:
		f.accept(ev.Offer)
	case OfferRefused:
		f.refuse(ev.Offer, ev.Result)
	case AgentDropped:
		f.dropped(ev.Offer)
	case CallConnected:
		f.connected(ev.Offer)
	case TalkEnded:
		if a := f.talks[ev.Call]; a != nil && a.id == ev.Agent {
			f.endTalk(a)
		}
	}
}

func (f *Floor) emit(c Command) { f.commands = append(f.commands, c) }

// touch notes that a's state may have changed, for tellAgents.
func (f *Floor) touch(a *agent) {
	if !a.touched {
		a.touched = true
		f.touched = append(f.touched, a)
	}
}

// tellAgents emits one AgentChanged for each agent whose state is another than
// the one last told.
func (f *Floor) tellAgents() {
	slices.SortFunc(f.touched, func(a, b *agent) int { return strings.Compare(string(a.id), string(b.id)) })
	for _, a := range f.touched {
		a.touched = false
		if now := a.changed(); now != a.told {
			a.told = now
			f.emit(now)
		}
	}
	f.touched = empty(f.touched)
}

// empty keeps a list's memory for the next Step, and nothing that it pointed to.
func empty[T any](list []*T) []*T {
	clear(list)
	return list[:0]
}
