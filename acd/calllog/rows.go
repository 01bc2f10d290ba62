package calllog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// The rows of the tables as one transaction reads and writes them. A pointer
// is a column that may be null. What the columns mean is in the migrations.

type callRow struct {
	CallID          string     `db:"call_id" json:"call_id"`
	Number          string     `db:"number" json:"number"`
	Caller          *string    `db:"caller" json:"caller"`
	CallerName      *string    `db:"caller_name" json:"caller_name"`
	Trunk           *string    `db:"trunk" json:"trunk"`
	DialledBy       *string    `db:"dialled_by" json:"dialled_by"`
	Direction       string     `db:"direction" json:"direction"`
	Language        *string    `db:"language" json:"language"`
	Queue           *string    `db:"queue" json:"queue"`
	Agent           *string    `db:"agent" json:"agent"`
	Outcome         *string    `db:"outcome" json:"outcome"`
	Stage           *string    `db:"stage" json:"stage"`
	HungUpBy        *string    `db:"hung_up_by" json:"hung_up_by"`
	Detail          *string    `db:"detail" json:"detail"`
	ArrivedAt       time.Time  `db:"arrived_at" json:"arrived_at"`
	AnsweredAt      *time.Time `db:"answered_at" json:"answered_at"`
	QueuedAt        *time.Time `db:"queued_at" json:"queued_at"`
	ConnectedAt     *time.Time `db:"connected_at" json:"connected_at"`
	EndedAt         *time.Time `db:"ended_at" json:"ended_at"`
	WaitUS          *int64     `db:"wait_us" json:"wait_us"`
	RingUS          *int64     `db:"ring_us" json:"ring_us"`
	TalkUS          *int64     `db:"talk_us" json:"talk_us"`
	HoldUS          *int64     `db:"hold_us" json:"hold_us"`
	Recording       *string    `db:"recording" json:"recording"`
	RecordingUS     *int64     `db:"recording_us" json:"recording_us"`
	RecordingLostUS *int64     `db:"recording_lost_us" json:"recording_lost_us"`
	RecordingError  *string    `db:"recording_error" json:"recording_error"`
	Visits          int        `db:"visits" json:"visits"`
	Segment         *string    `db:"segment" json:"segment"`
	SegmentAgent    *string    `db:"segment_agent" json:"segment_agent"`
	SegmentSince    *time.Time `db:"segment_since" json:"segment_since"`
	Presumed        bool       `db:"presumed" json:"presumed"`
	touched         bool
}

type segmentRow struct {
	CallID  string    `json:"call_id"`
	Segment string    `json:"segment"`
	Agent   *string   `json:"agent"`
	FromAt  time.Time `json:"from_at"`
	ToAt    time.Time `json:"to_at"`
}

type visitRow struct {
	CallID      string     `db:"call_id" json:"call_id"`
	Visit       int        `db:"visit" json:"visit"`
	Queue       string     `db:"queue" json:"queue"`
	Priority    int        `db:"priority" json:"priority"`
	EnteredAt   time.Time  `db:"entered_at" json:"entered_at"`
	ConnectedAt *time.Time `db:"connected_at" json:"connected_at"`
	EndedAt     *time.Time `db:"ended_at" json:"ended_at"`
	Result      *string    `db:"result" json:"result"`
	Agent       *string    `db:"agent" json:"agent"`
	touched     bool
}

type offerRow struct {
	CallID     string     `db:"call_id" json:"call_id"`
	Offer      uint64     `db:"offer" json:"offer"`
	Agent      string     `db:"agent" json:"agent"`
	Queue      string     `db:"queue" json:"queue"`
	StartedAt  time.Time  `db:"started_at" json:"started_at"`
	RangAt     *time.Time `db:"rang_at" json:"rang_at"`
	AcceptedAt *time.Time `db:"accepted_at" json:"accepted_at"`
	EndedAt    *time.Time `db:"ended_at" json:"ended_at"`
	Result     *string    `db:"result" json:"result"`
	touched    bool
}

type agentRow struct {
	Agent       string     `db:"agent" json:"agent"`
	Name        *string    `db:"name" json:"name"`
	Extension   *string    `db:"extension" json:"extension"`
	Presence    *string    `db:"presence" json:"presence"`
	Reason      *string    `db:"reason" json:"reason"`
	Work        *string    `db:"work" json:"work"`
	Reachable   bool       `db:"reachable" json:"reachable"`
	Private     bool       `db:"private" json:"private"`
	Down        bool       `db:"down" json:"down"`
	CallID      *string    `db:"call_id" json:"call_id"`
	HoldCallID  *string    `db:"hold_call_id" json:"hold_call_id"`
	State       *string    `db:"state" json:"state"`
	StateReason *string    `db:"state_reason" json:"state_reason"`
	Since       *time.Time `db:"since" json:"since"`
	touched     bool
}

