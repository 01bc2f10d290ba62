package live

import (
	"context"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
	"hotline/sip/media"
)

// watch is how a talk looks for parties that are gone without a BYE. A party
// that sends no audio is asked by OPTIONS whether it is still there, since a
// phone on mute must not lose its call. A ghost is found within 30 s when no
// first packet came, within 60 s in a talk.
type watch struct {
	first    time.Duration // without a first packet: ask
	steady   time.Duration // without a further packet: ask
	answer   time.Duration // how long the phone may take to answer
	every    time.Duration // how often we look
	askAgain time.Duration // a phone on mute is asked again and again
}

var usualWatch = watch{first: 15 * time.Second, steady: 45 * time.Second, answer: 10 * time.Second, every: 5 * time.Second, askAgain: 30 * time.Second}

// talk bridges the caller with the agent who accepted, and lives through their
// conversation. over is false when there was none and the caller waits on.
func (c *call) talk(ctx context.Context, g *ring) (o outcome, over bool) {
	agent := g.leg
	select {
	case <-ctx.Done():
		return c.leaveQueue(context.Cause(ctx)), true // the floor withdraws the agent's leg
	case <-agent.Done():
		return o, false // the ring tells AgentDropped
	default:
	}
	if err := media.Join(c.leg.Audio(), agent.Audio()); err != nil {
		c.r.log.Error("bridge", "call", c.id, "agent", g.offer.Agent, "error", err)
		c.r.Tell(acd.OfferRefused{Offer: g.offer.Offer, Result: acd.OfferFailed})
		return o, false
	}
	close(g.taken)
	c.r.Tell(acd.CallConnected{Offer: g.offer.Offer})
	tape := c.startTape(g.offer.Queue, agent)

	o = c.converse(g.offer.Agent, agent)

	c.stopTape(tape, agent)
	media.Part(c.leg.Audio(), agent.Audio())
	agent.Hangup()
	c.leg.Hangup()
	untilFree(agent)
	c.r.Tell(acd.TalkEnded{Call: c.id, Agent: g.offer.Agent})
	<-agent.Done()
	c.r.legEnded(c.id, journal.Agent, g.offer.Agent, agent)
	return o, true
}

// converse returns when either side is gone.
func (c *call) converse(id acd.AgentID, agent Leg) outcome {
	w := c.r.cfg.watch
	look := time.NewTicker(w.every)
	defer look.Stop()
	began := time.Now()
	ghosts := make(chan journal.Party, 2) // one answer per party at most is under way
	askFrom := map[journal.Party]time.Time{}
	held := false
	defer func() {
		if held {
			c.r.Tell(journal.HoldEnded{Call: c.id, Agent: id})
		}
	}()
	stage := func() journal.Stage {
		if held {
			return journal.Hold
		}
		return journal.Talking
	}
	for {
		select {
		case <-c.leg.Done():
			return c.hungUp(c.leg, journal.Caller, stage())
		case <-agent.Done():
			return c.hungUp(agent, journal.Agent, stage())
		case <-c.r.cut.Done():
			return outcome{journal.Answered, stage(), journal.System, errClosing.Error()}
		case hold := <-agent.Holds():
			if hold == held {
				continue
			}
			held = hold
			c.hold(id, agent, hold)
		case <-c.leg.Holds(): // the caller's own hold: nothing to hear, nothing to count
		case who := <-ghosts:
			return outcome{journal.Answered, stage(), journal.System, string(who) + "'s phone is gone"}
		case <-look.C:
			if held {
				continue // silence is what a hold is
			}
			for who, leg := range map[journal.Party]Leg{journal.Caller: c.leg, journal.Agent: agent} {
				if time.Now().Before(askFrom[who]) || !w.silent(leg, began) {
					continue
				}
				askFrom[who] = time.Now().Add(w.askAgain)
				go func() { // ends within w.answer
					ctx, cancel := context.WithTimeout(context.Background(), w.answer)
					defer cancel()
					if err := leg.Alive(ctx); err != nil {
						c.r.log.Warn("a silent phone does not answer", "call", c.id, "party", who, "error", err)
						select {
						case ghosts <- who:
						default: // the other party's ghost is enough
						}
					}
				}()
			}
		}
	}
}

// silent says whether a leg should be asked if it still lives.
func (w watch) silent(leg Leg, since time.Time) bool {
	heard := leg.Audio().LastHeard()
	if heard.IsZero() || heard.Before(since) {
		return time.Since(since) > w.first
	}
	return time.Since(heard) > w.steady
}

// hold lets the caller hear music while the agent is away.
func (c *call) hold(id acd.AgentID, agent Leg, on bool) {
	if on {
		media.Part(c.leg.Audio(), agent.Audio())
		c.leg.Audio().Loop(c.r.cfg.Music, 0)
		c.r.Tell(journal.HoldStarted{Call: c.id, Agent: id})
		return
	}
	if err := media.Join(c.leg.Audio(), agent.Audio()); err != nil {
		c.r.log.Error("bridge after hold", "call", c.id, "error", err)
	}
	c.r.Tell(journal.HoldEnded{Call: c.id, Agent: id})
}

// hungUp is the outcome of a talk that one side ended.
func (c *call) hungUp(leg Leg, party journal.Party, stage journal.Stage) outcome {
	byPeer, detail := leg.HungUp()
	if !byPeer {
		party = journal.System
	}
	return outcome{journal.Answered, stage, party, detail}
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
