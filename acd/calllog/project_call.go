package calllog

import (
	"fmt"
	"slices"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
)

func (p *page) call(id acd.CallID) (*callRow, error) {
	c := p.calls[id]
	if c == nil {
		return nil, fmt.Errorf("call %q has not arrived", id)
	}
	return c, nil
}

// openCall finds a call that must not have ended.
func (p *page) openCall(id acd.CallID) (*callRow, error) {
	c, err := p.call(id)
	if err == nil && c.EndedAt != nil {
		return nil, fmt.Errorf("call %q has ended", id)
	}
	return c, err
}

func (p *page) arrived(at time.Time, f journal.CallArrived) error {
	if f.Call == "" {
		return fmt.Errorf("a call without an id")
	}
	if p.calls[f.Call] != nil {
		return fmt.Errorf("call %q has arrived before", f.Call)
	}
	direction := f.Direction
	if direction == "" {
		direction = "inbound"
	}
	p.calls[f.Call] = &callRow{
		CallID: string(f.Call), Number: f.Number, Caller: text(f.Caller), CallerName: text(f.Name),
		Trunk: text(f.Trunk), DialledBy: text(f.Agent), Direction: direction,
		ArrivedAt: at, Segment: text(journal.Flow), SegmentSince: &at,
		touched: true,
	}
	return nil
}

func (p *page) answered(at time.Time, f journal.CallAnswered) error {
	c, err := p.openCall(f.Call)
	if err != nil {
		return err
	}
	if c.AnsweredAt == nil {
		c.AnsweredAt, c.touched = &at, true
	}
	return nil
}

func (p *page) language(f journal.LanguageChosen) error {
	c, err := p.call(f.Call)
	if err != nil {
		return err
	}
	c.Language, c.touched = text(f.Language), true
	return nil
}

func (p *page) recording(f journal.RecordingStarted) error {
	c, err := p.call(f.Call)
	if err != nil {
		return err
	}
	c.Recording, c.touched = text(f.File), true
	return nil
}

func (p *page) recorded(f journal.RecordingClosed) error {
	c, err := p.call(f.Call)
	if err != nil {
		return err
	}
	if c.Recording == nil {
		c.Recording = text(f.File)
	}
	c.RecordingUS, c.RecordingLostUS = new(f.Length.Microseconds()), new(f.Lost.Microseconds())
	c.RecordingError, c.touched = text(f.Error), true
	return nil
}

// legEnded records the leg of any call, also of one that stays out of the log:
// agents' feature codes have legs too.
func (p *page) legEnded(at time.Time, f journal.LegEnded) error {
	p.legs[legKey{string(f.Call), f.Leg, string(f.Party)}] = legRow{
		CallID: string(f.Call), Leg: f.Leg, Party: string(f.Party), Agent: text(f.Agent),
		Detail: text(f.Detail), Codec: text(f.Codec),
		Sent: f.Sent, Received: f.Received, Lost: f.Lost, RemoteLost: f.RemoteLost,
		JitterUS: f.Jitter.Microseconds(), RoundTripUS: f.RoundTrip.Microseconds(), EndedAt: at,
	}
	return nil
}

// outcomes is every way in which a call may end.
var outcomes = []string{
	string(journal.Answered), string(journal.SelfServed), string(journal.Abandoned), string(journal.LeftInFlow),
	"callback", "voicemail", string(journal.TimedOut), string(journal.NoAgents), string(journal.Full),
	string(journal.Closed), string(journal.Blocked), string(journal.Rejected), string(journal.Failed),
}

func (p *page) ended(at time.Time, f journal.CallEnded) error {
	c, err := p.call(f.Call)
	if err != nil {
		return err
	}
	if !slices.Contains(outcomes, string(f.Outcome)) {
		return fmt.Errorf("%q is no outcome", f.Outcome)
	}
	if c.EndedAt != nil && !c.Presumed {
		return fmt.Errorf("call %q ended before, as %s", f.Call, *c.Outcome)
	}
	end := at
	if !f.EndedAt.IsZero() && f.EndedAt.Before(at) {
		end = f.EndedAt.UTC()
	}
	stage := string(f.Stage)
	if stage == "" {
		stage = stageOf(c.Segment)
	}
	if c.EndedAt == nil {
		p.closeCall(c, end)
		p.leaveNothingOpen(f.Call, end)
	}
	// Otherwise the end was presumed, at the last moment seen, and its time stands.
	c.Outcome, c.Stage = text(f.Outcome), &stage
	c.HungUpBy, c.Detail = text(f.HungUpBy), text(f.Detail)
	c.Presumed, c.touched = false, true
	return nil
}

// closeCall ends the call's last segment and the call with it.
func (p *page) closeCall(c *callRow, at time.Time) {
	if c.SegmentSince != nil {
		at = later(at, *c.SegmentSince)
	}
	p.enter(c, "", "", at)
	c.EndedAt, c.touched = &at, true
}

