package live

import (
	"context"
	"fmt"
	"sync"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
)

const (
	// byesAtOnce bounds the requests under way after a crash. Phones that are
	// gone hold their places for byePatience.
	byesAtOnce = 256
	// byePatience is how long a phone may take to answer BYE (RFC 3261
	// §17.1.2.2, Timer F).
	byePatience = 32 * time.Second
)

// past is what the run before left, read from its journal.
type past struct {
	lastSeen time.Time // the stamp of its last entry; zero: there was none
	clean    bool      // it ended in order
	book     book
}

// remember reads the journal from its last snapshot on.
func remember(ctx context.Context, j *journal.Journal) (past, error) {
	p := past{book: newBook()}
	last, ok, err := j.Last(ctx)
	if err != nil {
		return p, err
	}
	if !ok {
		return p, nil
	}
	p.lastSeen = last.At
	_, p.clean = last.Fact.(journal.ServiceStopped)
	from, snapshot, ok, err := j.LastSnapshot(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return p, err
	case err != nil: // damaged: all that is kept tells the same, only longer
		from = journal.Position{}
	case ok:
		p.book.open(snapshot)
	}
	err = j.Read(ctx, from, false, func(batch []journal.Stored) error {
		for _, e := range batch {
			p.book.read(e.At, e.Fact)
		}
		return nil
	})
	if err != nil {
		return p, fmt.Errorf("read from %v: %w", from, err)
	}
	return p, nil
}

// settle closes what the run before left open and tells the floor how the
// centre looks: phones whose call is gone get BYE, their calls the outcome
// failed at the last moment seen, recordings a valid end; agents are as they
// were, for nobody should have to sign in again because we restarted.
func (r *Referee) settle(ctx context.Context, p past) {
	r.Tell(journal.ServiceStarted{Version: r.cfg.Version, LastSeen: p.lastSeen, Clean: p.clean})
	for _, c := range p.book.openCalls() {
		if c.Recording != "" {
			closed := journal.RecordingClosed{Call: c.Call, File: c.Recording}
			length, err := r.cfg.RepairTape(c.Recording)
			if closed.Length = length; err != nil {
				closed.Error = err.Error()
				r.log.Error("repair a recording", "file", c.Recording, "error", err)
			}
			r.Tell(closed)
		}
		r.Tell(journal.CallEnded{
			Call: c.Call, Outcome: journal.Failed, Stage: c.Stage, HungUpBy: journal.System,
			Detail: "the service ended without closing the call", EndedAt: p.lastSeen,
		})
	}
	r.byeAfterCrash(ctx, p.book.openDialogs())
	if n := len(p.book.calls); n > 0 {
		r.log.Warn("calls were open when the service ended; they are closed as failed", "calls", n, "last_seen", p.lastSeen)
	}

	names := journal.AgentsNamed{}
	for _, a := range r.cfg.Agents {
		names.Agents = append(names.Agents, journal.AgentName{Agent: a.ID, Name: a.Name, Extension: a.Extension})
	}
	r.Tell(names)
	// With one stamp: nobody was signed out for a moment by our restart.
	floor := atOnce{acd.Configured{Config: r.cfg.Floor}}
	for _, a := range r.cfg.Agents {
		if a.Static {
			floor = append(floor, acd.AgentReachable{Agent: a.ID, Reachable: true})
		}
		was := p.book.agents[a.ID]
		switch {
		case a.Start || was.Presence == acd.Ready:
			floor = append(floor, acd.AgentSignedIn{Agent: a.ID})
		case was.Presence == acd.NotReady:
			floor = append(floor, acd.AgentPaused{Agent: a.ID, Reason: was.Reason})
		}
	}
	r.Tell(floor)
	r.tellAndWait(snapshotDue{})
}

// byeAfterCrash sends BYE to the phones, a bounded number at once, and does not
// keep new callers waiting for the old ones' phones. What closing time cuts off
// stays open in the journal for the next start.
func (r *Referee) byeAfterCrash(ctx context.Context, dialogs []journal.DialogOpened) {
	if len(dialogs) == 0 || !r.inside.enter() {
		return
	}
	go func() { // ends when every phone has answered or had its time, or at closing time
		defer r.inside.leave()
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(r.closing, cancel)()
		var wg sync.WaitGroup
		places := make(chan struct{}, byesAtOnce)
		for _, d := range dialogs {
			places <- struct{}{}
			if ctx.Err() != nil {
				break
			}
			wg.Go(func() {
				defer func() { <-places }()
				patience, done := context.WithTimeout(ctx, byePatience)
				defer done()
				err := r.cfg.Phones.ByeAfterCrash(patience, d.State)
				if err != nil && ctx.Err() != nil {
					return
				}
				if err != nil {
					r.log.Warn("BYE to a call of the run before", "call", d.Call, "error", err)
				}
				r.Tell(journal.DialogClosed{Dialog: d.Dialog})
			})
		}
		wg.Wait()
	}()
}
