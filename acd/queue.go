package acd

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// queue is a configured queue and those who wait in it.
type queue struct {
	Queue
	// removed queues are no longer configured. They take nobody; a call that
	// is being answered or talks keeps its queue until it is over.
	removed bool
	waiting int     // visits open, also those being rung for or answered
	lanes   []*lane // some may be empty
}

// lane holds the callers of one queue who need the same and for whom nobody is
// being rung, in the order in which they are served.
type lane struct {
	queue  *queue
	needs  []Need // the callers' own, sorted
	asks   []Need // theirs and the queue's, sorted
	visits []*visit
	// fresh: the lane was empty at the last match, so that its callers may
	// fit an agent who has been available for long. The callers of any other
	// lane can only fit an agent who has just become available.
	fresh bool
}

func (q *queue) ringFor() time.Duration   { return within(q.RingFor, defaultRing) }
func (q *queue) headStart() time.Duration { return within(q.HeadStart, defaultHeadStart) }
func (q *queue) wrapUp() time.Duration    { return within(q.WrapUp, 0) }
func (q *queue) maxWait() time.Duration   { return within(q.MaxWait, 0) }
func (q *queue) missedToPause() int       { return max(q.MissedToPause, 1) }

// within gives the configured duration, or the default if there is none.
func within(d, byDefault time.Duration) time.Duration {
	if d <= 0 {
		return byDefault
	}
	return min(d, longest)
}

func queueByID(q *queue, id QueueID) int { return strings.Compare(string(q.ID), string(id)) }

// laneFor finds or makes the lane of callers with these needs (sorted).
func (q *queue) laneFor(needs []Need) *lane {
	var spare *lane
	for _, l := range q.lanes {
		if slices.Equal(l.needs, needs) {
			return l
		}
		if len(l.visits) == 0 {
			spare = l
		}
	}
	if spare == nil { // else its place is taken over, so that lanes don't pile up
		spare = &lane{queue: q}
		q.lanes = append(q.lanes, spare)
	}
	spare.needs = needs
	spare.asks = sortNeeds(q.Needs, needs)
	return spare
}

// serviceOrder is the order in which callers are served, over all queues.
func serviceOrder(a, b *visit) int {
	return cmp.Or(
		cmp.Compare(b.queue.Weight, a.queue.Weight),
		a.effective.Compare(b.effective),
		cmp.Compare(a.arrival, b.arrival),
	)
}

// joinLane puts the caller in its place among those who wait.
func (f *Floor) joinLane(v *visit) {
	l := v.queue.laneFor(v.needs)
	if len(l.visits) == 0 && !l.fresh {
		l.fresh = true
		f.fresh = append(f.fresh, l)
	}
	i, _ := slices.BinarySearchFunc(l.visits, v, serviceOrder)
	l.visits = slices.Insert(l.visits, i, v)
	v.lane = l
}

func (f *Floor) leaveLane(v *visit) {
	if v.lane == nil {
		return
	}
	if i, found := slices.BinarySearchFunc(v.lane.visits, v, serviceOrder); found {
		v.lane.visits = slices.Delete(v.lane.visits, i, i+1)
	}
	v.lane = nil
}
