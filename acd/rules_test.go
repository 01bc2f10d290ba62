package acd_test

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"hotline/acd"
)

// ledger follows a floor from outside, only by what is told to it and what it
// says, and checks after every Step that the rules hold. It knows the rules in
// their plainest form, with no index and no care for speed.
type ledger struct {
	t      testing.TB
	floor  *acd.Floor
	twin   *acd.Floor // restored from a snapshot some time ago, told the same
	now    time.Time  // as the floor sees it
	config acd.Config
	log    []string                   // what happened, shown when a rule is broken
	told   func(time.Time, acd.Event) // if set, hears every event

	arrivals  int
	visits    map[acd.CallID]*stay
	offers    map[acd.OfferID]*attempt
	lastOffer acd.OfferID
	agents    map[acd.AgentID]acd.AgentChanged // as last told
}

// stay is an open visit; attempt an open offer.
type stay struct {
	acd.CallQueued
	since   time.Time
	arrival int
}

type attempt struct {
	acd.Offer
	connect  bool // Connect was said
	withdraw acd.OfferResult
}

func newLedger(t testing.TB) *ledger {
	return &ledger{
		t: t, floor: acd.New(), twin: acd.New(), now: opening,
		visits: map[acd.CallID]*stay{}, offers: map[acd.OfferID]*attempt{},
		agents: map[acd.AgentID]acd.AgentChanged{},
	}
}

func (l *ledger) broken(format string, args ...any) {
	l.t.Helper()
	for _, line := range l.log[max(0, len(l.log)-40):] {
		l.t.Log(line)
	}
	l.t.Fatalf(format, args...)
}

// restart makes a new twin from a snapshot of the floor.
func (l *ledger) restart() {
	b, err := l.floor.Snapshot()
	if err != nil {
		l.broken("snapshot: %v", err)
	}
	if l.twin, err = acd.Restore(b); err != nil {
		l.broken("restore: %v\n%s", err, b)
	}
}

// step tells the floor and its twin, and checks.
func (l *ledger) step(at time.Time, ev acd.Event) []acd.Command {
	l.t.Helper()
	if l.told != nil {
		l.told(at, ev)
	}
	if at.After(l.now) {
		l.now = at
	}
	l.log = append(l.log, fmt.Sprintf("%-10s < %T%+v", at.Sub(opening), ev, ev))
	before := len(l.visits)
	mayEnd := map[acd.CallID][]*stay{} // visits that this Step may end
	for call, s := range l.visits {
		mayEnd[call] = []*stay{s}
	}
	answering := map[acd.CallID]bool{}
	for _, o := range l.offers {
		if o.connect {
			answering[o.Call] = true
		}
	}
	if q, ok := ev.(acd.CallQueued); ok {
		if old := l.visits[q.Call]; old == nil || old.Queue != q.Queue {
			l.arrivals++
			s := &stay{CallQueued: q, since: l.now, arrival: l.arrivals}
			mayEnd[q.Call] = append(mayEnd[q.Call], s)
		}
	}
	if c, ok := ev.(acd.Configured); ok {
		l.config = c.Config
	}

	commands := slices.Clone(l.floor.Step(at, ev))
	for _, c := range commands {
		l.log = append(l.log, fmt.Sprintf("%-10s > %T%+v", "", c, c))
	}
	if again := l.twin.Step(at, ev); !sameCommands(commands, again) {
		l.broken("a restored floor does something else: %+v", again)
	}

	var offered []acd.Offer
	told := map[acd.AgentID]bool{}
	for _, c := range commands {
		switch c := c.(type) {
		case acd.Offer:
			l.lastOffer++
			if c.Offer != l.lastOffer {
				l.broken("offer %d follows %d", c.Offer, l.lastOffer-1)
			}
			for _, o := range l.offers {
				if o.Agent == c.Agent {
					l.broken("%s is in two offers", c.Agent)
				}
				if o.Call == c.Call {
					l.broken("%s is offered twice at a time", c.Call)
				}
			}
			if !c.Until.After(l.now) {
				l.broken("offer %d does not ring", c.Offer)
			}
			l.offers[c.Offer] = &attempt{Offer: c}
			offered = append(offered, c)
		case acd.Withdraw:
			o := l.offers[c.Offer]
			if o == nil || o.withdraw != "" || o.Call != c.Call || o.Agent != c.Agent {
				l.broken("withdrawal of an offer that is not open")
			}
			o.withdraw = c.Result
		case acd.OfferEnded:
			o := l.offers[c.Offer]
			if o == nil || o.Call != c.Call || o.Agent != c.Agent || o.Queue != c.Queue {
				l.broken("end of an offer that is not open")
			}
			if o.withdraw != "" && o.withdraw != c.Result {
				l.broken("withdrawn as %s, ended as %s", o.withdraw, c.Result)
			}
			if c.Result == acd.OfferAnswered && !o.connect {
				l.broken("answered without Connect")
			}
			delete(l.offers, c.Offer)
		case acd.Connect:
			o := l.offers[c.Offer]
			if o == nil || o.connect || answering[c.Call] {
				l.broken("connected twice, or without an offer")
			}
			o.connect = true
		case acd.VisitEnded:
			list := mayEnd[c.Call]
			if len(list) == 0 || list[0].Queue != c.Queue {
				l.broken("end of a visit that is not open")
			}
			if c.Waited != l.now.Sub(list[0].since) {
				l.broken("waited %s, not %s", c.Waited, l.now.Sub(list[0].since))
			}
			if (c.Result == acd.VisitAnswered) != (c.Agent != "") {
				l.broken("answered by nobody, or named without an answer")
			}
			if c.Result == acd.VisitFull && before == 0 {
				l.broken("full with nobody waiting")
			}
			mayEnd[c.Call] = list[1:]
		case acd.LeaveQueue:
		case acd.AgentChanged:
			if told[c.Agent] {
				l.broken("%s is told twice", c.Agent)
			}
			if c == l.agents[c.Agent] {
				l.broken("%s is told and has not changed", c.Agent)
			}
			told[c.Agent] = true
			l.agents[c.Agent] = c
		}
	}
	clear(l.visits)
	for call, list := range mayEnd {
		switch len(list) {
		case 0:
		case 1:
			l.visits[call] = list[0]
		default:
			l.broken("%s is in two queues", call)
		}
	}
	l.check(offered)
	return commands
}

