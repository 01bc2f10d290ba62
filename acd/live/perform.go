package live

import (
	"slices"

	"hotline/acd"
)

// perform carries out one decision. It runs on the loop and never blocks.
// Withdraw is not here: commit performs it before the append is safe.
func (l *looper) perform(cmd acd.Command) {
	switch cmd := cmd.(type) {
	case acd.Offer:
		// An offer that was taken back within its own batch never rings: its
		// Withdraw has passed and nobody would stop the phone.
		if !slices.Contains(l.withdrawn, cmd.Offer) {
			l.startRing(cmd)
		}
	case acd.Connect:
		if c := l.call(cmd.Call); c != nil {
			c.tell(verdict{connect: l.ring(cmd.Offer)})
		}
	case acd.LeaveQueue:
		if c := l.call(cmd.Call); c != nil {
			c.tell(verdict{left: cmd.Result})
		}
	}
}

func (r *Referee) call(id acd.CallID) *call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[id]
}

func (r *Referee) ring(id acd.OfferID) *ring {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rings[id]
}
