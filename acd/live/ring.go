package live

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"hotline/acd"
	"hotline/acd/journal"
)

// ring is one offer while it is open: an agent's phones ring, or one of them
// has answered and waits to be bridged.
type ring struct {
	offer    acd.Offer
	ctx      context.Context
	withdraw context.CancelCauseFunc // by the floor's Withdraw

	leg   Leg           // set before OfferAccepted is told
	owned atomic.Bool   // the leg is the story's, or given up by the ring: whoever sets it ends the leg
	taken chan struct{} // closed when the story has it
}

// take makes the answered leg the story's own. It fails when the ring has given
// it up before, since the agent hung up or the floor took the offer back.
func (g *ring) take() bool {
	if !g.owned.CompareAndSwap(false, true) {
		return false
	}
	close(g.taken)
	return true
}

// giveUp is the opposite of take, and only one of them succeeds.
func (g *ring) giveUp() bool { return g.owned.CompareAndSwap(false, true) }

// startRing rings an agent in a goroutine that ends when the phones refused,
// the offer is withdrawn, or the story has taken the leg.
func (r *Referee) startRing(o acd.Offer) {
	c := r.call(o.Call)
	if c == nil || !r.inside.enter() {
		// The caller is gone and the floor will hear of it (or has): the offer
		// must still end.
		go r.Tell(acd.OfferRefused{Offer: o.Offer, Result: acd.OfferFailed})
		return
	}
	g := &ring{offer: o, taken: make(chan struct{})}
	g.ctx, g.withdraw = context.WithCancelCause(context.Background())
	r.mu.Lock()
	r.rings[o.Offer] = g
	r.mu.Unlock()
	c.rings.Add(1)
	go r.runRing(g, c)
}

func (r *Referee) runRing(g *ring, c *call) {
	defer r.inside.leave()
	defer c.rings.Done()
	defer func() {
		r.mu.Lock()
		delete(r.rings, g.offer.Offer)
		r.mu.Unlock()
		g.withdraw(nil)
		if p := recover(); p != nil {
			r.log.Error("ringing an agent panicked", "offer", g.offer.Offer, "agent", g.offer.Agent, "panic", p, "stack", string(debug.Stack()))
			if g.leg != nil && g.giveUp() {
				g.leg.Hangup()
			}
			r.Tell(acd.OfferRefused{Offer: g.offer.Offer, Result: acd.OfferFailed})
		}
	}()

	rang := false
	leg, err := r.cfg.Phones.Ring(g.ctx, Ring{
		Agent:   g.offer.Agent,
		Call:    g.offer.Call,
		Beside:  c.leg.Audio(),
		Display: display(g.offer.Queue, c.from),
		From:    c.from.Caller,
	}, func() {
		if !rang {
			rang = true
			c.ringing.Add(1)
			r.Tell(journal.PhoneRang{Offer: g.offer.Offer, Call: g.offer.Call, Agent: g.offer.Agent})
		}
	})
	if rang {
		defer c.ringing.Add(-1)
	}
	if err != nil {
		if g.ctx.Err() != nil {
			return // withdrawn: the floor knows
		}
		refused := acd.OfferRefused{Offer: g.offer.Offer, Result: acd.OfferFailed}
		var re *RingError
		if errors.As(err, &re) {
			refused.Result = re.Result
		}
		r.log.Info("agent's phone refused", "call", g.offer.Call, "agent", g.offer.Agent, "result", refused.Result, "error", err)
		r.Tell(refused)
		return
	}

	g.leg = leg
	r.Tell(acd.OfferAccepted{Offer: g.offer.Offer})
	select {
	case <-g.taken:
		return
	case <-g.ctx.Done(): // withdrawn although answered: crossing, or the caller is gone
	case <-leg.Done():
	}
	if !g.giveUp() {
		return // taken in the same moment: what has happened to the leg is the story's to find
	}
	select {
	case <-leg.Done():
		r.Tell(acd.AgentDropped{Offer: g.offer.Offer})
	default:
	}
	leg.Hangup()
	<-leg.Done()
	r.legEnded(g.offer.Call, journal.Agent, g.offer.Agent, leg)
}

// withdraw ends an offer's ringing.
func (l *looper) withdraw(w acd.Withdraw) {
	l.withdrawn = append(l.withdrawn, w.Offer)
	g := l.ring(w.Offer)
	if g == nil {
		return
	}
	if w.Result == acd.OfferLostRace {
		g.withdraw(ErrElsewhere)
	} else {
		g.withdraw(ErrWithdrawn)
	}
}

// display is what the agent's phone shows: the queue and the caller.
func display(q acd.QueueID, a Arrival) string {
	who := a.Caller
	if a.Name != "" && a.Name != a.Caller {
		who = strings.TrimSpace(a.Name + " " + a.Caller)
	}
	if who == "" {
		who = "anonymous"
	}
	return fmt.Sprintf("%s: %s", q, who)
}
