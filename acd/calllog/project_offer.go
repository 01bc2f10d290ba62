package calllog

import (
	"fmt"
	"slices"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
)

func (p *page) offer(id acd.OfferID, call acd.CallID) (*offerRow, error) {
	o := p.offers[id]
	if o == nil || call != "" && o.CallID != string(call) {
		for _, ring := range p.rings[call] { // hidden behind a later run's offer of the same number
			if ring.Offer == uint64(id) {
				return ring, nil
			}
		}
		return nil, fmt.Errorf("offer %d of call %q was not made", id, call)
	}
	return o, nil
}

func (p *page) offered(at time.Time, f acd.Offer) error {
	c, err := p.openCall(f.Call)
	if err != nil {
		return err
	}
	if o := p.offers[f.Offer]; o != nil && o.CallID == c.CallID {
		return fmt.Errorf("offer %d of call %q was made before", f.Offer, f.Call)
	}
	o := &offerRow{
		CallID: c.CallID, Offer: uint64(f.Offer), Agent: string(f.Agent), Queue: string(f.Queue), StartedAt: at, touched: true,
	}
	p.offers[f.Offer] = o
	p.tried = append(p.tried, o)
	p.rings[f.Call] = append(p.rings[f.Call], o)
	if c.ConnectedAt == nil {
		c.Queue, c.Agent, c.touched = text(f.Queue), text(f.Agent), true
	}
	if is(c.Segment, journal.Waiting) {
		p.enter(c, journal.Ringing, "", at)
	}
	return nil
}

func (p *page) rang(at time.Time, f journal.PhoneRang) error {
	o, err := p.offer(f.Offer, f.Call)
	if err != nil {
		return err
	}
	if o.EndedAt == nil && o.AcceptedAt == nil && o.RangAt == nil {
		o.RangAt, o.touched = &at, true
	}
	return nil
}

func (p *page) accepted(at time.Time, f acd.OfferAccepted) error {
	o, err := p.offer(f.Offer, "")
	if err != nil {
		return err
	}
	if o.EndedAt == nil && o.AcceptedAt == nil {
		p.stopRinging(o, at)
		o.AcceptedAt, o.touched = &at, true
	}
	return nil
}

// stopRinging counts the offer's ringing for its call.
func (p *page) stopRinging(o *offerRow, at time.Time) {
	c := p.calls[acd.CallID(o.CallID)]
	if o.AcceptedAt != nil || c == nil || c.ConnectedAt != nil {
		return
	}
	from := o.StartedAt
	if o.RangAt != nil {
		from = *o.RangAt
	}
	add(&c.RingUS, at.Sub(from))
	c.touched = true
}

func (p *page) connected(at time.Time, f acd.CallConnected) error {
	o, err := p.offer(f.Offer, "")
	if err != nil {
		return err
	}
	c, err := p.openCall(acd.CallID(o.CallID))
	if err != nil {
		return err
	}
	if o.AcceptedAt == nil || o.EndedAt != nil && !is(o.Result, acd.OfferAnswered) {
		return nil // the floor ignores it too
	}
	if is(c.Segment, journal.Talking) || is(c.Segment, journal.Hold) {
		return nil // told twice
	}
	id := acd.CallID(o.CallID)
	if v := p.openVisit(id, o.Queue); v != nil && v.ConnectedAt == nil {
		v.ConnectedAt, v.Agent, v.touched = &at, &o.Agent, true
		if c.ConnectedAt == nil {
			add(&c.WaitUS, at.Sub(v.EnteredAt))
		}
	}
	if c.ConnectedAt == nil {
		c.ConnectedAt, c.Queue, c.Agent = &at, text(o.Queue), text(o.Agent)
	}
	p.enter(c, journal.Talking, acd.AgentID(o.Agent), at)
	return nil
}

func (p *page) offerEnded(at time.Time, f acd.OfferEnded) error {
	o, err := p.offer(f.Offer, f.Call)
	if err != nil {
		return err
	}
	if o.EndedAt != nil {
		if is(o.Result, acd.OfferFailed) || is(o.Result, f.Result) {
			return nil // closed by the log after a crash, or told twice
		}
		return fmt.Errorf("offer %d of call %q ended before, as %s", f.Offer, f.Call, *o.Result)
	}
	p.closeOffer(o, at, string(f.Result))
	p.rings[f.Call] = slices.DeleteFunc(p.rings[f.Call], func(r *offerRow) bool { return r == o })
	if c := p.calls[f.Call]; c != nil && is(c.Segment, journal.Ringing) && f.Result != acd.OfferAnswered {
		if s := p.waiting(f.Call); s != journal.Ringing {
			p.enter(c, s, "", at)
		}
	}
	return nil
}

func (p *page) closeOffer(o *offerRow, at time.Time, result string) {
	at = later(at, o.StartedAt)
	p.stopRinging(o, at)
	o.EndedAt, o.Result, o.touched = &at, &result, true
}
