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
	c.stage = journal.Waiting
	c.leg.Audio().Loop(c.r.cfg.Music, 0)
	var needs []acd.Need
	if c.language != "" {
		needs = append(needs, acd.Need{Skill: string(c.language), AtLeast: 1})
	}
	c.r.tellAndWait(acd.CallQueued{Call: c.id, Queue: queue, Needs: needs})

	out := c.r.cfg.watch.begin()
	defer out.end()
	for {
		select {
		case <-ctx.Done():
			return c.leaveQueue(context.Cause(ctx))
		case <-out.due:
			out.look(c.r.log, c.id, c.leg)
		case <-out.ghosts:
			c.r.tellAndWait(acd.CallLeftQueue{Call: c.id, Result: acd.VisitFailed})
			return outcome{journal.Failed, c.stage, journal.System, "caller's phone is gone"}
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

// leaveQueue is the way out of a caller who hung up, or at closing time. It
// returns when the phones that rang for the call are stopped.
func (c *call) leaveQueue(cause error) outcome {
	if c.ringing.Load() > 0 {
		c.stage = journal.Ringing
	}
	if errors.Is(cause, errClosing) {
		c.r.tellAndWait(acd.CallLeftQueue{Call: c.id, Result: acd.VisitClosed})
		c.goodbye("closing")
		return outcome{journal.Closed, c.stage, journal.System, errClosing.Error()}
	}
	o := c.gone(journal.Abandoned)
	if o.outcome == journal.Failed {
		c.r.Tell(acd.CallLeftQueue{Call: c.id, Result: acd.VisitFailed})
	}
	c.r.tellAndWait(acd.CallerHungUp{Call: c.id})
	return o
}

// unserved is the end of a caller whom the floor sent out of the queue.
func (c *call) unserved(result acd.VisitResult) outcome {
	c.stage = journal.Flow
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
		by, _ = endedBy(c.leg, journal.Caller)
	default:
	}
	return outcome{end, c.stage, by, string(result)}
}
