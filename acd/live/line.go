package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hotline/acd"
	"hotline/sip/media"
)

// Leg is one party of a call: a SIP dialog and its audio.
type Leg interface {
	ID() string                           // the SIP Call-ID
	SetCall(call string)                  // the visit that the leg belongs to
	Answer(ctx context.Context) error     // picks up an incoming leg; the audio runs on return
	Hangup()                              // ends the leg in whatever state; never blocks
	Done() <-chan struct{}                // closed when the leg is over
	HungUp() (byPeer bool, detail string) // who ended it; after Done
	Settled() <-chan struct{}             // closed when the peer knows that the leg is over, or seems dead
	Audio() *media.Stream                 // nil only if no port could be had
	Holds() <-chan bool                   // true: the peer put us on hold; false: it came back
	// Alive asks the peer whether it still has the dialog (OPTIONS inside it).
	// An error means that it does not answer or does not know it.
	Alive(ctx context.Context) error
}

// Phones rings agents.
type Phones interface {
	// Ring rings all phones of an agent until one answers. When ctx ends
	// first, whatever rings is cancelled and the cause returned. An error that
	// holds a *RingError says how the phones refused. ringing is called at the
	// first sign that a phone rings.
	Ring(ctx context.Context, r Ring, ringing func()) (Leg, error)
	// ByeAfterCrash ends a dialog that the run before left open. state is what
	// DialogOpened kept.
	ByeAfterCrash(ctx context.Context, state []byte) error
}

// Ring says whom to ring and what their display shows.
type Ring struct {
	Agent   acd.AgentID
	Call    acd.CallID
	Beside  *media.Stream // the caller's audio: both legs share a shard
	Display string        // shown as the caller's name
	From    string        // shown as the caller's number
}

// RingError is a refusal by the agent's phones.
type RingError struct {
	Result acd.OfferResult // busy, rejected, unreachable, no_answer or failed
	Detail string
}

func (e *RingError) Error() string { return fmt.Sprintf("%s: %s", e.Result, e.Detail) }

// Reasons for which an offer's context ends; Phones may tell them apart.
var (
	ErrElsewhere = errors.New("call completed elsewhere")
	ErrWithdrawn = errors.New("offer withdrawn")
)

// Arrival is a caller at the door.
type Arrival struct {
	Leg    Leg
	Number string      // dialled
	Caller string      // the caller's number, empty if withheld
	Name   string      // display name
	Trunk  string      // by which trunk it came
	Agent  acd.AgentID // the authenticated agent who dials, if one does
}

// Tape is a recording under way.
type Tape interface {
	File() string
	Caller() media.Tap
	Agent() media.Tap
	// Close ends the file. length is the recording's, lost what never reached
	// the disk.
	Close() (length, lost time.Duration, err error)
}
