package acd

import (
	"cmp"
	"strings"
	"time"
)

// How long things take where the configuration does not say.
const (
	defaultRing      = 20 * time.Second // Queue.RingFor
	defaultHeadStart = time.Minute      // Queue.HeadStart
	rest             = 10 * time.Second // of an agent after an offer that failed on the agent's side
	bridgeWithin     = 10 * time.Second // from OfferAccepted to CallConnected

	// longest is the most that any configured duration counts for, so that
	// sums of them never overflow.
	longest = 365 * 24 * time.Hour
)

// timer is one deadline. It is part of the agent, offer or visit that it
// concerns, of which exactly one is set.
type timer struct {
	at    time.Time
	agent *agent
	offer *offer
	visit *visit
	pos   int // place in timers + 1; 0: not armed
}

// before is a total order: by time, then agents, offers, visits. Offers come
// before visits so that a phone that rang its full time counts as no_answer
// also if the caller's longest wait ends in the same moment.
func (t *timer) before(u *timer) bool {
	if c := t.at.Compare(u.at); c != 0 {
		return c < 0
	}
	if c := cmp.Compare(t.rank(), u.rank()); c != 0 {
		return c < 0
	}
	switch {
	case t.agent != nil:
		return strings.Compare(string(t.agent.id), string(u.agent.id)) < 0
	case t.offer != nil:
		return t.offer.id < u.offer.id
	default:
		return t.visit.arrival < u.visit.arrival
	}
}

func (t *timer) rank() int {
	switch {
	case t.agent != nil:
		return 0
	case t.offer != nil:
		return 1
	default:
		return 2
	}
}

// timers is a binary heap, the next deadline first.
type timers []*timer

func (h timers) first() *timer {
	if len(h) == 0 {
		return nil
	}
	return h[0]
}

// arm sets t to go off at the given time, whether it was armed or not.
func (h *timers) arm(t *timer, at time.Time) {
	h.disarm(t)
	t.at = at
	*h = append(*h, t)
	t.pos = len(*h)
	h.up(len(*h) - 1)
}

// disarm does nothing if t is not armed.
func (h *timers) disarm(t *timer) {
	if t.pos == 0 {
		return
	}
	i, last := t.pos-1, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	t.pos = 0
	if i < last {
		h.down(i)
		h.up(i)
	}
}

func (h timers) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

func (h timers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].before(h[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h timers) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(h[i]) {
			return
		}
		h.swap(i, child)
		i = child
	}
}

// fireDue does everything that is due by now.
func (f *Floor) fireDue() {
	for {
		t := f.timers.first()
		if t == nil || t.at.After(f.now) {
			return
		}
		f.timers.disarm(t)
		switch {
		case t.agent != nil:
			f.restOrWrapUpOver(t.agent)
		case t.offer != nil:
			f.offerDue(t.offer)
		default:
			f.waitedTooLong(t.visit)
		}
	}
}
