package calllog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hotline/acd"
	"hotline/acd/journal"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := cluster.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// cluster is one private Postgres for all tests of this file's kind, started by
// the first that needs it. Each test has a database of its own.
var cluster sharedCluster

type sharedCluster struct {
	once      sync.Once
	dir       string
	p         *Private
	err       error
	databases atomic.Int64
}

func (s *sharedCluster) close() error {
	if s.p == nil {
		return nil
	}
	return errors.Join(s.p.Close(), os.RemoveAll(s.dir))
}

// database makes an empty database and returns its DSN.
func database(t testing.TB) string {
	t.Helper()
	cluster.once.Do(func() {
		if cluster.dir, cluster.err = os.MkdirTemp("", "calllog"); cluster.err != nil {
			return
		}
		cluster.p, cluster.err = StartPrivate(context.Background(), PrivateOptions{Dir: cluster.dir + "/postgres"})
	})
	if errors.Is(cluster.err, ErrNoPostgres) && os.Getenv("CI") != "true" {
		t.Skip(cluster.err)
	}
	if cluster.err != nil {
		t.Fatal(cluster.err)
	}
	name := fmt.Sprintf("test%d", cluster.databases.Add(1))
	if _, err := tryQuery(t.Context(), cluster.p.DSN(), "create database "+name); err != nil {
		t.Fatal(err)
	}
	dsn := strings.Replace(cluster.p.DSN(), "dbname="+privateDatabase, "dbname="+name, 1)
	if dsn == cluster.p.DSN() {
		dsn = strings.Replace(dsn, "/"+privateDatabase+"?", "/"+name+"?", 1)
	}
	if got, err := tryQuery(t.Context(), dsn, "select current_database()"); err != nil || got != name {
		t.Fatalf("%s is database %s, %v", dsn, got, err)
	}
	return dsn
}

func openLog(t testing.TB, dsn string) *Log {
	t.Helper()
	l, err := Open(t.Context(), dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func openJournal(t testing.TB, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{Dir: dir, Sync: journal.SyncPolicy(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// keep appends and waits for the receipts.
func keep(t testing.TB, j *journal.Journal, batches ...[]journal.Entry) {
	t.Helper()
	for _, b := range batches {
		r := j.Append(b)
		<-r.Done()
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
	}
}

// catchUp projects all that the journal has.
func catchUp(t testing.TB, l *Log, j *journal.Journal) {
	t.Helper()
	last, ok, err := j.Last(t.Context())
	if err != nil || !ok {
		t.Fatal("no last entry", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Follow(ctx, j) }() // ends with ctx
	within, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.CaughtUp(within, last.Position); err != nil {
		t.Error("not caught up:", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func audit(t testing.TB, l *Log) {
	t.Helper()
	found, err := l.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Errorf("broken: %s: %s", f.Rule, f.Row)
	}
}

// tale is a sequence of facts with a clock.
type tale struct {
	now     time.Time
	entries []journal.Entry
}

var morning = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

func newTale() *tale { return &tale{now: morning} }

// at moves the clock to so long after the morning, and says facts then.
func (s *tale) at(d time.Duration, facts ...journal.Fact) *tale {
	s.now = morning.Add(d)
	for _, f := range facts {
		s.entries = append(s.entries, journal.Entry{At: s.now, Fact: f})
	}
	return s
}

func told(t testing.TB, s *tale) *Log {
	t.Helper()
	l := openLog(t, database(t))
	j := openJournal(t, t.TempDir())
	keep(t, j, s.entries)
	catchUp(t, l, j)
	return l
}

func ms(n int64) *int64 { return &n }

func after(d time.Duration) *time.Time { return new(morning.Add(d)) }

// isReady is the floor's word on an agent who is signed in.
func isReady(agent acd.AgentID, work acd.Work, call acd.CallID) acd.AgentChanged {
	return acd.AgentChanged{Agent: agent, Presence: acd.Ready, Work: work, Reachable: true, Call: call}
}

// lines shows what a query gives, a line per row.
func lines(t testing.TB, l *Log, sql string) string {
	t.Helper()
	rows, err := l.pool.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for rows.Next() {
		v, err := rows.Values()
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range v {
			if i > 0 {
				b.WriteByte(' ')
			}
			switch x := x.(type) {
			case time.Time:
				b.WriteString(x.Sub(morning).String())
			case nil:
				b.WriteString("-")
			default:
				fmt.Fprint(&b, x)
			}
		}
		b.WriteByte('\n')
	}
	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}
	return b.String()
}

// everything is the whole content of the log, to compare two of them.
func everything(t testing.TB, l *Log) string {
	t.Helper()
	all := ""
	for _, table := range []string{"calls", "segments", "visits", "offers", "agents", "agent_intervals", "legs"} {
		all += table + "\n" + lines(t, l, "select * from log."+table+" order by 1, 2, 3, 4")
	}
	return all + lines(t, l, "select at from log.alarms order by alarm") + lines(t, l, "select kind, error from log.quarantine order by seq, entry")
}

// heard collects log lines.
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (h *heard) Enabled(context.Context, slog.Level) bool { return true }
func (h *heard) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *heard) WithGroup(string) slog.Handler            { return h }
func (h *heard) Handle(_ context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, r.Level.String()+" "+r.Message)
	return nil
}

func (h *heard) count(prefix string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.lines {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}
