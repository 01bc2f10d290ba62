// Package calllog writes what the journal tells into Postgres, and asks it
// there: the call log, missed calls, the agents' time. It records and never
// decides; calls never wait for it.
//
// Follow projects the journal. Facts and the position up to which they are
// projected are stored in one transaction, so every fact counts exactly once,
// whatever is killed when. Tables are in the schema log, the views that people
// and reports read are in public.
//
// Goroutines: those of the connection pool, ended by Close; Follow runs on its
// caller's. A private Postgres has its own, see StartPrivate.
package calllog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"hotline/acd/journal"
)

// Log is the call log in one Postgres database. Its methods may be called from
// any goroutine, but Follow from one at a time.
type Log struct {
	pool *pgxpool.Pool
	log  *slog.Logger

	migrating sync.Mutex
	migrated  bool // under migrating

	mu      sync.Mutex
	reached journal.Position // of the projection
	moved   chan struct{}    // closed when reached changes
}

const (
	connectWithin = 5 * time.Second
	openWithin    = 10 * time.Second
	// projectWithin bounds one transaction of at most 1000 facts: a Postgres that
	// does not answer is as good as gone.
	projectWithin = 60 * time.Second
)

// Open connects to Postgres and brings the schema up to date. When Postgres is
// away it says so in the log and returns all the same: Follow goes on trying.
// So it does when Postgres refuses us (a changed password, a missing right): a
// call centre answers its phone all the same. It fails when the DSN makes no
// sense, and when the log was written by a newer Hotline. Close ends it. log may
// be nil.
func Open(ctx context.Context, dsn string, log *slog.Logger) (*Log, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("open call log: %w", err)
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "hotline"
	}
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectWithin
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open call log: %w", err)
	}
	l := &Log{pool: pool, log: log, moved: make(chan struct{})}
	within, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	if err := l.ready(within); err != nil {
		switch {
		case errors.Is(err, errNewerSchema):
			pool.Close()
			return nil, fmt.Errorf("open call log: %w", err)
		case refused(err):
			log.Error("Postgres refuses us; calls go on, and the call log will catch up once this is put right", "err", err)
		default:
			log.Warn("Postgres is away; the call log will catch up", "err", err)
		}
	}
	return l, nil
}

// Close closes the connections. Follow should have ended before.
func (l *Log) Close() { l.pool.Close() }

// ready migrates the schema, once.
func (l *Log) ready(ctx context.Context) error {
	l.migrating.Lock()
	defer l.migrating.Unlock()
	if l.migrated {
		return nil
	}
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if err := migrate(ctx, conn.Conn(), migrations); err != nil {
		return err
	}
	l.migrated = true
	return nil
}

// refused tells a Postgres that answered and said no from one that is away,
// starting, stopping or full.
func refused(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	for _, class := range []string{"08", "40", "53", "57", "58"} {
		if strings.HasPrefix(pg.Code, class) {
			return false
		}
	}
	return true
}

// CaughtUp waits until the projection has reached the position p, or ctx is
// done. It needs Follow to run.
func (l *Log) CaughtUp(ctx context.Context, p journal.Position) error {
	for {
		l.mu.Lock()
		at, moved := l.reached, l.moved
		l.mu.Unlock()
		if at.Incarnation == p.Incarnation && (at.Seq > p.Seq || at.Seq == p.Seq && at.Index >= p.Index) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (l *Log) reach(p journal.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reached = p
	close(l.moved)
	l.moved = make(chan struct{})
}
