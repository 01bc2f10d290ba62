package ivr

import (
	"context"

	"hotline/sip/media"
)

// Voice is what a flow needs of a leg; *media.Stream has it.
type Voice interface {
	// Say plays the clips one after the other. It returns nil at their end, or
	// the cause of ctx as soon as ctx is done.
	Say(ctx context.Context, clips ...*media.Clip) error
	// Digits gives the keys in the order in which they were pressed, also those
	// pressed before anybody asked.
	Digits() <-chan media.Digit
}

// Trace is told what happens in a flow, as it happens. It is called on the
// goroutine of Flow.Run.
type Trace interface {
	Step(step string)     // the flow reached a step
	Digit(key byte)       // a key was taken, right or wrong
	Language(lang string) // the call's language is this one from now on
}

// Language is one that the built-in prompts speak.
type Language string

// The languages of the built-in prompts.
const (
	Vietnamese Language = "vi"
	English    Language = "en"
	Chinese    Language = "zh"
)

// languages in the order of the language menu: the first has key 1, and is the
// one of a caller who does not choose.
var languages = [...]Language{Vietnamese, English, Chinese}

// Flow is the part of a call from the answer to the queue.
type Flow interface {
	// Run speaks with the caller. When ctx is done (the caller hung up), it stops
	// at once and returns the cause. Keys that were pressed ahead and not asked
	// for are forgotten.
	Run(ctx context.Context, v Voice, t Trace) (Choice, error)
}

// Choice is where a flow led.
type Choice struct {
	Language Language // empty: nobody asked
	Queue    string
}

// Queue is the short form of a flow: straight into the queue. It says nothing
// and asks nothing.
func Queue(queue string) Flow { return straight(queue) }

type straight string

func (s straight) Run(ctx context.Context, _ Voice, _ Trace) (Choice, error) {
	if ctx.Err() != nil {
		return Choice{}, context.Cause(ctx)
	}
	return Choice{Queue: string(s)}, nil
}