func sameCommands(a, b []acd.Command) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}

// check compares what the floor holds now with what it has said.
func (l *ledger) check(offered []acd.Offer) {
	l.t.Helper()
	waiting := l.floor.Waiting()
	if len(waiting) != len(l.visits) {
		l.broken("%d calls wait, %d should", len(waiting), len(l.visits))
	}
	for i, w := range waiting {
		s := l.visits[w.Call]
		if s == nil || s.Queue != w.Queue || !s.since.Equal(w.Since) {
			l.broken("%s waits otherwise than was told", w.Call)
		}
		if i > 0 && l.order(l.visits[waiting[i-1].Call], s) >= 0 {
			l.broken("%s stands before %s", waiting[i-1].Call, w.Call)
		}
		open := 0
		for _, o := range l.offers {
			if o.Call == w.Call {
				open++
			}
		}
		if (open > 0) != w.Ringing {
			l.broken("%s: ringing %v with %d open offers", w.Call, w.Ringing, open)
		}
	}

	agents := l.floor.Agents()
	for id := range l.agents {
		if !slices.ContainsFunc(agents, func(a acd.AgentState) bool { return a.Agent == id }) {
			delete(l.agents, id) // no longer configured
		}
	}
	talking := map[acd.CallID]bool{}
	for _, a := range agents {
		c := l.agents[a.Agent]
		if c != (acd.AgentChanged{
			Agent: a.Agent, Presence: a.Presence, Reason: a.Reason, Work: a.Work, Reachable: a.Reachable,
			Private: a.Private, Call: a.Call, Queue: a.Queue, Until: a.Until,
		}) {
			l.broken("%s is not as was told: %+v", a.Agent, c)
		}
		o := l.offers[a.Offer]
		switch a.Work {
		case acd.Offered:
			if o == nil || o.Agent != a.Agent || o.Call != a.Call {
				l.broken("%s is Offered without an offer", a.Agent)
			}
			if !o.connect && (a.Presence != acd.Ready || !a.Reachable || a.Private) {
				l.broken("%s is rung without being available", a.Agent)
			}
		case acd.Talking:
			if talking[a.Call] || l.visits[a.Call] != nil {
				l.broken("%s is in two places", a.Call)
			}
			talking[a.Call] = true
		case acd.WrapUp:
			if !a.Until.After(l.now) {
				l.broken("the wrap-up of %s is over", a.Agent)
			}
		}
		if a.Work != acd.Offered && a.Offer != 0 {
			l.broken("%s is %s with an offer", a.Agent, a.Work)
		}
	}
	offeredAgents := 0
	for _, a := range agents {
		if a.Work == acd.Offered {
			offeredAgents++
		}
	}
	if offeredAgents != len(l.offers) {
		l.broken("%d offers are open, %d agents are Offered", len(l.offers), offeredAgents)
	}

	if at, ok := l.floor.Deadline(); ok && !at.After(l.now) {
		l.broken("the deadline %s is past", at.Sub(opening))
	}
	l.fair(waiting, agents, offered)

	one, err := l.floor.Snapshot()
	if err != nil {
		l.broken("snapshot: %v", err)
	}
	two, err := l.twin.Snapshot()
	if err != nil || string(one) != string(two) {
		l.broken("a restored floor stands otherwise (%v):\n%s\n%s", err, one, two)
	}
}

