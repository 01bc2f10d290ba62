package acd

import (
	"slices"
	"time"
)

// AgentState is how an agent stands, for readers.
type AgentState struct {
	Agent     AgentID   `json:"agent"`
	Name      string    `json:"name,omitempty"`
	Presence  Presence  `json:"presence"`
	Reason    string    `json:"reason,omitempty"` // of NotReady
	Work      Work      `json:"work"`
	Reachable bool      `json:"reachable"`
	Private   bool      `json:"private,omitempty"`
	Call      CallID    `json:"call,omitempty"`      // while Offered, Talking or WrapUp
	Queue     QueueID   `json:"queue,omitempty"`     // of that call
	Offer     OfferID   `json:"offer,omitempty"`     // while Offered
	Until     time.Time `json:"until,omitzero"`      // the end of the wrap-up or of a rest, where one is set
	IdleSince time.Time `json:"idle_since,omitzero"` // since when Available; while Offered, since when before
	Skills    []Skill   `json:"skills,omitempty"`    // by name
	Removed   bool      `json:"removed,omitempty"`   // no longer configured, finishing a call
}

// WaitingCall is a call in a queue, for readers.
type WaitingCall struct {
	Call      CallID    `json:"call"`
	Queue     QueueID   `json:"queue"`
	Since     time.Time `json:"since"`               // entry into the queue
	Position  int       `json:"position"`            // in its queue, from 1, in the order of service
	Needs     []Need    `json:"needs,omitempty"`     // the call's own, by skill
	Priority  int       `json:"priority,omitempty"`  // 0 to 10
	Ringing   bool      `json:"ringing,omitempty"`   // an agent's phone rings for it or was answered
	Answering bool      `json:"answering,omitempty"` // an agent's phone was answered and is being bridged
}

// Agents gives a copy of every agent's state, by id.
func (f *Floor) Agents() []AgentState {
	all := make([]AgentState, 0, len(f.agents))
	for _, a := range f.agents {
		c := a.changed()
		s := AgentState{
			Agent: a.id, Name: a.name, Presence: c.Presence, Reason: c.Reason, Work: c.Work,
			Reachable: c.Reachable, Private: c.Private, Call: c.Call, Queue: c.Queue, Until: c.Until,
			IdleSince: a.idleSince, Skills: slices.Clone(a.skills), Removed: a.removed,
		}
		if a.offer != nil {
			s.Offer = a.offer.id
		}
		all = append(all, s)
	}
	return all
}

// Waiting gives a copy of every call in a queue, in the order of service over
// all queues; calls that are being rung for stand in the place that they would
// have again.
func (f *Floor) Waiting() []WaitingCall {
	visits := f.openVisits()
	slices.SortFunc(visits, serviceOrder)
	all := make([]WaitingCall, 0, len(visits))
	position := make(map[QueueID]int, len(f.queues))
	for _, v := range visits {
		position[v.queue.ID]++
		all = append(all, WaitingCall{
			Call: v.call, Queue: v.queue.ID, Since: v.since, Position: position[v.queue.ID],
			Needs: slices.Clone(v.needs), Priority: v.priority,
			Ringing: len(v.offers) > 0, Answering: v.answering() != nil,
		})
	}
	return all
}
