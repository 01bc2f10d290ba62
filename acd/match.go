package acd

import "slices"

// match offers waiting callers to available agents until no available agent
// fits any waiting caller: each caller in service order gets the first agent
// of the line who fits.
//
// Callers of one lane need the same, so a lane whose head nobody can serve is
// done with, and never holds up another one. Between Steps no agent of the line
// fits any lane; so only lanes that were empty, and agents who have just joined
// the line, can bring anything new.
func (f *Floor) match() {
	if len(f.freed) == 0 && len(f.fresh) == 0 {
		return
	}
	open := f.openLanes()
	for len(open) > 0 && len(f.line) > 0 {
		next := 0
		for i := range open {
			if serviceOrder(open[i].visits[0], open[next].visits[0]) < 0 {
				next = i
			}
		}
		l := open[next]
		a := f.firstInLine(l)
		if a != nil {
			f.ring(l.visits[0], a)
		}
		if a == nil || len(l.visits) == 0 {
			open = slices.Delete(open, next, next+1)
		}
	}
	for _, l := range f.fresh {
		l.fresh = false
	}
	f.fresh, f.freed = empty(f.fresh), empty(f.freed)
}

// openLanes gives the lanes with callers in which a match is possible.
func (f *Floor) openLanes() []*lane {
	f.open = f.open[:0]
	if len(f.freed) == 0 {
		for _, l := range f.fresh {
			if len(l.visits) > 0 {
				f.open = append(f.open, l)
			}
		}
		return f.open
	}
	for _, q := range f.queues {
		for _, l := range q.lanes {
			if len(l.visits) > 0 && (l.fresh || f.freedFits(l)) {
				f.open = append(f.open, l)
			}
		}
	}
	return f.open
}

func (f *Floor) freedFits(l *lane) bool {
	for _, a := range f.freed {
		if a.inLine && meets(a.skills, l.asks) {
			return true
		}
	}
	return false
}

// firstInLine finds who has been idle longest of those who may serve the lane.
func (f *Floor) firstInLine(l *lane) *agent {
	for _, a := range f.line {
		if meets(a.skills, l.asks) {
			return a
		}
	}
	return nil
}
