package live

import (
	"context"
	"errors"

	"hotline/acd"
	"hotline/acd/journal"
)

// wait is the stretch from the queue's door to an agent or out of the queue.
// The caller hears music until the bridge stands.
func (c *call) wait(ctx context.Context, queue acd.QueueID) outcome {
	c.leg.Audio().Loop(c.r.cfg.Music, 0)
	var needs []acd.Need
	if c.language != "" {
		needs = append(needs, acd.Need{Skill: string(c.language), AtLeast: 1})
	}
	c.r.tellAndWait(acd.CallQueued{Call: c.id, Queue: queue, Needs: needs})

	for {
		select {
		case <-ctx.Done():
			return c.leaveQueue(context.Cause(ctx))
		case v := <-c.verdicts:
			switch {
			case v.connect != nil:
				if o, over := c.talk(ctx, v.connect); over {
					return o
				}
			case v.left != "":
				return c.unserved(v.left)
			}
		case d := <-c.leg.Audio().Digits():
			c.r.Tell(journal.DigitPressed{Call: c.id, Key: string(rune(d.Key)), Party: journal.Caller})
		}
	}
}

// leaveQueue is the way out of a caller who hung up, or at closing time.
func (c *call) leaveQueue(cause error) outcome {
	if errors.Is(cause, errClosing) {
		c.r.Tell(acd.CallLeftQueue{Call: c.id, Result: acd.VisitClosed})
		c.goodbye("closing")
		return outcome{journal.Closed, journal.Waiting, journal.System, errClosing.Error()}
	}
	stage := journal.Waiting
	if c.ringing.Load() > 0 {
		stage = journal.Ringing
	}
	c.r.Tell(acd.CallerHungUp{Call: c.id})
	if byPeer, detail := c.leg.HungUp(); !byPeer {
		return outcome{journal.Failed, stage, journal.System, detail}
	}
	return outcome{journal.Abandoned, stage, journal.Caller, c.how()}
}

// unserved is the end of a caller whom the floor sent out of the queue.
func (c *call) unserved(result acd.VisitResult) outcome {
	prompt, end := "sorry_failed", journal.Failed
	switch result {
	case acd.VisitTimedOut:
		prompt, end = "timed_out", journal.TimedOut
	case acd.VisitFull:
		prompt, end = "full", journal.Full
	case acd.VisitNoAgents:
		prompt, end = "no_agents", journal.NoAgents
	case acd.VisitClosed:
		prompt, end = "closing", journal.Closed
	}
	c.goodbye(prompt)
	by := journal.System
	select {
	case <-c.leg.Done(): // did not stay to the end of the sentence
		by = journal.Caller
	default:
	}
	return outcome{end, journal.Flow, by, string(result)}
}
