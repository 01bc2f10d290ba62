package journal

import (
	"encoding/json"
	"time"

	"hotline/acd"
)

// Fact is one thing that the journal remembers: an event told to the floor
// (acd.Event), a decision of the floor (acd.Command), or one of the facts of
// this file, which the floor does not need but the record does.
type Fact any

// Entry is one stamped fact.
type Entry struct {
	At   time.Time // UTC, whole microseconds, never before the entry in front of it
	Fact Fact
}

// Outcome is how a call ended: exactly one per call.
type Outcome string

const (
	Answered   Outcome = "answered"
	SelfServed Outcome = "self_served"
	Abandoned  Outcome = "abandoned"
	LeftInFlow Outcome = "left_in_flow"
	TimedOut   Outcome = "timed_out"
	NoAgents   Outcome = "no_agents"
	Full       Outcome = "full"
	Closed     Outcome = "closed"
	Blocked    Outcome = "blocked"
	Rejected   Outcome = "rejected"
	Failed     Outcome = "failed"
)

// Stage is where in its life a call was; the same words name its segments.
type Stage string

const (
	Flow    Stage = "Flow"
	Waiting Stage = "Waiting"
	Ringing Stage = "Ringing"
	Talking Stage = "Talking"
	Hold    Stage = "Hold"
)

// Party is who did something to a call.
type Party string

const (
	Caller Party = "caller"
	Agent  Party = "agent"
	System Party = "system"
)