type intervalRow struct {
	Agent    string    `db:"agent" json:"agent"`
	State    string    `db:"state" json:"state"`
	Reason   *string   `db:"reason" json:"reason"`
	FromAt   time.Time `db:"from_at" json:"from_at"`
	ToAt     time.Time `db:"to_at" json:"to_at"`
	stored   bool      // it is in the table
	reopened bool      // it is open again and should not be there
}

type legRow struct {
	CallID      string    `json:"call_id"`
	Leg         string    `json:"leg"`
	Party       string    `json:"party"`
	Agent       *string   `json:"agent"`
	Detail      *string   `json:"detail"`
	Codec       *string   `json:"codec"`
	Sent        uint64    `json:"sent"`
	Received    uint64    `json:"received"`
	Lost        uint64    `json:"lost"`
	RemoteLost  uint64    `json:"remote_lost"`
	JitterUS    int64     `json:"jitter_us"`
	RoundTripUS int64     `json:"round_trip_us"`
	EndedAt     time.Time `json:"ended_at"`
}

type alarmRow struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

type quarantineRow struct {
	EventID     string    `json:"event_id"`
	Incarnation string    `json:"incarnation"`
	Seq         uint64    `json:"seq"`
	Entry       int       `json:"entry"`
	At          time.Time `json:"at"`
	Kind        string    `json:"kind"`
	Raw         string    `json:"raw"`
	Error       string    `json:"error"`
}

// table writes rows of one type: inserts them or, where the key is taken,
// replaces what is there. All rows go as one JSON parameter of one statement,
// which Postgres takes apart faster than many statements.
type table[R any] struct{ load, store string }

func tableOf[R any](name, key string) table[R] {
	var columns []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[R]()) {
		if f.IsExported() {
			columns = append(columns, f.Tag.Get("json"))
		}
	}
	list := strings.Join(columns, ", ")
	load := fmt.Sprintf("select %s from log.%s ", list, name)
	store := fmt.Sprintf("insert into log.%s (%s) select %s from json_populate_recordset(null::log.%s, $1)", name, list, list, name)
	if key != "" {
		store += fmt.Sprintf(" on conflict (%s) do update set (%s) = row(excluded.%s)", key, list, strings.Join(columns, ", excluded."))
	}
	return table[R]{load, store}
}

var (
	callsTable      = tableOf[callRow]("calls", "call_id")
	segmentsTable   = tableOf[segmentRow]("segments", "")
	visitsTable     = tableOf[visitRow]("visits", "call_id, visit")
	offersTable     = tableOf[offerRow]("offers", "call_id, offer")
	agentsTable     = tableOf[agentRow]("agents", "agent")
	intervalsTable  = tableOf[intervalRow]("agent_intervals", "")
	legsTable       = tableOf[legRow]("legs", "call_id, leg, party")
	alarmsTable     = tableOf[alarmRow]("alarms", "")
	quarantineTable = tableOf[quarantineRow]("quarantine", "event_id")
)

// put queues the rows' statement.
func (t table[R]) put(b *pgx.Batch, rows []R) error {
	if len(rows) == 0 {
		return nil
	}
	for i := range rows {
		storable(reflect.ValueOf(&rows[i]).Elem())
	}
	j, err := json.Marshal(rows)
	if err != nil {
		return fmt.Errorf("encode rows: %w", err)
	}
	b.Queue(t.store, string(j))
	return nil
}

// storable replaces NUL in a row's texts: Postgres has no such character.
func storable(row reflect.Value) {
	const nul, shown = "\x00", "\uFFFD"
	for i := range row.NumField() {
		switch f := row.Field(i); {
		case f.Kind() == reflect.String && strings.Contains(f.String(), nul):
			f.SetString(strings.ReplaceAll(f.String(), nul, shown))
		case f.Kind() == reflect.Pointer && f.Type().Elem().Kind() == reflect.String && !f.IsNil() && strings.Contains(f.Elem().String(), nul):
			f.Set(reflect.ValueOf(new(strings.ReplaceAll(f.Elem().String(), nul, shown))))
		}
	}
}

// get reads rows; where is the rest of the statement behind the table's name.
func (t table[R]) get(ctx context.Context, tx pgx.Tx, where string, args ...any) ([]*R, error) {
	rows, err := tx.Query(ctx, t.load+where, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[R])
}

// rawText makes bytes of unknown nature presentable as text.
func rawText(b []byte) string {
	return string(bytes.ToValidUTF8(b, []byte("\uFFFD")))
}
