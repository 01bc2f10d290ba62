package acd

import "slices"

// configure takes a new configuration. State stays: who is signed in, talks,
// rings or wraps up, and who waits since when. What is configured counts from
// the next decision on: a phone goes on ringing as long as it was told to, a
// wrap-up lasts as long as it was set to.
//
// Of a queue that is gone, those who wait leave as closed, and those who are
// being answered or talk are left to it. An agent who is gone is signed out,
// finishes the talk, has no wrap-up and is forgotten.
//
// Of several queues or agents with one id the first counts.
func (f *Floor) configure(c Config) {
	f.version, f.seed = c.Version, c.Seed
	f.configureQueues(c.Queues)
	f.configureAgents(c.Agents)

	// Needs, head starts, weights and longest waits may be new: everybody who
	// waits stands in line again.
	visits := f.openVisits()
	f.fresh = empty(f.fresh)
	for _, q := range f.queues {
		q.lanes = nil
	}
	for _, v := range visits {
		waits := v.lane != nil
		v.lane = nil
		v.rank()
		if v.queue.removed && v.answering() == nil {
			f.sendAway(v, VisitClosed)
			continue
		}
		if waits {
			f.joinLane(v)
		}
		f.limitWait(v)
	}
}

func (f *Floor) configureQueues(queues []Queue) {
	for _, q := range f.queues {
		q.removed = true
	}
	seen := map[QueueID]bool{}
	for _, conf := range queues {
		if seen[conf.ID] {
			continue
		}
		seen[conf.ID] = true
		q := f.queueByID[conf.ID]
		if q == nil {
			q = &queue{}
			f.queueByID[conf.ID] = q
			i, _ := slices.BinarySearchFunc(f.queues, conf.ID, queueByID)
			f.queues = slices.Insert(f.queues, i, q)
		}
		q.Queue, q.removed = conf, false
		q.Needs = sortNeeds(conf.Needs)
	}
	f.queues = slices.DeleteFunc(f.queues, func(q *queue) bool {
		gone := q.removed && q.waiting == 0 &&
			!slices.ContainsFunc(f.agents, func(a *agent) bool { return a.queue == q })
		if gone {
			delete(f.queueByID, q.ID)
		}
		return gone
	})
}

func (f *Floor) configureAgents(agents []Agent) {
	seen := map[AgentID]bool{}
	for _, conf := range agents {
		if seen[conf.ID] {
			continue
		}
		seen[conf.ID] = true
		a := f.agentByID[conf.ID]
		if a == nil {
			a = newAgent(conf.ID)
			f.agentByID[conf.ID] = a
			i, _ := slices.BinarySearchFunc(f.agents, conf.ID, agentByID)
			f.agents = slices.Insert(f.agents, i, a)
		}
		a.name, a.skills, a.removed = conf.Name, sortSkills(conf.Skills), false
		f.touch(a)
	}
	for _, a := range slices.Clone(f.agents) { // removeAgent may take one out
		if !seen[a.id] && !a.removed {
			f.removeAgent(a)
		}
	}
}

func (f *Floor) removeAgent(a *agent) {
	a.removed = true
	a.presence, a.reason = SignedOut, ""
	f.stopRinging(a, OfferWithdrawn)
	if a.work == WrapUp {
		f.free(a, f.now)
	} else {
		f.settle(a, f.now)
	}
}