type (
	// ServiceStarted opens a run of the service. LastSeen is the stamp of the
	// last entry that the run before it left, zero if there was none; Clean
	// says whether that run ended by ServiceStopped.
	ServiceStarted struct {
		Version  string    `json:"version"`
		LastSeen time.Time `json:"last_seen,omitzero"`
		Clean    bool      `json:"clean"`
	}
	// ServiceStopped closes a run that was shut down in order.
	ServiceStopped struct{}
	// Heartbeat is written every few seconds while a call is open or an agent
	// signed in, so that after a crash the last moment seen is known.
	Heartbeat struct{}
	// Gap says that facts were lost (journal full or broken): Lost of them, since From.
	Gap struct {
		Lost int       `json:"lost"`
		From time.Time `json:"from"`
	}
	// AgentsNamed says how the configured agents are called, so that the
	// record can show names as they were. Written at start and at each reload.
	AgentsNamed struct {
		Agents []AgentName `json:"agents"`
	}

	// CallArrived is the first fact of every call.
	CallArrived struct {
		Call      acd.CallID  `json:"call"`
		Number    string      `json:"number"`              // what was dialled
		Caller    string      `json:"caller"`              // number or user; empty if withheld
		Name      string      `json:"name,omitempty"`      // display name
		Trunk     string      `json:"trunk,omitempty"`     // the trunk it came in by
		Agent     acd.AgentID `json:"agent,omitempty"`     // the agent who dialled, if authenticated
		Direction string      `json:"direction,omitempty"` // inbound (default), internal, outbound
	}
	// CallAnswered says that we picked up (200 OK).
	CallAnswered struct {
		Call acd.CallID `json:"call"`
	}
	// StepEntered says that the call's flow reached a step.
	StepEntered struct {
		Call acd.CallID `json:"call"`
		Step string     `json:"step"`
	}
	// DigitPressed is one key; Key is empty when it was redacted.
	DigitPressed struct {
		Call  acd.CallID `json:"call"`
		Key   string     `json:"key"`
		Party Party      `json:"party"`
	}
	// LanguageChosen is the caller's language: vi, en or zh.
	LanguageChosen struct {
		Call     acd.CallID `json:"call"`
		Language string     `json:"language"`
	}
	// PhoneRang says that a phone of the offer rings (first 180 or 183).
	PhoneRang struct {
		Offer acd.OfferID `json:"offer"`
		Call  acd.CallID  `json:"call"`
		Agent acd.AgentID `json:"agent"`
	}
	// HoldStarted and HoldEnded bracket the agent holding the caller.
	HoldStarted struct {
		Call  acd.CallID  `json:"call"`
		Agent acd.AgentID `json:"agent"`
	}
	HoldEnded struct {
		Call  acd.CallID  `json:"call"`
		Agent acd.AgentID `json:"agent"`
	}
	// RecordingStarted names the file, absolute.
	RecordingStarted struct {
		Call acd.CallID `json:"call"`
		File string     `json:"file"`
	}
	// RecordingClosed says how long the file is and whether samples were lost
	// on the way to the disk.
	RecordingClosed struct {
		Call   acd.CallID    `json:"call"`
		File   string        `json:"file"`
		Length time.Duration `json:"length"`
		Lost   time.Duration `json:"lost,omitempty"`
		Error  string        `json:"error,omitempty"`
	}
	// LegEnded sums up one party's audio and signalling at its end.
	LegEnded struct {
		Call   acd.CallID  `json:"call"`
		Party  Party       `json:"party"`
		Agent  acd.AgentID `json:"agent,omitempty"`
		Leg    string      `json:"leg"`              // SIP Call-ID
		Detail string      `json:"detail,omitempty"` // how it ended
		Codec  string      `json:"codec,omitempty"`

		Sent       uint64        `json:"sent"`        // RTP packets
		Received   uint64        `json:"received"`    // RTP packets
		Lost       uint64        `json:"lost"`        // of those expected from the peer
		RemoteLost uint64        `json:"remote_lost"` // as the peer reports
		Jitter     time.Duration `json:"jitter"`      // of what we received, RFC 3550
		RoundTrip  time.Duration `json:"round_trip"`  // last measured, 0 unknown
	}
	// CallEnded is the last fact of every call and gives its one outcome.
	// EndedAt is set where the end was earlier than this entry (after a crash).
	CallEnded struct {
		Call     acd.CallID `json:"call"`
		Outcome  Outcome    `json:"outcome"`
		Stage    Stage      `json:"stage"`
		HungUpBy Party      `json:"hung_up_by"`
		Detail   string     `json:"detail,omitempty"`
		EndedAt  time.Time  `json:"ended_at,omitzero"`
	}

	// DialogOpened keeps what is needed to send BYE after a crash; State is
	// the sip package's own. DialogClosed takes it back.
	DialogOpened struct {
		Dialog string          `json:"dialog"`
		Call   acd.CallID      `json:"call"`
		State  json.RawMessage `json:"state"`
	}
	DialogClosed struct {
		Dialog string `json:"dialog"`
	}

	// FloorSnapshot allows replay to start here. It holds the floor and the
	// calls, offers and dialogs that are open besides. LostFrom is set in the
	// one behind a Gap: facts from then on are missing, and what was open
	// before and is not here ended in between, nobody knows how.
	FloorSnapshot struct {
		Floor    json.RawMessage    `json:"floor"`
		Agents   []acd.AgentChanged `json:"agents,omitempty"`
		Calls    []OpenCall         `json:"calls,omitempty"`
		Offers   []acd.Offer        `json:"offers,omitempty"`
		Dialogs  []DialogOpened     `json:"dialogs,omitempty"`
		LostFrom time.Time          `json:"lost_from,omitzero"`
	}
	// Alarm is something that an operator must know.
	Alarm struct {
		Text string `json:"text"`
	}
)

// AgentName is an agent's name and extension as configured.
type AgentName struct {
	Agent     acd.AgentID `json:"agent"`
	Name      string      `json:"name"`
	Extension string      `json:"extension"`
}

// OpenCall is a call that has arrived and not ended.
type OpenCall struct {
	Call      acd.CallID `json:"call"`
	Stage     Stage      `json:"stage"`
	Recording string     `json:"recording,omitempty"` // the file being written

	Arrival   CallArrived `json:"arrival,omitzero"`
	ArrivedAt time.Time   `json:"arrived_at,omitzero"`
	Queue     acd.QueueID `json:"queue,omitempty"` // the last that it entered
}
