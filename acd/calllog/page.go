package calllog

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"hotline/acd"
	"hotline/acd/journal"
)

// page is what one transaction reads and writes: the rows that a run of facts
// speaks of. It is made from Postgres for every transaction and forgotten
// afterwards, so the projection has no memory that could differ from the log,
// and may be killed between any two instructions.
type page struct {
	calls  map[acd.CallID]*callRow
	visits map[acd.CallID][]*visitRow // all of the call, in order
	offers map[acd.OfferID]*offerRow  // the latest of that number: runs count from 1 again
	rings  map[acd.CallID][]*offerRow // the call's open offers
	tried  []*offerRow                // all offers of this page
	agents map[acd.AgentID]*agentRow
	closed map[string]*intervalRow // each agent's last closed interval

	segments   []segmentRow
	intervals  []*intervalRow // closed in this page
	reopened   []*intervalRow // closed in an earlier one, and open again
	legs       map[legKey]legRow
	alarms     []alarmRow
	quarantine []quarantineRow

	lastAt *time.Time // stamp of the last fact projected before, nil: none
}

type legKey struct{ call, leg, party string }

// speaksOf is the rows that facts refer to.
type speaksOf struct {
	calls  map[acd.CallID]bool
	offers map[acd.OfferID]bool
	agents map[acd.AgentID]bool
	all    bool // everything that is open
}

func (w *speaksOf) fact(f journal.Fact) {
	call, offer, agent := acd.CallID(""), acd.OfferID(0), acd.AgentID("")
	switch f := f.(type) {
	case journal.CallArrived:
		call = f.Call
	case journal.CallAnswered:
		call = f.Call
	case journal.LanguageChosen:
		call = f.Call
	case journal.RecordingStarted:
		call = f.Call
	case journal.RecordingClosed:
		call = f.Call
	case journal.CallEnded:
		call = f.Call
	case journal.HoldStarted:
		call, agent = f.Call, f.Agent
	case journal.HoldEnded:
		call, agent = f.Call, f.Agent
	case journal.PhoneRang:
		call, offer = f.Call, f.Offer
	case acd.CallQueued:
		call = f.Call
	case acd.VisitEnded:
		call = f.Call
	case acd.TalkEnded:
		call = f.Call
	case acd.Offer:
		call, offer = f.Call, f.Offer
	case acd.OfferEnded:
		call, offer = f.Call, f.Offer
	case acd.OfferAccepted:
		offer = f.Offer
	case acd.CallConnected:
		offer = f.Offer
	case acd.AgentChanged:
		agent = f.Agent
	case journal.AgentsNamed:
		for _, a := range f.Agents {
			w.agents[a.Agent] = true
		}
	case journal.ServiceStarted, journal.ServiceStopped:
		w.all = true
	case journal.FloorSnapshot:
		if f.LostFrom.IsZero() {
			return
		}
		w.all = true
		for _, c := range f.Calls {
			w.calls[c.Call] = true
		}
		for _, o := range f.Offers {
			w.offers[o.Offer] = true
		}
	}
	if call != "" {
		w.calls[call] = true
	}
	if offer != 0 {
		w.offers[offer] = true
	}
	if agent != "" {
		w.agents[agent] = true
	}
}

// turn reads the page that the facts speak of.
func turn(ctx context.Context, tx pgx.Tx, facts []journal.Stored, lastAt *time.Time) (*page, error) {
	w := speaksOf{calls: map[acd.CallID]bool{}, offers: map[acd.OfferID]bool{}, agents: map[acd.AgentID]bool{}}
	for _, s := range facts {
		w.fact(s.Fact)
	}
	p := &page{
		calls:  map[acd.CallID]*callRow{},
		visits: map[acd.CallID][]*visitRow{},
		offers: map[acd.OfferID]*offerRow{},
		rings:  map[acd.CallID][]*offerRow{},
		agents: map[acd.AgentID]*agentRow{},
		closed: map[string]*intervalRow{},
		legs:   map[legKey]legRow{},
		lastAt: lastAt,
	}
	if err := p.readOffers(ctx, tx, w); err != nil {
		return nil, fmt.Errorf("read offers: %w", err)
	}
	for _, o := range p.tried {
		w.calls[acd.CallID(o.CallID)] = true
	}
	if err := p.readCalls(ctx, tx, w); err != nil {
		return nil, fmt.Errorf("read calls: %w", err)
	}
	if err := p.readAgents(ctx, tx, w); err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	return p, nil
}