// leaveNothingOpen ends what should have ended before its call. Only facts that
// were lost leave anything.
func (p *page) leaveNothingOpen(id acd.CallID, at time.Time) {
	for _, o := range p.rings[id] {
		p.closeOffer(o, at, string(acd.OfferFailed))
	}
	delete(p.rings, id)
	for _, v := range p.visits[id] {
		if v.EndedAt == nil {
			p.closeVisit(p.calls[id], v, at, string(acd.VisitFailed), "")
		}
	}
}

// enter moves the call to another segment; an empty one is none.
func (p *page) enter(c *callRow, segment journal.Stage, agent acd.AgentID, at time.Time) {
	c.touched = true
	if c.Segment != nil {
		at = later(at, *c.SegmentSince)
		lasted := at.Sub(*c.SegmentSince)
		switch *c.Segment {
		case string(journal.Talking):
			add(&c.TalkUS, lasted)
			add(&c.HoldUS, 0)
		case string(journal.Hold):
			add(&c.HoldUS, lasted)
		}
		if lasted > 0 {
			p.segments = append(p.segments, segmentRow{c.CallID, *c.Segment, c.SegmentAgent, *c.SegmentSince, at})
		}
	}
	if segment == "" {
		c.Segment, c.SegmentAgent, c.SegmentSince = nil, nil, nil
		return
	}
	c.Segment, c.SegmentAgent, c.SegmentSince = text(segment), text(agent), &at
}

// waiting says in which segment a call is that has an open visit.
func (p *page) waiting(id acd.CallID) journal.Stage {
	if len(p.rings[id]) > 0 {
		return journal.Ringing
	}
	return journal.Waiting
}

func (p *page) openVisit(id acd.CallID, queue string) *visitRow {
	for _, v := range slices.Backward(p.visits[id]) {
		if v.EndedAt == nil && (queue == "" || v.Queue == queue) {
			return v
		}
	}
	return nil
}

func (p *page) queued(at time.Time, f acd.CallQueued) error {
	c, err := p.openCall(f.Call)
	if err != nil {
		return err
	}
	if p.openVisit(f.Call, string(f.Queue)) != nil {
		return nil // told twice
	}
	c.Visits++
	p.visits[f.Call] = append(p.visits[f.Call], &visitRow{
		CallID: c.CallID, Visit: c.Visits, Queue: string(f.Queue), Priority: f.Priority, EnteredAt: at, touched: true,
	})
	if c.QueuedAt == nil {
		c.QueuedAt = &at
	}
	if c.ConnectedAt == nil {
		c.Queue = text(f.Queue)
	}
	p.enter(c, journal.Waiting, "", at)
	return nil
}

func (p *page) visitEnded(at time.Time, f acd.VisitEnded) error {
	c, err := p.call(f.Call)
	if err != nil {
		return err
	}
	v := p.openVisit(f.Call, string(f.Queue))
	if v == nil {
		// After a crash the log may have closed it before the service did.
		if n := len(p.visits[f.Call]); n > 0 && is(p.visits[f.Call][n-1].Result, acd.VisitFailed) {
			return nil
		}
		return fmt.Errorf("call %q is in no visit to %q", f.Call, f.Queue)
	}
	p.closeVisit(c, v, at, string(f.Result), f.Agent)
	return nil
}

func (p *page) closeVisit(c *callRow, v *visitRow, at time.Time, result string, agent acd.AgentID) {
	at = later(at, v.EnteredAt)
	v.EndedAt, v.Result, v.touched = &at, &result, true
	if agent != "" {
		v.Agent = text(agent)
	}
	if c == nil {
		return
	}
	if v.ConnectedAt == nil && c.ConnectedAt == nil {
		add(&c.WaitUS, at.Sub(v.EnteredAt))
		c.touched = true
	}
	id := acd.CallID(c.CallID)
	if (is(c.Segment, journal.Waiting) || is(c.Segment, journal.Ringing)) && p.openVisit(id, "") == nil {
		p.enter(c, journal.Flow, "", at)
	}
}

func (p *page) talkEnded(at time.Time, f acd.TalkEnded) error {
	c := p.calls[f.Call]
	if c != nil && (is(c.Segment, journal.Talking) || is(c.Segment, journal.Hold)) && is(c.SegmentAgent, f.Agent) {
		p.enter(c, journal.Flow, "", at)
	}
	return nil
}

func (p *page) holdStarted(at time.Time, f journal.HoldStarted) error {
	c, err := p.call(f.Call)
	if err != nil {
		return err
	}
	if is(c.Segment, journal.Talking) && is(c.SegmentAgent, f.Agent) {
		p.enter(c, journal.Hold, f.Agent, at)
	}
	if a := p.agents[f.Agent]; a != nil && is(a.Work, acd.Talking) && is(a.CallID, f.Call) {
		a.HoldCallID = text(f.Call)
		p.settle(a, at)
	}
	return nil
}

func (p *page) holdEnded(at time.Time, f journal.HoldEnded) error {
	c, err := p.call(f.Call)
	if err != nil {
		return err
	}
	if is(c.Segment, journal.Hold) && is(c.SegmentAgent, f.Agent) {
		p.enter(c, journal.Talking, f.Agent, at)
	}
	if a := p.agents[f.Agent]; a != nil && is(a.HoldCallID, f.Call) {
		a.HoldCallID = nil
		p.settle(a, at)
	}
	return nil
}
