package calllog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Filter chooses rows. Zero fields choose everything.
type Filter struct {
	Since time.Time // arrived at or after
	Until time.Time // arrived before
	Queue string    // of this queue
	Limit int       // at most so many, the newest
}

// Call is a row of the view call_log; the view's comments say what each column
// means. Empty texts and nil are null there.
type Call struct {
	CallID      string     `db:"call_id" json:"call_id"`
	Number      string     `db:"number" json:"number"`
	Caller      string     `db:"caller" json:"caller,omitempty"`
	Language    string     `db:"language" json:"language,omitempty"`
	Queue       string     `db:"queue" json:"queue,omitempty"`
	Agent       string     `db:"agent" json:"agent,omitempty"`
	Outcome     string     `db:"outcome" json:"outcome,omitempty"`
	Stage       string     `db:"stage" json:"stage,omitempty"`
	ArrivedAt   time.Time  `db:"arrived_at" json:"arrived_at"`
	AnsweredAt  *time.Time `db:"answered_at" json:"answered_at,omitempty"`
	QueuedAt    *time.Time `db:"queued_at" json:"queued_at,omitempty"`
	ConnectedAt *time.Time `db:"connected_at" json:"connected_at,omitempty"`
	EndedAt     *time.Time `db:"ended_at" json:"ended_at,omitempty"`
	WaitMS      *int64     `db:"wait_ms" json:"wait_ms,omitempty"`
	RingMS      *int64     `db:"ring_ms" json:"ring_ms,omitempty"`
	TalkMS      *int64     `db:"talk_ms" json:"talk_ms,omitempty"`
	HoldMS      *int64     `db:"hold_ms" json:"hold_ms,omitempty"`
	HungUpBy    string     `db:"hung_up_by" json:"hung_up_by,omitempty"`
	Recording   string     `db:"recording" json:"recording,omitempty"`
}

// Missed is a row of the view missed_calls.
type Missed struct {
	CallID       string     `db:"call_id" json:"call_id"`
	Number       string     `db:"number" json:"number"`
	Caller       string     `db:"caller" json:"caller,omitempty"`
	Language     string     `db:"language" json:"language,omitempty"`
	Queue        string     `db:"queue" json:"queue,omitempty"`
	Outcome      string     `db:"outcome" json:"outcome"`
	Stage        string     `db:"stage" json:"stage,omitempty"`
	ArrivedAt    time.Time  `db:"arrived_at" json:"arrived_at"`
	QueuedAt     *time.Time `db:"queued_at" json:"queued_at,omitempty"`
	EndedAt      *time.Time `db:"ended_at" json:"ended_at,omitempty"`
	WaitMS       *int64     `db:"wait_ms" json:"wait_ms,omitempty"`
	Tries        int64      `db:"tries" json:"tries"`
	GotThroughAt *time.Time `db:"got_through_at" json:"got_through_at,omitempty"`
}

const chosen = ` where ($1::timestamptz is null or arrived_at >= $1) and ($2::timestamptz is null or arrived_at < $2)
	and ($3 = '' or queue = $3) order by arrived_at desc, call_id desc limit nullif($4, 0)`

// Calls returns the calls that the filter chooses, newest first.
func (l *Log) Calls(ctx context.Context, f Filter) ([]Call, error) {
	calls, err := choose[Call](ctx, l, `select call_id, number, coalesce(caller, '') as caller, coalesce(language, '') as language,
		coalesce(queue, '') as queue, coalesce(agent, '') as agent, coalesce(outcome, '') as outcome, coalesce(stage, '') as stage,
		arrived_at, answered_at, queued_at, connected_at, ended_at, wait_ms, ring_ms, talk_ms, hold_ms,
		coalesce(hung_up_by, '') as hung_up_by, coalesce(recording, '') as recording from public.call_log`, f)
	if err != nil {
		return nil, fmt.Errorf("read calls: %w", err)
	}
	return calls, nil
}

// Missed returns the missed calls that the filter chooses, newest first.
func (l *Log) Missed(ctx context.Context, f Filter) ([]Missed, error) {
	missed, err := choose[Missed](ctx, l, `select call_id, number, coalesce(caller, '') as caller, coalesce(language, '') as language,
		coalesce(queue, '') as queue, outcome, coalesce(stage, '') as stage, arrived_at, queued_at, ended_at,
		wait_ms, tries, got_through_at from public.missed_calls`, f)
	if err != nil {
		return nil, fmt.Errorf("read missed calls: %w", err)
	}
	return missed, nil
}

func choose[R any](ctx context.Context, l *Log, sql string, f Filter) ([]R, error) {
	moment := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	rows, err := l.pool.Query(ctx, sql+chosen, moment(f.Since), moment(f.Until), f.Queue, f.Limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[R])
}
