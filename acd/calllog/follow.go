package calllog

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"hotline/acd/journal"
)

const (
	retryFirst = 100 * time.Millisecond // doubles with each attempt up to retryMost
	retryMost  = 2 * time.Second
	// retryRefused is retryMost while Postgres says no: a wrong password tried
	// too often locks an account.
	retryRefused = 30 * time.Second

	// reader names this projection among the readers of the journal.
	reader = "calllog"
)

// errMoved says that somebody else has moved the cursor.
var errMoved = errors.New("another process projects into this call log")

// Follow projects the journal's facts into the log as they come, from where
// the log stands, until ctx is done (then it returns nil) or the journal is
// closed (journal.ErrClosed). While Postgres is away it tries again with
// growing pauses of up to 2 s, or 30 s while Postgres refuses us; it warns once
// and says once when all is well again. A fact that can't be projected goes to
// log.quarantine with an alarm, and the rest goes on.
func (l *Log) Follow(ctx context.Context, j *journal.Journal) error {
	pause := retryFirst
	down := time.Time{} // since when; zero: all is well
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		err := l.follow(ctx, j, func() {
			if !down.IsZero() {
				l.log.Info("the call log is written again", "away_for", time.Since(down).Round(time.Millisecond))
			}
			pause, down = retryFirst, time.Time{}
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, journal.ErrClosed):
			return err
		case errors.Is(err, journal.ErrPositionGone):
			timer.Reset(0) // the next round goes back to the first entry
			continue
		}
		if down.IsZero() {
			down = time.Now()
			l.log.Warn("the call log can't be written; it will catch up", "err", err)
		}
		timer.Reset(pause)
		most := retryMost
		if refused(err) {
			most = retryRefused
		}
		pause = min(2*pause, most)
	}
}

// cursor is how far the journal is projected.
type cursor struct {
	journal.Position
	lastAt *time.Time // stamp of the last entry projected
	skipTo *time.Time // entries up to this stamp are projected already
}

// follow projects until something fails. It calls well whenever Postgres has
// answered.
func (l *Log) follow(ctx context.Context, j *journal.Journal, well func()) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	at, err := l.cursor(ctx)
	if err != nil {
		return err
	}
	well()
	if at.Seq != 0 {
		// Only to learn whether the journal still knows the position.
		enough := errors.New("enough")
		err := j.Read(ctx, at.Position, false, func([]journal.Stored) error { return enough })
		switch {
		case errors.Is(err, journal.ErrPositionGone):
			if err := l.lostPosition(ctx, j, &at); err != nil {
				return err
			}
		case err != nil && !errors.Is(err, enough):
			return err
		}
	}
	l.reach(at.Position)
	return j.Read(ctx, at.Position, true, func(facts []journal.Stored) error {
		news := facts
		for at.skipTo != nil && len(news) > 0 {
			if news[0].At.After(*at.skipTo) {
				at.skipTo = nil
				break
			}
			news = news[1:]
		}
		if err := l.store(ctx, &at, news, facts[len(facts)-1]); err != nil {
			return err
		}
		l.reach(at.Position)
		well()
		return nil
	})
}

func (l *Log) cursor(ctx context.Context) (cursor, error) {
	var c cursor
	err := l.pool.QueryRow(ctx, `select incarnation, seq, entry, event_id, last_at, skip_to from log.cursor where reader = $1`, reader).
		Scan(&c.Incarnation, &c.Seq, &c.Index, &c.ID, &c.lastAt, &c.skipTo)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return c, fmt.Errorf("read the cursor: %w", err)
	}
	return c, nil
}

// lostPosition goes back to the journal's first entry when the journal does
// not know the cursor's position: it was deleted, or replaced, or cut short.
// Entries of another journal are all new. Of the same journal (restored from a
// copy, or damaged) those are that were stamped after the last one projected.
func (l *Log) lostPosition(ctx context.Context, j *journal.Journal, at *cursor) error {
	what := fmt.Sprintf("the journal that the call log was made from is gone (it was projected up to %s of %s); going on with the first entry of %s",
		at.ID, at.Incarnation, j.Incarnation())
	to := cursor{Position: journal.Position{Incarnation: j.Incarnation()}, lastAt: at.lastAt}
	if at.Incarnation == j.Incarnation() {
		to.skipTo = at.lastAt
		what = fmt.Sprintf("the journal was cut short (entry %s of %s is missing); going on with what is later than the last entry projected", at.ID, at.Incarnation)
	}
	l.log.Error(what)
	err := l.within(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := hold(ctx, tx, at.Position); err != nil {
			return err
		}
		var b pgx.Batch
		if err := alarmsTable.put(&b, []alarmRow{{time.Now().UTC(), what}}); err != nil {
			return err
		}
		move(&b, to)
		return tx.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return fmt.Errorf("note the lost position: %w", err)
	}
	*at = to
	return nil
}

