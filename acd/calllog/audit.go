package calllog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Finding is a row that breaks one of the rules that the log must keep at any
// moment.
type Finding struct {
	Rule string `db:"rule" json:"rule"` // what should be true
	Row  string `db:"row" json:"row"`   // where it isn't: a call, an agent, a queue
}

// rules are queries for what breaks them, each giving a text per row.
var rules = []struct{ rule, sql string }{
	{"every call that ended has exactly one outcome, and no other has one",
		`select call_id from log.calls where (ended_at is null) <> (outcome is null) or ended_at < arrived_at`},
	{"every visit has a result once it ended, and ends with its call",
		`select call_id || ' visit ' || visit from log.visits v
		 where (ended_at is null) <> (result is null) or ended_at < entered_at
		    or ended_at is null and exists (select from log.calls c where c.call_id = v.call_id and c.ended_at is not null)`},
	{"for each queue: offered = answered + abandoned + flowed out + failed + still waiting",
		`select queue from log.visits group by queue having count(*) <>
		     count(*) filter (where result = 'answered')
		   + count(*) filter (where result = 'abandoned')
		   + count(*) filter (where result in ('timed_out', 'full', 'no_agents', 'closed', 'callback', 'voicemail', 'key', 'moved'))
		   + count(*) filter (where result = 'failed')
		   + count(*) filter (where ended_at is null)`},
	{"a call has as many visits as it counts, and one open at most",
		`select c.call_id from log.calls c left join log.visits v using (call_id) group by c.call_id, c.visits
		 having count(v.visit) <> c.visits or count(*) filter (where v.visit is not null and v.ended_at is null) > 1`},
	{"a visit is answered exactly if caller and agent were connected in it",
		`select call_id || ' visit ' || visit from log.visits
		 where ended_at is not null and (result = 'answered') <> (connected_at is not null) and result <> 'failed'`},
	{"a call is answered exactly if it was connected, unless it failed",
		`select call_id from log.calls where ended_at is not null and outcome <> 'failed' and (outcome = 'answered') <> (connected_at is not null)`},
	{"every offer has a result once it ended, and ends with its call",
		`select call_id || ' offer ' || offer from log.offers o
		 where (ended_at is null) <> (result is null) or ended_at < started_at
		    or ended_at is null and exists (select from log.calls c where c.call_id = o.call_id and c.ended_at is not null)`},
	{"an agent has one offer at a time",
		`select agent || ' offer ' || offer || ' of ' || call_id from (
		     select *, lag(coalesce(ended_at, 'infinity')) over (partition by agent order by started_at, ended_at, offer) as before from log.offers) o
		 where started_at < before`},
	{"an agent's time has no gap, no overlap and one open interval",
		`select agent || ' from ' || from_at from (
		     select *, lead(from_at) over w as next from public.agent_time
		     window w as (partition by agent order by from_at)) t
		 where to_at is distinct from next or to_at <= from_at`},
	{"a call's segments have no gap and no overlap from its arrival to its end",
		`select call_id || ' from ' || from_at from (
		     select s.*, lead(s.from_at, 1, coalesce(c.segment_since, c.ended_at)) over w as next,
		            lag(s.to_at, 1, c.arrived_at) over w as before
		     from log.segments s join log.calls c using (call_id)
		     window w as (partition by s.call_id order by s.from_at)) t
		 where to_at <> next or from_at <> before or to_at <= from_at`},
	{"no fact is in quarantine",
		`select kind || ' ' || event_id || ': ' || error from log.quarantine`},
}

// Audit checks the rules and returns what breaks them, at most 100 rows for
// each. All of them see the same moment of the log.
func (l *Log) Audit(ctx context.Context) ([]Finding, error) {
	var all []Finding
	err := pgx.BeginTxFunc(ctx, l.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		all, err = findings(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return all, nil
}

func findings(ctx context.Context, tx pgx.Tx) ([]Finding, error) {
	var all []Finding
	for _, r := range rules {
		rows, err := tx.Query(ctx, r.sql+" limit 100")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.rule, err)
		}
		broken, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.rule, err)
		}
		for _, row := range broken {
			all = append(all, Finding{r.rule, row})
		}
	}
	return all, nil
}