// fair holds the offers of this Step against the rule: each caller in order of
// service gets the longest idle agent who fits, and nobody is left who could
// serve anybody.
func (l *ledger) fair(waiting []acd.WaitingCall, agents []acd.AgentState, offered []acd.Offer) {
	l.t.Helper()
	byID := map[acd.AgentID]acd.AgentState{}
	var free []acd.AgentState
	for _, a := range agents {
		byID[a.Agent] = a
		if a.Presence == acd.Ready && a.Work == acd.Idle && a.Reachable && !a.Private && a.Until.IsZero() && !a.Removed {
			free = append(free, a)
			if a.IdleSince.IsZero() {
				l.broken("%s is idle since never", a.Agent)
			}
		}
	}
	var unserved []*stay
	for _, w := range waiting {
		if !w.Ringing {
			unserved = append(unserved, l.visits[w.Call])
		}
	}
	for _, s := range unserved {
		for _, a := range free {
			if l.fits(a, s) {
				l.broken("%s waits and %s could serve", s.Call, a.Agent)
			}
		}
	}
	for i, o := range offered {
		s, a := l.visits[o.Call], byID[o.Agent]
		if !l.fits(a, s) {
			l.broken("%s does not fit %s", a.Agent, s.Call)
		}
		for _, b := range free {
			if l.fits(b, s) && longerIdle(b, a) {
				l.broken("%s is idle longer than %s", b.Agent, a.Agent)
			}
		}
		for _, u := range unserved {
			if l.fits(a, u) && l.order(u, s) < 0 {
				l.broken("%s was overtaken by %s", u.Call, s.Call)
			}
		}
		for _, next := range offered[i+1:] {
			if l.order(s, l.visits[next.Call]) > 0 {
				l.broken("%s was served before %s", s.Call, next.Call)
			}
			if b := byID[next.Agent]; l.fits(b, s) && longerIdle(b, a) {
				l.broken("%s is idle longer than %s", b.Agent, a.Agent)
			}
		}
	}
}

func longerIdle(a, b acd.AgentState) bool {
	return cmp.Or(a.IdleSince.Compare(b.IdleSince), cmp.Compare(a.Agent, b.Agent)) < 0
}

func (l *ledger) queue(id acd.QueueID) acd.Queue {
	i := slices.IndexFunc(l.config.Queues, func(q acd.Queue) bool { return q.ID == id })
	if i < 0 {
		return acd.Queue{ID: id}
	}
	return l.config.Queues[i]
}

func (l *ledger) fits(a acd.AgentState, s *stay) bool {
	i := slices.IndexFunc(l.config.Agents, func(c acd.Agent) bool { return c.ID == a.Agent })
	if i < 0 {
		return false
	}
	for _, n := range slices.Concat(l.queue(s.Queue).Needs, s.Needs) {
		if !slices.ContainsFunc(l.config.Agents[i].Skills, func(k acd.Skill) bool {
			return k.Name == n.Skill && k.Level >= n.AtLeast
		}) {
			return false
		}
	}
	return true
}

// order is negative if a is served before b. Of a queue that is gone only
// calls that are being answered are left, and their place does not matter.
func (l *ledger) order(a, b *stay) int {
	qa, qb := l.queue(a.Queue), l.queue(b.Queue)
	if l.gone(a.Queue) || l.gone(b.Queue) {
		return -1
	}
	return cmp.Or(
		cmp.Compare(qb.Weight, qa.Weight),
		effective(a, qa).Compare(effective(b, qb)),
		cmp.Compare(a.arrival, b.arrival),
	)
}

func (l *ledger) gone(id acd.QueueID) bool {
	return !slices.ContainsFunc(l.config.Queues, func(q acd.Queue) bool { return q.ID == id })
}

func effective(s *stay, q acd.Queue) time.Time {
	step := q.HeadStart
	if step <= 0 {
		step = time.Minute
	}
	return s.since.Add(-step * time.Duration(min(max(s.Priority, 0), 10)))
}