// store projects the facts and moves the cursor behind last. What Postgres
// refuses is looked for by halves and put into quarantine.
func (l *Log) store(ctx context.Context, at *cursor, facts []journal.Stored, last journal.Stored) error {
	err := l.storeOnce(ctx, at, facts, last, nil)
	if !unfit(err) {
		return err
	}
	switch len(facts) {
	case 0:
		return err
	case 1:
		l.log.Error("a fact can't be projected", "id", facts[0].ID, "kind", journal.Kind(facts[0].Fact), "err", err)
		return l.storeOnce(ctx, at, facts, last, err)
	}
	half := len(facts) / 2
	if err := l.store(ctx, at, facts[:half], facts[half-1]); err != nil {
		return err
	}
	return l.store(ctx, at, facts[half:], last)
}

// storeOnce is one transaction. With a cause all facts go to quarantine for it.
func (l *Log) storeOnce(ctx context.Context, at *cursor, facts []journal.Stored, last journal.Stored, cause error) error {
	lastAt := last.At
	if at.lastAt != nil {
		lastAt = later(lastAt, *at.lastAt)
	}
	to := cursor{Position: last.Position, lastAt: &lastAt, skipTo: at.skipTo}
	err := l.within(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := hold(ctx, tx, at.Position); err != nil {
			return err
		}
		p := &page{}
		if cause != nil {
			for _, s := range facts {
				p.isolate(s, cause)
			}
		} else {
			var err error
			if p, err = turn(ctx, tx, facts, at.lastAt); err != nil {
				return err
			}
			for _, s := range facts {
				if err := p.safely(s); err != nil {
					var bug panicked
					if errors.As(err, &bug) {
						return err
					}
					l.log.Error("a fact does not fit the call log; it is in quarantine", "id", s.ID, "kind", journal.Kind(s.Fact), "err", err)
					p.isolate(s, err)
				}
				p.lastAt = &s.At
			}
		}
		var b pgx.Batch
		if err := p.write(&b); err != nil {
			return err
		}
		move(&b, to)
		return tx.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return fmt.Errorf("project: %w", err)
	}
	*at = to
	return nil
}

// panicked is a bug met by one fact. The page may be half changed and is thrown away.
type panicked struct {
	value any
	stack []byte
}

func (p panicked) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

func (p *page) safely(s journal.Stored) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked{v, debug.Stack()}
		}
	}()
	return p.project(s)
}

// unfit tells facts that can never be stored from a Postgres that can't store
// anything just now.
func unfit(err error) bool {
	var bug panicked
	if errors.As(err, &bug) {
		return true
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	return strings.HasPrefix(pg.Code, "22") || // data exception
		strings.HasPrefix(pg.Code, "23") || // integrity constraint violation
		strings.HasPrefix(pg.Code, "P0") // raised by a trigger
}

func (l *Log) within(ctx context.Context, fn func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, projectWithin)
	defer cancel()
	return pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error { return fn(ctx, tx) })
}

// hold locks the cursor for this transaction and makes sure that it stands
// where the projection believes. No other process can project meanwhile.
func hold(ctx context.Context, tx pgx.Tx, want journal.Position) error {
	if _, err := tx.Exec(ctx, `insert into log.cursor (reader, incarnation, seq, entry, event_id) values ($1, '', 0, 0, '')
		on conflict do nothing`, reader); err != nil {
		return fmt.Errorf("make the cursor: %w", err)
	}
	var is journal.Position
	if err := tx.QueryRow(ctx, `select incarnation, seq, entry, event_id from log.cursor where reader = $1 for update`, reader).
		Scan(&is.Incarnation, &is.Seq, &is.Index, &is.ID); err != nil {
		return fmt.Errorf("lock the cursor: %w", err)
	}
	if is != want {
		return errMoved
	}
	return nil
}

func move(b *pgx.Batch, to cursor) {
	b.Queue(`update log.cursor set incarnation = $2, seq = $3, entry = $4, event_id = $5, last_at = $6, skip_to = $7, moved_at = now() where reader = $1`,
		reader, to.Incarnation, int64(to.Seq), to.Index, to.ID, to.lastAt, to.skipTo)
}
