package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
	"hotline/ivr"
	"hotline/sip/media"
)

const (
	// inboxSize is how many facts may wait for the loop. A teller blocks when
	// it is full: the loop waits for nothing longer than appendPatience, so
	// that means thousands of facts within one disk write.
	inboxSize = 4096
	// batchSize bounds what one append holds.
	batchSize = 256
	// appendPatience is how long decisions wait to be on disk. Calls go on
	// without that after it.
	appendPatience = 50 * time.Millisecond
	// lastPatience is how long the end of the service waits for the journal.
	lastPatience   = 5 * time.Second
	heartbeatEvery = 5 * time.Second
	snapshotEvery  = time.Hour
)

// Config is what the referee is built from.
type Config struct {
	Floor   acd.Config
	Agents  []AgentLine
	Numbers map[string]ivr.Flow // by the number dialled
	Record  map[acd.QueueID]bool

	Phones  Phones
	Journal *journal.Journal
	Prompts *ivr.Prompts
	Music   *media.Clip
	// StartTape opens a call's recording.
	StartTape func(call acd.CallID, at time.Time, law media.Codec) (Tape, error)
	// RepairTape makes a recording valid that a crash left open, and says how
	// long it is.
	RepairTape func(file string) (time.Duration, error)

	Version string
	Log     *slog.Logger

	watch watch // tests shorten it; zero: usualWatch
}

// AgentLine is how an agent is reached and called.
type AgentLine struct {
	ID        acd.AgentID
	Name      string
	Extension string
	Language  ivr.Language // in which the agent's own prompts are spoken
	Static    bool         // the phone does not register and counts as reachable
	Start     bool         // signed in when the service starts
}

// Referee is the floor with the wall clock.
type Referee struct {
	cfg   Config
	log   *slog.Logger
	clock clock
	lines map[acd.AgentID]AgentLine

	inbox   chan told
	quit    chan struct{} // closed by Close: the loop empties the inbox and ends
	stopped chan struct{} // closed by the loop when it has ended

	closing context.Context // done at closing time: flows and waiters go home
	close   context.CancelCauseFunc
	cut     context.Context // done when talks must end, too
	cutNow  context.CancelCauseFunc

	mu    sync.Mutex // guards what follows: a leaf, held for look-ups only
	calls map[acd.CallID]*call
	rings map[acd.OfferID]*ring
	work  map[acd.AgentID]acd.Work
	busy  sync.WaitGroup // stories and rings under way

	book book // what is open; the loop's own
}

// snapshotDue asks the loop for a snapshot; it is no fact and not written.
type snapshotDue struct{}

// told is one fact on its way to the loop. seen, if not nil, is closed once the
// fact is appended.
type told struct {
	fact journal.Fact
	seen chan struct{}
}

