package acd

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// snapshotFormat changes when an older program could misread a snapshot.
const snapshotFormat = 1

// What a snapshot holds. Everything else (lanes, line, deadlines) follows from it.
type (
	snapshot struct {
		Format      int             `json:"format"`
		Now         time.Time       `json:"now"`
		Version     string          `json:"version,omitempty"`
		Seed        uint64          `json:"seed"`
		LastOffer   OfferID         `json:"last_offer"`
		LastArrival uint64          `json:"last_arrival"`
		Queues      []queueSnapshot `json:"queues"` // by id
		Agents      []agentSnapshot `json:"agents"` // by id
		Visits      []visitSnapshot `json:"visits"` // by arrival
	}
	queueSnapshot struct {
		Queue
		Removed bool `json:"removed,omitempty"`
	}
	agentSnapshot struct {
		Agent
		Removed   bool      `json:"removed,omitempty"`
		Presence  Presence  `json:"presence"`
		Reason    string    `json:"reason,omitempty"`
		Work      Work      `json:"work"`
		Reachable bool      `json:"reachable,omitempty"`
		Private   bool      `json:"private,omitempty"`
		Missed    int       `json:"missed,omitempty"`
		Call      CallID    `json:"call,omitempty"`  // while Talking or WrapUp
		Queue     QueueID   `json:"queue,omitempty"` // while Talking or WrapUp
		Until     time.Time `json:"until,omitzero"`
		IdleSince time.Time `json:"idle_since,omitzero"`
	}
	visitSnapshot struct {
		Call     CallID          `json:"call"`
		Queue    QueueID         `json:"queue"`
		Needs    []Need          `json:"needs,omitempty"`
		Priority int             `json:"priority,omitempty"`
		Since    time.Time       `json:"since"`
		Arrival  uint64          `json:"arrival"`
		Offers   []offerSnapshot `json:"offers,omitempty"`
	}
	offerSnapshot struct {
		Offer    OfferID   `json:"offer"`
		Agent    AgentID   `json:"agent"`
		Accepted bool      `json:"accepted,omitempty"`
		Until    time.Time `json:"until"`
	}
)

// Snapshot writes the whole state of the floor, its configuration and the
// count of offers with it, as JSON. Two floors that stand the same give the
// same bytes. It fails only for times that JSON can't say (after year 9999).
func (f *Floor) Snapshot() ([]byte, error) {
	s := snapshot{
		Format: snapshotFormat, Now: f.now, Version: f.version, Seed: f.seed,
		LastOffer: f.lastOffer, LastArrival: f.lastArrival,
		Queues: []queueSnapshot{}, Agents: []agentSnapshot{}, Visits: []visitSnapshot{},
	}
	for _, q := range f.queues {
		s.Queues = append(s.Queues, queueSnapshot{Queue: q.Queue, Removed: q.removed})
	}
	for _, a := range f.agents {
		record := agentSnapshot{
			Agent:   Agent{ID: a.id, Name: a.name, Skills: a.skills},
			Removed: a.removed, Presence: a.presence, Reason: a.reason, Work: a.work,
			Reachable: a.reachable, Private: a.private, Missed: a.missed,
			Until: a.until, IdleSince: a.idleSince,
		}
		if a.work == Talking || a.work == WrapUp {
			record.Call, record.Queue = a.call, a.queue.ID
		}
		s.Agents = append(s.Agents, record)
	}
	for _, v := range f.openVisits() {
		record := visitSnapshot{
			Call: v.call, Queue: v.queue.ID, Needs: v.needs, Priority: v.priority,
			Since: v.since, Arrival: v.arrival,
		}
		for _, o := range v.offers {
			record.Offers = append(record.Offers, offerSnapshot{
				Offer: o.id, Agent: o.agent.id, Accepted: o.accepted, Until: o.timer.at,
			})
		}
		s.Visits = append(s.Visits, record)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write snapshot of the floor: %w", err)
	}
	return b, nil
}

// Restore makes the floor that a Snapshot was taken of: given the same events
// it gives the same commands, and its offers count on. It refuses bytes that
// contradict themselves, and names the contradiction.
func Restore(b []byte) (*Floor, error) {
	var s snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read snapshot of the floor: %w", err)
	}
	if s.Format != snapshotFormat {
		return nil, fmt.Errorf("read snapshot of the floor: format %d, this program reads format %d", s.Format, snapshotFormat)
	}
	f := New()
	f.now = s.Now.UTC()
	f.version, f.seed = s.Version, s.Seed
	f.lastOffer, f.lastArrival = s.LastOffer, s.LastArrival
	if err := f.restore(s); err != nil {
		return nil, fmt.Errorf("read snapshot of the floor: %w", err)
	}
	return f, nil
}

