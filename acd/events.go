package acd

// Event is something that happened, told to the floor. Any event is legal in
// any state: SIP guarantees that late, doubled and crossing ones arrive, and
// the floor ignores what no longer applies.
type Event interface{ event() }

type (
	// Configured brings a new configuration. It never resets runtime state. A
	// new agent begins SignedOut and unreachable; events about an agent who is
	// not configured (yet) are ignored.
	Configured struct {
		Config Config `json:"config"`
	}

	// AgentSignedIn makes the agent Ready, from whatever presence.
	AgentSignedIn struct {
		Agent AgentID `json:"agent"`
	}
	// AgentPaused makes the agent NotReady with a reason. An agent who is
	// talking goes on talking; one who is being offered a call loses the offer.
	AgentPaused struct {
		Agent  AgentID `json:"agent"`
		Reason string  `json:"reason"`
	}
	// AgentSignedOut makes the agent SignedOut.
	AgentSignedOut struct {
		Agent AgentID `json:"agent"`
	}
	// AgentReachable says whether the agent's phone can be rung at all.
	AgentReachable struct {
		Agent     AgentID `json:"agent"`
		Reachable bool    `json:"reachable"`
	}
	// PrivateCallStarted says that the agent's phone is in a call of the
	// agent's own (a feature code counts): no offers meanwhile.
	PrivateCallStarted struct {
		Agent AgentID `json:"agent"`
	}
	// PrivateCallEnded is its end.
	PrivateCallEnded struct {
		Agent AgentID `json:"agent"`
	}
	// WrapUpEnded says that the agent ended the wrap-up early.
	WrapUpEnded struct {
		Agent AgentID `json:"agent"`
	}

	// CallQueued says that a caller joined a queue and waits. The event's time
	// is the enqueue time.
	CallQueued struct {
		Call     CallID  `json:"call"`
		Queue    QueueID `json:"queue"`
		Needs    []Need  `json:"needs,omitempty"`    // beside the queue's own, e.g. the language
		Priority int     `json:"priority,omitempty"` // 0 to 10
	}
	// CallerHungUp says that the caller is gone, waiting, ringing or talking.
	CallerHungUp struct {
		Call CallID `json:"call"`
	}
	// CallLeftQueue says that the call leaves its queue for another reason
	// than a hang-up: a key, voicemail, our own failure.
	CallLeftQueue struct {
		Call   CallID      `json:"call"`
		Result VisitResult `json:"result"`
	}

	// OfferAccepted says that the agent's phone answered. The first one of a
	// call wins; the floor answers with Connect or Withdraw.
	OfferAccepted struct {
		Offer OfferID `json:"offer"`
	}
	// OfferRefused says that an offer ended on the phone's side: busy,
	// rejected, unreachable, no_answer (the phone gave up by itself) or failed.
	OfferRefused struct {
		Offer  OfferID     `json:"offer"`
		Result OfferResult `json:"result"`
	}
	// AgentDropped says that the agent hung up after answering and before the
	// bridge. The caller keeps the place.
	AgentDropped struct {
		Offer OfferID `json:"offer"`
	}
	// CallConnected says that the bridge stands: caller and agent hear each other.
	CallConnected struct {
		Offer OfferID `json:"offer"`
	}
	// TalkEnded says that the agent's part in the call is over, whoever ended it.
	TalkEnded struct {
		Call  CallID  `json:"call"`
		Agent AgentID `json:"agent"`
	}

	// Tick says only what time it is. Call Step with it by Deadline.
	Tick struct{}
)

func (Configured) event()         {}
func (AgentSignedIn) event()      {}
func (AgentPaused) event()        {}
func (AgentSignedOut) event()     {}
func (AgentReachable) event()     {}
func (PrivateCallStarted) event() {}
func (PrivateCallEnded) event()   {}
func (WrapUpEnded) event()        {}
func (CallQueued) event()         {}
func (CallerHungUp) event()       {}
func (CallLeftQueue) event()      {}
func (OfferAccepted) event()      {}
func (OfferRefused) event()       {}
func (AgentDropped) event()       {}
func (CallConnected) event()      {}
func (TalkEnded) event()          {}
func (Tick) event()               {}
