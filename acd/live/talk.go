package live

import (
	"context"

	"hotline/acd"
	"hotline/acd/journal"
	"hotline/sip/media"
)

// talk bridges the caller with the agent who accepted, and lives through their
// conversation. over is false when there was none and the caller waits on.
func (c *call) talk(ctx context.Context, g *ring) (o outcome, over bool) {
	if ctx.Err() != nil {
		return c.leaveQueue(context.Cause(ctx)), true // the floor withdraws the agent's leg
	}
	if !g.take() {
		return o, false // the ring has told the floor, or was told by it
	}
	agent := g.leg
	if !c.bridge(g) {
		agent.Hangup()
		<-agent.Done()
		c.r.legEnded(c.id, journal.Agent, g.offer.Agent, agent)
		return o, false
	}
	c.stage = journal.Talking
	var tape Tape
	defer func() { // a panic, too, must leave nobody talking to nobody
		media.Part(c.leg.Audio(), agent.Audio())
		agent.Hangup()
		c.leg.Hangup()
		c.stopTape(tape, agent)
		untilFree(agent)
		c.r.Tell(acd.TalkEnded{Call: c.id, Agent: g.offer.Agent})
		<-agent.Done()
		c.r.legEnded(c.id, journal.Agent, g.offer.Agent, agent)
	}()
	tape = c.startTape(g.offer.Queue, agent)
	return c.converse(g.offer.Agent, agent), true
}

// bridge lets caller and agent hear each other, if the floor still wants it.
func (c *call) bridge(g *ring) bool {
	if err := media.Join(c.leg.Audio(), g.leg.Audio()); err != nil {
		select {
		case <-c.leg.Done():
			// wait finds that; the agent is not to blame.
		case <-g.leg.Done():
			c.r.Tell(acd.AgentDropped{Offer: g.offer.Offer})
		default:
			c.r.log.Error("bridge", "call", c.id, "agent", g.offer.Agent, "error", err)
			c.r.Tell(acd.OfferRefused{Offer: g.offer.Offer, Result: acd.OfferFailed})
		}
		return false
	}
	if !c.r.connected(g.offer.Offer) {
		media.Part(c.leg.Audio(), g.leg.Audio())
		c.leg.Audio().Loop(c.r.cfg.Music, 0)
		return false
	}
	return true
}

// converse returns when either side is gone.
func (c *call) converse(id acd.AgentID, agent Leg) outcome {
	out := c.r.cfg.watch.begin()
	defer out.end()
	held := false
	defer func() {
		if held {
			c.r.Tell(journal.HoldEnded{Call: c.id, Agent: id})
		}
	}()
	for {
		select {
		case <-c.leg.Done():
			return c.hungUp(c.leg, journal.Caller)
		case <-agent.Done():
			return c.hungUp(agent, journal.Agent)
		case <-c.r.cut.Done():
			return outcome{journal.Answered, c.stage, journal.System, errClosing.Error()}
		case hold := <-agent.Holds():
			if hold == held {
				continue
			}
			held = hold
			c.hold(id, agent, hold)
		case <-c.leg.Holds(): // the caller's own hold: nothing to hear, nothing to count
		case ghost := <-out.ghosts:
			who := journal.Caller
			if ghost == agent {
				who = journal.Agent
			}
			return outcome{journal.Answered, c.stage, journal.System, string(who) + "'s phone is gone"}
		case <-out.due:
			if !held { // silence is what a hold is
				out.look(c.r.log, c.id, c.leg, agent)
			}
		}
	}
}

// hold lets the caller hear music while the agent is away.
func (c *call) hold(id acd.AgentID, agent Leg, on bool) {
	if on {
		media.Part(c.leg.Audio(), agent.Audio())
		c.leg.Audio().Loop(c.r.cfg.Music, 0)
		c.stage = journal.Hold
		c.r.Tell(journal.HoldStarted{Call: c.id, Agent: id})
		return
	}
	c.stage = journal.Talking
	if err := media.Join(c.leg.Audio(), agent.Audio()); err != nil {
		c.r.log.Error("bridge after hold", "call", c.id, "error", err)
	}
	c.r.Tell(journal.HoldEnded{Call: c.id, Agent: id})
}

// hungUp is the outcome of a talk that one side ended.
func (c *call) hungUp(leg Leg, party journal.Party) outcome {
	by, detail := endedBy(leg, party)
	return outcome{journal.Answered, c.stage, by, detail}
}

// startTape begins the recording, if the queue has one. A call goes on without
// it: an agent on the line is worth more than the file.
func (c *call) startTape(queue acd.QueueID, agent Leg) Tape {
	if !c.r.cfg.Record[queue] {
		return nil
	}
	tape, err := c.r.cfg.StartTape(c.id, c.r.clock.now(), law(c.leg.Audio()))
	if err != nil {
		c.r.log.Error("recording cannot start", "call", c.id, "error", err)
		c.r.Tell(journal.Alarm{Text: "recording of " + string(c.id) + " cannot start: " + err.Error()})
		return nil
	}
	c.leg.Audio().SetTap(tape.Caller())
	agent.Audio().SetTap(tape.Agent())
	c.r.Tell(journal.RecordingStarted{Call: c.id, File: tape.File()})
	return tape
}

func (c *call) stopTape(tape Tape, agent Leg) {
	if tape == nil {
		return
	}
	c.leg.Audio().SetTap(nil)
	agent.Audio().SetTap(nil)
	length, lost, err := tape.Close()
	f := journal.RecordingClosed{Call: c.id, File: tape.File(), Length: length, Lost: lost}
	if err != nil {
		c.r.log.Error("recording", "call", c.id, "file", tape.File(), "error", err)
		f.Error = err.Error()
	}
	c.r.Tell(f)
}