func (f *Floor) restore(s snapshot) error {
	for _, record := range s.Queues {
		if f.queueByID[record.ID] != nil {
			return fmt.Errorf("queue %q twice", record.ID)
		}
		q := &queue{Queue: record.Queue, removed: record.Removed}
		q.Needs = sortNeeds(record.Needs)
		f.queueByID[q.ID] = q
		f.queues = append(f.queues, q)
	}
	slices.SortFunc(f.queues, func(a, b *queue) int { return queueByID(a, b.ID) })
	for _, record := range s.Agents {
		if err := f.restoreAgent(record); err != nil {
			return err
		}
	}
	slices.SortFunc(f.agents, func(a, b *agent) int { return agentByID(a, b.id) })
	var last uint64
	for _, record := range s.Visits {
		if record.Arrival <= last {
			return fmt.Errorf("call %q is out of order", record.Call)
		}
		last = record.Arrival
		if err := f.restoreVisit(record); err != nil {
			return err
		}
	}
	for _, a := range f.agents {
		if a.work == Offered && a.offer == nil {
			return fmt.Errorf("agent %q is Offered without an offer", a.id)
		}
		if !a.until.IsZero() {
			f.timers.arm(&a.timer, a.until)
		}
		f.settle(a, f.now)
	}
	// The readers know the agents as they stood when the snapshot was taken.
	for _, a := range f.touched {
		a.touched, a.told = false, a.changed()
	}
	f.touched = empty(f.touched)
	return nil
}

func (f *Floor) restoreAgent(r agentSnapshot) error {
	if f.agentByID[r.ID] != nil {
		return fmt.Errorf("agent %q twice", r.ID)
	}
	a := newAgent(r.ID)
	a.name, a.skills, a.removed = r.Name, sortSkills(r.Skills), r.Removed
	a.presence, a.reason, a.work = r.Presence, r.Reason, r.Work
	a.reachable, a.private, a.missed = r.Reachable, r.Private, r.Missed
	a.until, a.idleSince = r.Until.UTC(), r.IdleSince.UTC()
	switch r.Presence {
	case SignedOut, Ready, NotReady:
	default:
		return fmt.Errorf("agent %q has the unknown presence %q", r.ID, r.Presence)
	}
	switch r.Work {
	case Idle:
		if r.Removed {
			return fmt.Errorf("agent %q is removed and in no call", r.ID)
		}
	case Offered:
		if !r.Until.IsZero() {
			return fmt.Errorf("agent %q is Offered and rests", r.ID)
		}
	case Talking, WrapUp:
		a.call, a.queue = r.Call, f.queueByID[r.Queue]
		if a.queue == nil {
			return fmt.Errorf("agent %q is %s for the unknown queue %q", r.ID, r.Work, r.Queue)
		}
		if r.Work == WrapUp {
			if r.Until.IsZero() {
				return fmt.Errorf("agent %q is in a wrap-up without end", r.ID)
			}
			break
		}
		if !r.Until.IsZero() {
			return fmt.Errorf("agent %q is Talking and rests", r.ID)
		}
		if f.talks[r.Call] != nil {
			return fmt.Errorf("call %q talks with two agents", r.Call)
		}
		f.talks[r.Call] = a
	default:
		return fmt.Errorf("agent %q has the unknown work %q", r.ID, r.Work)
	}
	f.agentByID[a.id] = a
	f.agents = append(f.agents, a)
	return nil
}

func (f *Floor) restoreVisit(r visitSnapshot) error {
	q := f.queueByID[r.Queue]
	switch {
	case q == nil:
		return fmt.Errorf("call %q waits in the unknown queue %q", r.Call, r.Queue)
	case f.visits[r.Call] != nil || f.talks[r.Call] != nil:
		return fmt.Errorf("call %q twice", r.Call)
	case r.Arrival > f.lastArrival:
		return fmt.Errorf("call %q arrived as number %d of %d", r.Call, r.Arrival, f.lastArrival)
	case r.Since.After(f.now):
		return fmt.Errorf("call %q waits since after the snapshot", r.Call)
	}
	v := &visit{
		call: r.Call, queue: q, needs: sortNeeds(r.Needs), priority: min(max(r.Priority, 0), 10),
		since: r.Since.UTC(), arrival: r.Arrival,
	}
	v.timer.visit = v
	v.rank()
	f.visits[v.call] = v
	q.waiting++
	for _, or := range r.Offers {
		a := f.agentByID[or.Agent]
		switch {
		case a == nil || a.work != Offered || a.offer != nil:
			return fmt.Errorf("offer %d to agent %q, who is not Offered", or.Offer, or.Agent)
		case or.Offer > f.lastOffer || f.offers[or.Offer] != nil:
			return fmt.Errorf("offer %d was not made or is given twice", or.Offer)
		case or.Accepted && v.answering() != nil:
			return fmt.Errorf("call %q is answered twice", r.Call)
		}
		o := &offer{id: or.Offer, visit: v, agent: a, accepted: or.Accepted}
		o.timer.offer = o
		f.offers[o.id] = o
		v.offers = append(v.offers, o)
		a.offer, a.call, a.queue = o, v.call, q
		f.timers.arm(&o.timer, or.Until.UTC())
	}
	if len(v.offers) == 0 {
		if q.removed {
			return fmt.Errorf("call %q waits in the removed queue %q", r.Call, r.Queue)
		}
		f.joinLane(v)
	}
	f.limitWait(v)
	return nil
}