// New makes a referee and starts its loop. It first settles what the run before
// left open (see settle), so that nothing new is mixed with it.
func New(ctx context.Context, cfg Config) (*Referee, error) {
	r := &Referee{
		cfg:     cfg,
		log:     cfg.Log,
		lines:   map[acd.AgentID]AgentLine{},
		inbox:   make(chan told, inboxSize),
		quit:    make(chan struct{}),
		stopped: make(chan struct{}),
		calls:   map[acd.CallID]*call{},
		rings:   map[acd.OfferID]*ring{},
		work:    map[acd.AgentID]acd.Work{},
		book:    newBook(),
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.cfg.watch == (watch{}) {
		r.cfg.watch = usualWatch
	}
	for _, a := range cfg.Agents {
		r.lines[a.ID] = a
	}
	r.closing, r.close = context.WithCancelCause(context.Background())
	r.cut, r.cutNow = context.WithCancelCause(context.Background())

	past, err := remember(ctx, cfg.Journal)
	if err != nil {
		return nil, fmt.Errorf("read what the run before left: %w", err)
	}
	r.clock = startClock(past.lastSeen)
	go r.loop(acd.New()) // ends when quit is closed and the inbox is empty
	r.settle(ctx, past)
	return r, nil
}

// Tell hands a fact to the loop. It returns when the loop will see it, which is
// before anything told later by the same goroutine.
func (r *Referee) Tell(f journal.Fact) {
	select {
	case r.inbox <- told{fact: f}:
	case <-r.stopped:
	}
}

// tellAndWait returns when the fact is appended (or the journal is late).
func (r *Referee) tellAndWait(f journal.Fact) {
	t := told{fact: f, seen: make(chan struct{})}
	select {
	case r.inbox <- t:
	case <-r.stopped:
		return
	}
	select {
	case <-t.seen:
	case <-r.stopped:
	}
}

// loop owns the floor, the book and the clock's last stamp.
func (r *Referee) loop(floor *acd.Floor) {
	defer close(r.stopped)
	l := &looper{Referee: r, floor: floor, snapshotAt: r.clock.now().Add(snapshotEvery)}
	l.timer = time.NewTimer(time.Hour)
	defer l.timer.Stop()
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()

	for {
		l.setTimer()
		select {
		case t := <-r.inbox:
			l.take(t)
			l.takeWaiting()
		case <-l.timer.C:
			l.take(told{fact: acd.Tick{}})
		case <-heartbeat.C:
			if !l.book.somethingOpen() {
				continue
			}
			l.take(told{fact: journal.Heartbeat{}})
		case <-r.quit:
			for len(r.inbox) > 0 {
				l.takeWaiting()
				l.commit()
			}
			l.take(told{fact: journal.ServiceStopped{}})
			l.commit()
			l.awaitLast()
			return
		}
		l.commit()
	}
}

// looper is what only the loop's goroutine touches.
type looper struct {
	*Referee
	floor *acd.Floor
	timer *time.Timer

	entries []journal.Entry // of the batch being made
	todo    []acd.Command   // to be performed when the batch is safe
	seen    []chan struct{}

	unsafe     []*journal.Receipt // appends not yet acknowledged, oldest first; more than one only while the journal is late
	lost       bool               // an append failed: a snapshot is due
	snapshotAt time.Time
}

func (l *looper) setTimer() {
	wait := time.Hour
	if at, ok := l.floor.Deadline(); ok {
		wait = max(0, at.Sub(l.clock.now()))
	}
	l.timer.Reset(wait)
}

// take stamps a fact and, if it is the floor's business, steps the floor.
func (l *looper) take(t told) {
	at := l.clock.now()
	if _, ok := t.fact.(snapshotDue); ok {
		l.snapshot(at)
		l.seen = append(l.seen, t.seen)
		return
	}
	l.note(at, t.fact)
	if ev, ok := t.fact.(acd.Event); ok {
		for _, cmd := range l.floor.Step(at, ev) {
			l.note(at, cmd)
			l.todo = append(l.todo, cmd)
			if a, ok := cmd.(acd.AgentChanged); ok {
				l.mu.Lock()
				l.work[a.Agent] = a.Work
				l.mu.Unlock()
			}
		}
	}
	if t.seen != nil {
		l.seen = append(l.seen, t.seen)
	}
}

func (l *looper) takeWaiting() {
	for len(l.entries) < batchSize {
		select {
		case t := <-l.inbox:
			l.take(t)
		default:
			return
		}
	}
}

func (l *looper) note(at time.Time, f journal.Fact) {
	l.entries = append(l.entries, journal.Entry{At: at, Fact: f})
	l.book.read(f)
}

// commit appends the batch and performs its decisions. Stopping a phone never
// waits for the disk.
func (l *looper) commit() {
	if len(l.entries) == 0 {
		return
	}
	now := l.clock.now()
	if (l.lost && len(l.unsafe) == 0) || !now.Before(l.snapshotAt) {
		l.lost = false
		l.snapshotAt = now.Add(snapshotEvery)
		l.snapshot(now)
	}
	receipt := l.cfg.Journal.Append(l.entries)
	for _, cmd := range l.todo {
		if w, ok := cmd.(acd.Withdraw); ok {
			l.withdraw(w)
		}
	}
	l.await(receipt)
	for _, cmd := range l.todo {
		l.perform(cmd)
	}
	for _, c := range l.seen {
		close(c)
	}
	// The journal keeps the entries until it has written them: a fresh slice.
	l.entries = nil
	l.todo = l.todo[:0]
	l.seen = l.seen[:0]
}

// await waits for the batch to be safe, but not long, and not at all while an
// earlier one is known to be late: calls go on.
func (l *looper) await(receipt *journal.Receipt) {
	l.unsafe = append(l.unsafe, receipt)
	if len(l.unsafe) > 1 {
		l.settleReceipts()
		return
	}
	patience := time.NewTimer(appendPatience)
	defer patience.Stop()
	select {
	case <-receipt.Done():
		l.settleReceipts()
	case <-patience.C:
		l.log.Error("journal is late: calls go on, the record may have a gap", "waited", appendPatience)
	}
}

// settleReceipts looks at the appends that are done.
func (l *looper) settleReceipts() {
	for len(l.unsafe) > 0 {
		select {
		case <-l.unsafe[0].Done():
		default:
			return
		}
		if err := l.unsafe[0].Err(); err != nil {
			if !l.lost {
				l.log.Error("journal cannot be written: calls go on, the record has a gap", "error", err)
			}
			l.lost = true
		}
		l.unsafe = l.unsafe[1:]
	}
}

// awaitLast gives the journal a last, bounded time to finish.
func (l *looper) awaitLast() {
	patience := time.NewTimer(lastPatience)
	defer patience.Stop()
	for _, receipt := range l.unsafe {
		select {
		case <-receipt.Done():
		case <-patience.C:
			l.log.Error("journal did not take the last facts", "waited", lastPatience)
			return
		}
	}
	l.settleReceipts()
}

// snapshot adds the floor and all that is open to the batch, so that a reader
// may begin here.
func (l *looper) snapshot(now time.Time) {
	floor, err := l.floor.Snapshot()
	if err != nil {
		l.log.Error("snapshot of the floor", "error", err)
		return
	}
	l.note(now, l.book.snapshot(floor))
}

// Drain is closing time: callers in the flow and in queues hear that the
// service closes, talks go on until ctx ends, then everybody gets BYE. It
// returns when no story is left.
func (r *Referee) Drain(ctx context.Context) {
	r.close(errClosing)
	gone := make(chan struct{})
	go func() { // ends when the last story does, which the cut below bounds
		r.busy.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return
	case <-ctx.Done():
		r.cutNow(errClosing)
	}
	<-gone
}

// Close writes the last facts and ends the loop. Drain first.
func (r *Referee) Close() {
	r.close(errClosing)
	r.cutNow(errClosing)
	r.busy.Wait()
	close(r.quit)
	<-r.stopped
}

var errClosing = errors.New("the service closes")
