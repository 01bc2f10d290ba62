package live

import (
	"sync"

	"hotline/acd"
)

// privateCalls counts the calls of their own that agents are in: a phone may
// hold two, and is free again only after the last.
type privateCalls struct {
	mu sync.Mutex // held while the floor is told, so that starts and ends reach it in order
	of map[acd.AgentID]int
}

func (r *Referee) privateStarted(agent acd.AgentID) {
	p := &r.private
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[agent]++; p.of[agent] == 1 {
		r.Tell(acd.PrivateCallStarted{Agent: agent})
	}
}

func (r *Referee) privateEnded(agent acd.AgentID) {
	p := &r.private
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[agent]--; p.of[agent] == 0 {
		delete(p.of, agent)
		r.Tell(acd.PrivateCallEnded{Agent: agent})
	}
}
