package acd

import "time"

// Command is a decision of the floor. The imperative ones (Offer, Withdraw,
// Connect, LeaveQueue) are to be performed; the others state what the floor now
// holds to be true, for the readers of the journal.
type Command interface{ command() }

type (
	// Offer asks to ring the agent's phones for the call. Until is when the
	// floor will withdraw the offer by itself (result no_answer).
	Offer struct {
		Offer OfferID   `json:"offer"`
		Call  CallID    `json:"call"`
		Agent AgentID   `json:"agent"`
		Queue QueueID   `json:"queue"`
		Until time.Time `json:"until"`
	}
	// Withdraw asks to stop ringing: CANCEL, or ACK and BYE if the phone was
	// quicker. Result says why: no_answer, caller_gone, lost_race, withdrawn,
	// unreachable, failed. It may name an offer that was accepted (caller gone or
	// bridge not made in time) or whose phone has just ended it by itself.
	Withdraw struct {
		Offer  OfferID     `json:"offer"`
		Call   CallID      `json:"call"`
		Agent  AgentID     `json:"agent"`
		Result OfferResult `json:"result"`
	}
	// Connect asks to bridge the caller with the agent who accepted.
	Connect struct {
		Offer OfferID `json:"offer"`
		Call  CallID  `json:"call"`
		Agent AgentID `json:"agent"`
		Queue QueueID `json:"queue"`
	}
	// LeaveQueue tells the call's flow to go on without an agent. Result is
	// timed_out, full, no_agents, closed or failed.
	LeaveQueue struct {
		Call   CallID      `json:"call"`
		Queue  QueueID     `json:"queue"`
		Result VisitResult `json:"result"`
	}

	// OfferEnded states an offer's result, exactly once for every Offer.
	OfferEnded struct {
		Offer  OfferID     `json:"offer"`
		Call   CallID      `json:"call"`
		Agent  AgentID     `json:"agent"`
		Queue  QueueID     `json:"queue"`
		Result OfferResult `json:"result"`
	}
	// VisitEnded states the result of a call's stay in a queue, exactly once
	// for every CallQueued that the floor took (also one refused at the door).
	VisitEnded struct {
		Call   CallID        `json:"call"`
		Queue  QueueID       `json:"queue"`
		Result VisitResult   `json:"result"`
		Agent  AgentID       `json:"agent,omitempty"` // who answered
		Waited time.Duration `json:"waited"`          // from queue entry to this moment
	}
	// AgentChanged states the whole of an agent's state after a change.
	AgentChanged struct {
		Agent     AgentID   `json:"agent"`
		Presence  Presence  `json:"presence"`
		Reason    string    `json:"reason,omitempty"` // of NotReady
		Work      Work      `json:"work"`
		Reachable bool      `json:"reachable"`
		Private   bool      `json:"private,omitempty"`
		Call      CallID    `json:"call,omitempty"`  // while Offered, Talking or WrapUp
		Queue     QueueID   `json:"queue,omitempty"` // of that call
		Until     time.Time `json:"until,omitzero"`  // the end of the wrap-up or of a rest, where one is set
	}
)

func (Offer) command()        {}
func (Withdraw) command()     {}
func (Connect) command()      {}
func (LeaveQueue) command()   {}
func (OfferEnded) command()   {}
func (VisitEnded) command()   {}
func (AgentChanged) command() {}

// Presence is what the agent chose.
type Presence string

const (
	SignedOut Presence = "SignedOut"
	Ready     Presence = "Ready"
	NotReady  Presence = "NotReady"
)

// Work is what the ACD set. Presence and Work are independent axes.
type Work string

const (
	Idle    Work = "Idle"
	Offered Work = "Offered" // a phone rings, or was answered and is being bridged
	Talking Work = "Talking"
	WrapUp  Work = "WrapUp"
)

// OfferResult is how an offer ended.
type OfferResult string

const (
	OfferAnswered     OfferResult = "answered"
	OfferNoAnswer     OfferResult = "no_answer"
	OfferBusy         OfferResult = "busy"
	OfferRejected     OfferResult = "rejected"
	OfferUnreachable  OfferResult = "unreachable"
	OfferCallerGone   OfferResult = "caller_gone"
	OfferLostRace     OfferResult = "lost_race"
	OfferWithdrawn    OfferResult = "withdrawn"
	OfferDroppedEarly OfferResult = "dropped_before_bridge"
	OfferFailed       OfferResult = "failed"
)

// VisitResult is how a stay in a queue ended.
type VisitResult string

const (
	VisitAnswered  VisitResult = "answered"
	VisitAbandoned VisitResult = "abandoned"
	VisitTimedOut  VisitResult = "timed_out"
	VisitFull      VisitResult = "full"
	VisitNoAgents  VisitResult = "no_agents"
	VisitClosed    VisitResult = "closed"
	VisitCallback  VisitResult = "callback"
	VisitVoicemail VisitResult = "voicemail"
	VisitKey       VisitResult = "key"
	VisitMoved     VisitResult = "moved"
	VisitFailed    VisitResult = "failed"
)
