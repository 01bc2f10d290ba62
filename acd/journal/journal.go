// Package journal is the memory of the call centre: an append-only record of
// stamped facts, from which the call log, the live picture and crash recovery
// are made. It decides nothing and drops nothing silently: what it could not
// keep is itself recorded, as a Gap.
//
// The record is a JetStream stream of a NATS server that runs inside the
// process, listens nowhere and keeps its files in one folder. Entries that are
// appended together are one message, so all of them are kept or none.
//
// Goroutines: the appender, started by Open and ended by Close, owns the
// server, its connections and everything that is under way to the disk.
package journal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Options says where the journal lives and how hard it holds on to what it is told.
type Options struct {
	Dir    string        // the journal's own folder; made if missing, mode 0700
	Sync   SyncPolicy    // when writes reach the disk itself; the zero value is Always
	MaxAge time.Duration // older entries are released, projected or not; 0 keeps all
	Log    *slog.Logger  // nil: discard
}

// SyncPolicy is the longest time for which an acknowledged entry may be in the
// operating system's memory only. A crash of the process never loses one; a
// power failure loses at most this much.
type SyncPolicy time.Duration

// Always syncs every batch before it is acknowledged.
const Always SyncPolicy = 0

// maxWaiting is how many batches may wait for the disk. At a busy centre's few
// hundred batches a second that is seconds of a disk that stands still.
const maxWaiting = 1024

// maxBatch is the largest batch in bytes: room for the snapshot of a floor with
// 100,000 callers. NATS advises against more than 8 MiB, for networks' sake.
const maxBatch = 64 << 20

var (
	// ErrClosed is what a closed journal answers.
	ErrClosed = errors.New("journal: closed")
	// ErrPositionGone says that a position isn't in this journal any more: it
	// was deleted, replaced, truncated, or released because of its age.
	ErrPositionGone = errors.New("journal: position is not in this journal")
	// ErrTooFarBehind is the receipt of a batch that came while 1024 others
	// were waiting for the disk.
	ErrTooFarBehind = errors.New("journal: too many batches wait for the disk")
)

// Journal is an open journal. Its methods may be called from any goroutine.
type Journal struct {
	opts Options
	log  *slog.Logger
	lock *os.File // held while the journal is open, so that no other process opens it
	run  string   // random, of this Open; part of every batch's id

	incarnation string

	mu      sync.Mutex
	queue   []*batch // waits to be published; with those under way at most maxWaiting
	flying  int      // published and not acknowledged
	carry   loss     // lost after the last batch of the queue
	last    uint64   // sequence of the last acknowledged batch
	changed chan struct{}
	closed  bool

	lost     atomic.Uint64
	troubled atomic.Bool // an outage is being reported; the server's own complaints go to debug
	store    atomic.Pointer[store]
	wake     chan struct{} // 1: the queue is not empty, or closed was set
	done     chan struct{} // closed when the appender has ended
	batches  uint64        // appender only: counts batches for their ids
}

// Open opens the journal of a folder or makes a new one. A journal that a crash
// left half written opens at its last whole batch. It fails when another
// process has the folder open.
func Open(ctx context.Context, opts Options) (*Journal, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	opts.Dir = dir
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	lock, err := lockFolder(filepath.Join(opts.Dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("open journal in %s: %w", opts.Dir, err)
	}
	j := &Journal{
		opts:    opts,
		log:     opts.Log,
		lock:    lock,
		run:     randomID(),
		changed: make(chan struct{}),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	st, err := j.openStore(ctx, true)
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("open journal in %s: %w", opts.Dir, err)
	}
	j.incarnation = st.incarnation
	j.last = st.last
	j.store.Store(st)
	go j.appender() // ends after Close, when nothing waits any more
	return j, nil
}

// Close writes what waits, ends the appender and closes the files. Receipts
// given out before are all done when it returns.
func (j *Journal) Close() error {
	j.mu.Lock()
	already := j.closed
	j.closed = true
	j.mu.Unlock()
	j.signal()
	<-j.done
	if already {
		return nil
	}
	j.announce()
	return j.lock.Close()
}

// Incarnation names this journal's life. It changes when the journal was
// deleted or had to be made anew.
func (j *Journal) Incarnation() string { return j.incarnation }

// Lost counts the entries since Open that could not be kept.
func (j *Journal) Lost() uint64 { return j.lost.Load() }

// Position is the place of one entry in the journal.
type Position struct {
	Incarnation string // of the journal
	Seq         uint64 // of the batch, from 1
	Index       int    // of the entry in its batch, from 0
	ID          string // the entry's own, never used twice, also not in another journal
}

// Stored is an entry with its place.
type Stored struct {
	Position
	Entry
}

// announce wakes every reader that waits for news.
func (j *Journal) announce() {
	j.mu.Lock()
	close(j.changed)
	j.changed = make(chan struct{})
	j.mu.Unlock()
}

// news returns a channel that closes at the next news, and the last
// acknowledged sequence as of now.
func (j *Journal) news() (<-chan struct{}, uint64, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.changed, j.last, j.closed
}

func (j *Journal) signal() {
	select {
	case j.wake <- struct{}{}:
	default: // the appender is already due to look
	}
}

func randomID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}
