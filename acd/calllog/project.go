package calllog

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
)

// project folds one fact into the page. An error means that the fact does not
// fit what is recorded; then it has changed nothing.
//
// Events that the floor ignores are in the journal too, since it holds
// whatever the floor was told: what SIP's crossings make normal (a talk that
// ended twice, a phone that rings on after its offer) is passed over silently.
func (p *page) project(s journal.Stored) error {
	at := s.At
	switch f := s.Fact.(type) {
	case journal.CallArrived:
		return p.arrived(at, f)
	case journal.CallAnswered:
		return p.answered(at, f)
	case journal.LanguageChosen:
		return p.language(f)
	case journal.RecordingStarted:
		return p.recording(f)
	case journal.RecordingClosed:
		return p.recorded(f)
	case journal.LegEnded:
		return p.legEnded(at, f)
	case journal.CallEnded:
		return p.ended(at, f)

	case acd.CallQueued:
		return p.queued(at, f)
	case acd.VisitEnded:
		return p.visitEnded(at, f)
	case acd.Offer:
		return p.offered(at, f)
	case journal.PhoneRang:
		return p.rang(at, f)
	case acd.OfferAccepted:
		return p.accepted(at, f)
	case acd.CallConnected:
		return p.connected(at, f)
	case acd.OfferEnded:
		return p.offerEnded(at, f)
	case acd.TalkEnded:
		return p.talkEnded(at, f)
	case journal.HoldStarted:
		return p.holdStarted(at, f)
	case journal.HoldEnded:
		return p.holdEnded(at, f)

	case acd.AgentChanged:
		return p.agentChanged(at, f)
	case journal.AgentsNamed:
		p.named(f)
	case journal.FloorSnapshot:
		if !f.LostFrom.IsZero() {
			p.afterLoss(at, f)
		}
	case journal.ServiceStarted:
		p.serviceStarted(at, f)
	case journal.ServiceStopped:
		p.serviceDown(at)

	case journal.Gap:
		p.alarm(at, fmt.Sprintf("the journal lost %d facts from %s on", f.Lost, f.From.UTC().Format(time.RFC3339)))
	case journal.Alarm:
		p.alarm(at, f.Text)
	case journal.Undecodable:
		return errors.New(f.Err)
	}
	return nil // the rest is for replay and for crash recovery
}

// isolate puts a fact into quarantine.
func (p *page) isolate(s journal.Stored, cause error) {
	q := quarantineRow{
		EventID: s.ID, Incarnation: s.Incarnation, Seq: s.Seq, Entry: s.Index,
		At: s.At, Kind: journal.Kind(s.Fact), Error: rawText([]byte(cause.Error())),
	}
	if u, ok := s.Fact.(journal.Undecodable); ok {
		q.Raw = rawText(u.Raw)
	} else if raw, err := journal.Encode(s.Entry); err == nil {
		q.Raw = rawText(raw)
	} else if raw, err := json.Marshal(fmt.Sprintf("%+v", s.Fact)); err == nil {
		q.Raw = rawText(raw)
	}
	p.quarantine = append(p.quarantine, q)
	p.alarm(s.At, fmt.Sprintf("a fact could not be projected and is in log.quarantine: %s %s: %s", q.Kind, s.ID, q.Error))
}

// serviceStarted closes what the run before left open at the last moment at
// which that run was seen. The service says itself how its open calls ended;
// until it has, and should it never, they count as failed.
func (p *page) serviceStarted(at time.Time, f journal.ServiceStarted) {
	end := f.LastSeen
	if end.IsZero() && p.lastAt != nil {
		end = *p.lastAt // the journal is new, the log knows more
	}
	if end.IsZero() || end.After(at) {
		end = at
	}
	end = end.UTC()
	for _, c := range p.calls {
		if c.EndedAt == nil {
			p.presume(c, end)
		}
	}
	for _, open := range p.rings {
		for _, o := range open {
			p.closeOffer(o, end, string(acd.OfferFailed))
		}
	}
	clear(p.rings)
	for id, visits := range p.visits {
		for _, v := range visits {
			if v.EndedAt == nil {
				p.closeVisit(p.calls[id], v, end, string(acd.VisitFailed), "")
			}
		}
	}
	p.serviceDown(end)
}

// presume ends a call of which nobody will say how it ended.
func (p *page) presume(c *callRow, end time.Time) {
	stage := stageOf(c.Segment)
	p.closeCall(c, end)
	c.Outcome, c.Stage = new(string(journal.Failed)), &stage
	c.HungUpBy = new(string(journal.System))
	c.Presumed = true
}

// serviceDown opens for every agent the time for which nobody knows: it ends
// with the next AgentChanged.
func (p *page) serviceDown(at time.Time) {
	for _, a := range p.agents {
		if a.Since == nil || a.Down {
			continue
		}
		a.Down = true
		a.Work, a.CallID, a.HoldCallID, a.Private = new(string(acd.Idle)), nil, nil, false
		p.settle(a, at)
	}
}

// text is nil for an empty string.
func text[S ~string](s S) *string {
	if s == "" {
		return nil
	}
	return new(string(s))
}

func is[S ~string](p *string, s S) bool { return p != nil && *p == string(s) }

func stageOf(segment *string) string {
	if segment == nil {
		return string(journal.Flow)
	}
	return *segment
}

// later gives the later of the two: stamps of different runs may go backwards,
// intervals must not.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func add(sum **int64, d time.Duration) {
	us := max(d.Microseconds(), 0)
	if *sum != nil {
		us += **sum
	}
	*sum = &us
}
