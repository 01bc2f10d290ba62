package main

import (
	"context"
	"errors"

	"hotline/acd"
	"hotline/acd/live"
	"hotline/sip"
)

// phones lets the referee ring agents by SIP.
type phones struct {
	endpoint   *sip.Endpoint
	extensions map[acd.AgentID]string
}

func (p *phones) Ring(ctx context.Context, r live.Ring, ringing func()) (live.Leg, error) {
	// The endpoint tells phones that lost the race so (RFC 3326) by its own
	// word for it.
	ctx, cancel := translateCause(ctx)
	defer cancel(nil)
	leg, err := p.endpoint.Dial(ctx, sip.Dial{
		User:    p.extensions[r.Agent],
		Call:    string(r.Call),
		Beside:  r.Beside,
		Display: r.Display,
		From:    r.From,
	}, ringing)
	if err != nil {
		return nil, refusal(err)
	}
	return leg, nil
}

func (p *phones) ByeAfterCrash(ctx context.Context, state []byte) error {
	return p.endpoint.ByeAfterCrash(ctx, state)
}

func translateCause(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		if errors.Is(cause, live.ErrElsewhere) {
			cause = sip.ErrElsewhere
		}
		cancel(cause)
	})
	return out, func(cause error) { stop(); cancel(cause) }
}

// refusal says in the floor's words how the phones refused.
func refusal(err error) error {
	var de *sip.DialError
	if !errors.As(err, &de) {
		return err
	}
	result := acd.OfferFailed
	switch de.Result {
	case sip.DialBusy:
		result = acd.OfferBusy
	case sip.DialRejected:
		result = acd.OfferRejected
	case sip.DialUnreachable:
		result = acd.OfferUnreachable
	case sip.DialNoAnswer:
		result = acd.OfferNoAnswer
	}
	return &live.RingError{Result: result, Detail: de.Error()}
}