// readOffers reads the latest offer of each number, and the open offers of the calls.
func (p *page) readOffers(ctx context.Context, tx pgx.Tx, w speaksOf) error {
	if len(w.offers) > 0 {
		numbers := make([]int64, 0, len(w.offers))
		for n := range w.offers {
			numbers = append(numbers, int64(n))
		}
		latest, err := offersTable.get(ctx, tx, `where (offer, started_at) in
			(select n, (select max(started_at) from log.offers where offer = n) from unnest($1::bigint[]) n)`, numbers)
		if err != nil {
			return err
		}
		p.tried = latest
	}
	var open []*offerRow
	var err error
	switch {
	case w.all:
		open, err = offersTable.get(ctx, tx, `where ended_at is null`)
	case len(w.calls) > 0:
		open, err = offersTable.get(ctx, tx, `where ended_at is null and call_id = any($1)`, slices.Collect(maps.Keys(w.calls)))
	}
	if err != nil {
		return err
	}
	for _, o := range open {
		if !slices.ContainsFunc(p.tried, func(t *offerRow) bool { return t.Offer == o.Offer && t.CallID == o.CallID }) {
			p.tried = append(p.tried, o)
		}
	}
	slices.SortFunc(p.tried, func(a, b *offerRow) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.Offer, b.Offer), cmp.Compare(a.CallID, b.CallID))
	})
	for _, o := range p.tried {
		p.offers[acd.OfferID(o.Offer)] = o // the later one wins
		if o.EndedAt == nil {
			p.rings[acd.CallID(o.CallID)] = append(p.rings[acd.CallID(o.CallID)], o)
		}
	}
	return nil
}

func (p *page) readCalls(ctx context.Context, tx pgx.Tx, w speaksOf) error {
	if len(w.calls) == 0 && !w.all {
		return nil
	}
	which := `where call_id = any($1)`
	if w.all {
		which += ` or ended_at is null`
	}
	ids := slices.Collect(maps.Keys(w.calls))
	calls, err := callsTable.get(ctx, tx, which, ids)
	if err != nil {
		return err
	}
	visits, err := visitsTable.get(ctx, tx, which+` order by call_id, visit`, ids)
	if err != nil {
		return err
	}
	for _, c := range calls {
		p.calls[acd.CallID(c.CallID)] = c
	}
	for _, v := range visits {
		p.visits[acd.CallID(v.CallID)] = append(p.visits[acd.CallID(v.CallID)], v)
	}
	return nil
}

func (p *page) readAgents(ctx context.Context, tx pgx.Tx, w speaksOf) error {
	if len(w.agents) == 0 && !w.all {
		return nil
	}
	var agents []*agentRow
	var err error
	if w.all {
		agents, err = agentsTable.get(ctx, tx, "")
	} else {
		agents, err = agentsTable.get(ctx, tx, `where agent = any($1)`, slices.Collect(maps.Keys(w.agents)))
	}
	if err != nil {
		return err
	}
	ids := make([]string, len(agents))
	for i, a := range agents {
		p.agents[acd.AgentID(a.Agent)] = a
		ids[i] = a.Agent
	}
	closed, err := intervalsTable.get(ctx, tx, `where (agent, from_at) in
		(select a, (select max(from_at) from log.agent_intervals where agent = a) from unnest($1::text[]) a)`, ids)
	if err != nil {
		return err
	}
	for _, i := range closed {
		i.stored = true
		p.closed[i.Agent] = i
	}
	return nil
}

// write queues what has changed.
func (p *page) write(b *pgx.Batch) error {
	var calls []callRow
	for _, id := range slices.Sorted(maps.Keys(p.calls)) {
		if c := p.calls[id]; c.touched {
			calls = append(calls, *c)
		}
	}
	var visits []visitRow
	for _, id := range slices.Sorted(maps.Keys(p.visits)) {
		for _, v := range p.visits[id] {
			if v.touched {
				visits = append(visits, *v)
			}
		}
	}
	var offers []offerRow
	for _, o := range p.tried {
		if o.touched {
			offers = append(offers, *o)
		}
	}
	var agents []agentRow
	for _, id := range slices.Sorted(maps.Keys(p.agents)) {
		if a := p.agents[id]; a.touched {
			agents = append(agents, *a)
		}
	}
	var intervals []intervalRow
	for _, i := range p.intervals {
		if !i.reopened {
			intervals = append(intervals, *i)
		}
	}
	for _, i := range p.reopened {
		b.Queue(`delete from log.agent_intervals where agent = $1 and from_at = $2`, i.Agent, i.FromAt)
	}
	for _, put := range []func() error{
		func() error { return callsTable.put(b, calls) },
		func() error { return segmentsTable.put(b, p.segments) },
		func() error { return visitsTable.put(b, visits) },
		func() error { return offersTable.put(b, offers) },
		func() error { return agentsTable.put(b, agents) },
		func() error { return intervalsTable.put(b, intervals) },
		func() error { return legsTable.put(b, slices.Collect(maps.Values(p.legs))) },
		func() error { return alarmsTable.put(b, p.alarms) },
		func() error { return quarantineTable.put(b, p.quarantine) },
	} {
		if err := put(); err != nil {
			return err
		}
	}
	return nil
}

func (p *page) alarm(at time.Time, text string) {
	p.alarms = append(p.alarms, alarmRow{at, text})
}
