package sip

import (
	"context"
	"fmt"

	sipmsg "github.com/emiago/sipgo/sip"
)

// Alive asks the peer by an OPTIONS within the dialog whether it still has the dialog. It returns nil when the peer answers anything but
// "no such dialog", and an error when it says that (481, 408: RFC 3261 §12.2.1.2), does not answer before ctx ends, or the leg is not up.
func (l *Leg) Alive(ctx context.Context) error {
	var req *sipmsg.Request
	err := l.ask(ctx, func(l *Leg) error {
		if l.phase != confirmed || l.over {
			return ErrOver
		}
		req = l.dialog.next(l.e, sipmsg.OPTIONS)
		req.AppendHeader(sipmsg.NewHeader("Accept", "application/sdp"))
		return nil
	})
	if err != nil {
		return err
	}
	res, err := l.e.exchange(ctx, req)
	if err != nil {
		return err
	}
	if res.StatusCode == 481 || res.StatusCode == 408 {
		return fmt.Errorf("OPTIONS within the dialog: %d %s", res.StatusCode, short(res.Reason))
	}
	return nil
}

// Settled is closed when the peer knows that the leg is over: it answered our BYE or CANCEL, or sent its own, or has not answered in
// time (RFC 3261 §17.1.2.2: 32 s). A phone with one line may be busy until then.
func (l *Leg) Settled() <-chan struct{} { return l.calm }
