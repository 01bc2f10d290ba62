package acd

import "time"

// Identifiers are distinct types so that one is never taken for another.
type (
	// CallID names one caller's whole visit. It survives transfers and is unique over restarts.
	CallID string
	// AgentID names a person; it stays when the extension or the name changes.
	AgentID string
	// QueueID is the name of a queue in the configuration.
	QueueID string
	// OfferID counts offers; unique within one journal together with the call.
	OfferID uint64
)

// Config is everything the floor is told about the centre. It comes in as an
// event (Configured), so that a recorded day carries its own configuration.
type Config struct {
	Version string  `json:"version,omitempty"` // of the program that made the configuration
	Seed    uint64  `json:"seed"`              // for the orders that draw lots
	Queues  []Queue `json:"queues"`
	Agents  []Agent `json:"agents"`
}

// Queue is where callers of one kind wait.
type Queue struct {
	ID        QueueID       `json:"id"`
	Needs     []Need        `json:"needs,omitempty"`      // what an agent must have to serve anybody of this queue
	Weight    int           `json:"weight,omitempty"`     // the heavier queue is served first
	RingFor   time.Duration `json:"ring_for"`             // how long one offer rings
	WrapUp    time.Duration `json:"wrap_up,omitempty"`    // after a talk; 0: none
	MaxWait   time.Duration `json:"max_wait,omitempty"`   // 0: as long as the caller likes
	MaxLength int           `json:"max_length,omitempty"` // callers waiting at once; 0: no limit
	HeadStart time.Duration `json:"head_start,omitempty"` // what one step of priority is worth
	// MissedToPause is how many offers in a row an agent may leave unanswered
	// before the floor makes the agent NotReady("missed offer"). 0 means 1.
	MissedToPause int `json:"missed_to_pause,omitempty"`
}

// Agent is a person with skills. Presence and work are state, not configuration.
type Agent struct {
	ID     AgentID `json:"id"`
	Name   string  `json:"name,omitempty"`
	Skills []Skill `json:"skills,omitempty"`
}

// Skill is a named ability with a level from 1 to 10.
type Skill struct {
	Name  string `json:"name"`
	Level int    `json:"level"`
}

// Need asks for a skill of at least a level. A missing skill is not level 0: it
// fails every need, also one of level 0.
type Need struct {
	Skill   string `json:"skill"`
	AtLeast int    `json:"at_least"`
}
