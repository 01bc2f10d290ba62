package calllog

import (
	"context"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"hotline/acd"
	"hotline/acd/journal"
)

// Postgres is away at the start, comes, goes in the middle and comes back.
func TestPostgresComesAndGoes(t *testing.T) {
	needPostgres(t)
	dir := t.TempDir() + "/postgres"
	start := func() *Private {
		ctx, cancel := context.WithTimeout(t.Context(), privateLimit)
		defer cancel()
		p, err := StartPrivate(ctx, PrivateOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	stop := func(p *Private) {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p := start()
	dsn := p.DSN()
	stop(p)

	var notes heard
	l, err := Open(t.Context(), dsn, slog.New(&notes))
	if err != nil {
		t.Fatal("Postgres is away and Open fails:", err)
	}
	t.Cleanup(l.Close)
	if _, err := l.Calls(t.Context(), Filter{}); err == nil {
		t.Error("calls without Postgres")
	}
	j := openJournal(t, t.TempDir())
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Follow(ctx, j) }() // ends with ctx
	all := playDay(seed(t), 900)
	third := len(all) / 3
	caughtUp := func() {
		t.Helper()
		last, _, err := j.Last(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		within, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := l.CaughtUp(within, last.Position); err != nil {
			t.Fatal(err)
		}
	}
	keep(t, j, all[:third]...)
	until(t, "the outage is noticed", func() bool { return notes.count("WARN the call log can't be written") == 1 })
	p = start()
	caughtUp()
	stop(p)
	keep(t, j, all[third:2*third]...)
	until(t, "the second outage is noticed", func() bool { return notes.count("WARN the call log can't be written") == 2 })
	p = start()
	keep(t, j, all[2*third:]...)
	caughtUp()
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	audit(t, l)
	want := openLog(t, database(t))
	catchUp(t, want, j)
	if d := cmp.Diff(everything(t, want), everything(t, l)); d != "" {
		t.Error(d)
	}
	if warned, back := notes.count("WARN the call log can't"), notes.count("INFO the call log is written again"); warned != 2 || back != 2 {
		t.Errorf("%d warnings and %d all-clears for 2 outages: %q", warned, back, notes.lines)
	}
	l.Close()
	stop(p)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dsn := database(t)
	if _, err := Open(t.Context(), "postgres://[", nil); err == nil {
		t.Error("a DSN that is none was taken")
	}
	wrong := strings.Replace(dsn, "test", "nosuchdatabase", 1)
	var notes heard
	l, err := Open(t.Context(), wrong, slog.New(&notes))
	if err != nil {
		t.Fatalf("a Postgres that refuses us ends the service: %v", err)
	}
	if notes.count("ERROR Postgres refuses us") != 1 {
		t.Errorf("no such database: %q", notes.lines)
	}
	if _, err := l.Calls(t.Context(), Filter{}); err == nil || !strings.Contains(err.Error(), "nosuchdatabase") {
		t.Errorf("no such database: %v", err)
	}
	l.Close()
	openLog(t, dsn)
	if _, err := tryQuery(t.Context(), dsn, "insert into log.schema_version (version) values (99)"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dsn, nil); err == nil || !strings.Contains(err.Error(), "newer Hotline") {
		t.Errorf("a newer schema: %v", err)
	}
}

func TestFollowEndsWithTheJournal(t *testing.T) {
	l := openLog(t, database(t))
	j := openJournal(t, t.TempDir())
	keep(t, j, newTale().at(0, journal.Heartbeat{}).entries)
	ended := make(chan error, 1)
	go func() { ended <- l.Follow(t.Context(), j) }() // ends when the journal closes
	last, _, err := j.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.CaughtUp(t.Context(), last.Position); err != nil {
		t.Fatal(err)
	}
	_ = j.Close()
	if err := <-ended; err != journal.ErrClosed {
		t.Errorf("ended with %v", err)
	}
}

// What does not fit goes to quarantine and the rest goes on.
func TestQuarantine(t *testing.T) {
	dsn := database(t)
	l := openLog(t, dsn)
	if _, err := tryQuery(t.Context(), dsn, `create function no() returns trigger language plpgsql as $$ begin
		if new.number = '666' then raise exception 'not this one'; end if; return new; end $$`); err != nil {
		t.Fatal(err)
	}
	if _, err := tryQuery(t.Context(), dsn, `create trigger no before insert on log.calls for each row execute function no()`); err != nil {
		t.Fatal(err)
	}
	s := newTale()
	for i, f := range []journal.Fact{
		journal.CallArrived{Call: "a", Number: "1900", Caller: "1"},
		journal.CallArrived{Call: "a", Number: "1901", Caller: "2"}, // twice
		journal.CallAnswered{Call: "stranger"},
		acd.CallQueued{Call: "stranger", Queue: "support"},
		journal.CallArrived{Call: "b", Number: "666"}, // Postgres refuses it
		journal.CallArrived{Call: "c", Number: "19\x0000"},
		acd.Offer{Offer: 1 << 63, Call: "a", Agent: "ann", Queue: "support"}, // too large
		acd.OfferEnded{Offer: 5, Call: "a", Result: acd.OfferBusy},
		acd.VisitEnded{Call: "a", Queue: "support", Result: acd.VisitFull},
		journal.CallEnded{Call: "a", Outcome: "bored"},
		journal.CallEnded{Call: "a", Outcome: journal.Failed, Stage: journal.Flow, HungUpBy: journal.System},
		journal.CallEnded{Call: "a", Outcome: journal.Answered},
		acd.CallQueued{Call: "a", Queue: "support"},
		journal.Undecodable{}, // replaced below
		journal.CallArrived{Call: "d", Number: "1900"},
		// What the floor ignores is no reason for alarm.
		acd.TalkEnded{Call: "a", Agent: "ann"}, journal.HoldEnded{Call: "a", Agent: "ann"}, acd.CallerHungUp{Call: "stranger"},
		journal.LegEnded{Call: "featurecode", Party: journal.Agent, Leg: "l"},
		acd.TalkEnded{Call: "stranger", Agent: "ann"},
		journal.CallEnded{Call: "d", Outcome: journal.LeftInFlow, Stage: journal.Flow, HungUpBy: journal.Caller},
		journal.CallArrived{Call: "e\x00", Number: "1900"}, // an id that Postgres can't hold
	} {
		s.at(time.Duration(i)*sec, f)
	}
	var facts []journal.Stored
	for i, e := range s.entries {
		if _, ok := e.Fact.(journal.Undecodable); ok {
			e.Fact = journal.Undecodable{Raw: []byte("{\xff\x00"), Err: "unknown kind"}
		}
		facts = append(facts, journal.Stored{Position: journal.Position{Incarnation: "j", Seq: 1, Index: i, ID: string(rune('a' + i))}, Entry: e})
	}
	if err := l.store(t.Context(), &cursor{}, facts, facts[len(facts)-1]); err != nil {
		t.Fatal(err)
	}
	same(t, "calls", lines(t, l, "select call_id, number, outcome from call_log order by arrived_at"), `
		a 1900 failed
		c 19`+"\uFFFD"+`00 -
		d 1900 left_in_flow`)
	same(t, "quarantine", lines(t, l, "select entry, kind, error from log.quarantine order by entry"), `
		1 CallArrived call "a" has arrived before
		2 CallAnswered call "stranger" has not arrived
		3 CallQueued call "stranger" has not arrived
		4 CallArrived project: ERROR: not this one (SQLSTATE P0001)
		6 Offer project: ERROR: value "9223372036854775808" is out of range for type bigint (SQLSTATE 22003)
		7 OfferEnded offer 5 of call "a" was not made
		8 VisitEnded call "a" is in no visit to "support"
		9 CallEnded "bored" is no outcome
		11 CallEnded call "a" ended before, as failed
		12 CallQueued call "a" has ended
		13  unknown kind
		21 CallArrived project: read offers: ERROR: invalid byte sequence for encoding "UTF8": 0x00 (SQLSTATE 22021)`)
	if raw := lines(t, l, "select raw from log.quarantine where entry in (3, 13) order by entry"); raw !=
		`{"at":"2026-03-02T08:00:03.000000Z","is":"CallQueued","fact":{"call":"stranger","queue":"support"}}`+"\n{\uFFFD\uFFFD\n" {
		t.Errorf("raw: %q", raw)
	}
	same(t, "alarms", lines(t, l, "select count(*) from log.alarms"), "12")
	found, err := l.Audit(t.Context())
	if err != nil || len(found) != 12 {
		t.Errorf("audit finds %v, %v", found, err)
	}
}

// The audit finds what it is there for.
func TestAuditFindsWhatIsBroken(t *testing.T) {
	l := told(t, answeredCall())
	audit(t, l)
	for name, sql := range map[string]string{
		"no outcome":      `update log.calls set outcome = null`,
		"visit open":      `update log.visits set ended_at = null, result = null`,
		"visit unknown":   `update log.visits set result = 'lost'`,
		"visit gone":      `delete from log.visits`,
		"not connected":   `update log.calls set connected_at = null`,
		"offer open":      `update log.offers set ended_at = null where offer = 2`,
		"offers overlap":  `update log.offers set agent = 'ben', ended_at = ended_at + interval '1 s' where offer = 1`,
		"ledger gap":      `delete from log.agent_intervals where state = 'Hold'`,
		"ledger overlap":  `update log.agent_intervals set to_at = to_at + interval '1 s' where state = 'Hold'`,
		"ledger to now":   `update log.agents set since = since + interval '1 s' where agent = 'ben'`,
		"segment gap":     `delete from log.segments where segment = 'Hold'`,
		"segment overlap": `update log.segments set to_at = to_at + interval '1 s' where segment = 'Flow'`,
	} {
		t.Run(name, func(t *testing.T) {
			tx, err := l.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.Background()) }()
			if _, err := tx.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
			if found, err := findings(t.Context(), tx); err != nil || len(found) == 0 {
				t.Errorf("found %v, %v", found, err)
			}
		})
	}
}

func TestViewsAndComments(t *testing.T) {
	l := openLog(t, database(t))
	for view, want := range map[string]string{
		"call_log":     "call_id number caller language queue agent outcome stage arrived_at answered_at queued_at connected_at ended_at wait_ms ring_ms talk_ms hold_ms hung_up_by recording",
		"missed_calls": "call_id number caller language queue outcome stage arrived_at queued_at ended_at wait_ms tries got_through_at",
		"offers":       "call_id agent started_at ended_at result ring_ms",
		"agent_time":   "agent state reason from_at to_at",
	} {
		got := lines(t, l, "select column_name::text from information_schema.columns where table_schema = 'public' and table_name = '"+view+"' order by ordinal_position")
		if got != strings.ReplaceAll(want, " ", "\n")+"\n" {
			t.Errorf("%s has %s", view, got)
		}
	}
	same(t, "times without a zone", lines(t, l, "select table_name::text, column_name::text from information_schema.columns where table_schema in ('log', 'public') and data_type like 'timestamp without%'"), "")
	same(t, "tables without a comment", lines(t, l, `select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname in ('log', 'public') and c.relkind in ('r', 'v') and obj_description(c.oid) is null`), "")
	same(t, "columns without a comment", lines(t, l, `select c.relname || '.' || a.attname from pg_class c join pg_namespace n on n.oid = c.relnamespace
		join pg_attribute a on a.attrelid = c.oid where n.nspname in ('log', 'public') and c.relkind in ('r', 'v') and a.attnum > 0 and col_description(c.oid, a.attnum) is null`), "")
	same(t, "time zone", lines(t, l, "show timezone"), "UTC")
}

func TestMigrationsRunOnceAndInOrder(t *testing.T) {
	conn, err := pgx.Connect(t.Context(), database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	first, err := fs.ReadFile(migrations, "migrations/001_call_log.sql")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"migrations/001_call_log.sql": {Data: first}}
	for range 2 {
		if err := migrate(t.Context(), conn, files); err != nil {
			t.Fatal(err)
		}
	}
	files["migrations/002_more.sql"] = &fstest.MapFile{Data: []byte("create table log.more (); create table log.calls ()")}
	if err := migrate(t.Context(), conn, files); err == nil || !strings.Contains(err.Error(), "002_more.sql") {
		t.Errorf("a broken migration: %v", err)
	}
	files["migrations/002_more.sql"] = &fstest.MapFile{Data: []byte("create table log.more ()")} // nothing of the broken one stayed
	if err := migrate(t.Context(), conn, files); err != nil {
		t.Fatal(err)
	}
	files["migrations/004_gap.sql"] = &fstest.MapFile{Data: []byte("select 1")}
	if err := migrate(t.Context(), conn, files); err == nil {
		t.Error("a missing number was accepted")
	}
}

func BenchmarkCatchUp(b *testing.B) {
	batches := playDay(1, 20000)
	j, err := journal.Open(b.Context(), journal.Options{Dir: b.TempDir(), Sync: journal.SyncPolicy(time.Minute)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	facts := 0
	for len(batches) > 0 {
		n := min(len(batches), 500)
		keep(b, j, batches[:n]...)
		for _, batch := range batches[:n] {
			facts += len(batch)
		}
		batches = batches[n:]
	}
	total := 0
	for b.Loop() {
		b.StopTimer()
		l := openLog(b, database(b))
		b.StartTimer()
		catchUp(b, l, j)
		total += facts
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "facts/s")
}
