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
	// appendTo is Journal.Append; tests let it fail.
	appendTo func([]journal.Entry) receipt
}

// receipt tells what became of an append.
type receipt interface {
	Done() <-chan struct{}
	Err() error
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

	inside  guests // stories and rings under way
	private privateCalls

	book book // what is open; the loop's own
}

// snapshotDue asks the loop for a snapshot; it is no fact and not written.
type snapshotDue struct{}

// atOnce are facts with one stamp, told together.
type atOnce []journal.Fact

// told is one fact on its way to the loop.
type told struct {
	fact   journal.Fact
	seen   chan struct{} // nil, or closed once the fact is appended and what follows from it done
	stands chan bool     // nil, or hears of a CallConnected whether the floor took it; size 1
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
		private: privateCalls{of: map[acd.AgentID]int{}},
		book:    newBook(),
	}
	r.inside.left.L = &r.inside.mu
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.cfg.watch == (watch{}) {
		r.cfg.watch = usualWatch
	}
	if r.cfg.appendTo == nil {
		r.cfg.appendTo = func(entries []journal.Entry) receipt { return cfg.Journal.Append(entries) }
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
	for _, d := range past.book.openDialogs() {
		r.book.dialogs[d.Dialog] = d // open until its phone has had BYE, also if we die before that
	}
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

// connected tells that the bridge of an offer stands and returns whether the
// floor takes it: the offer may have ended in the same moment.
func (r *Referee) connected(offer acd.OfferID) bool {
	t := told{fact: acd.CallConnected{Offer: offer}, stands: make(chan bool, 1)}
	select {
	case r.inbox <- t:
	case <-r.stopped:
		return false
	}
	select {
	case stands := <-t.stands:
		return stands
	case <-r.stopped:
		return false
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
		case <-l.late():
			l.settleReceipts()
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

	entries   []journal.Entry // of the batch being made
	todo      []acd.Command   // to be performed when the batch is safe
	withdrawn []acd.OfferID   // by this batch
	seen      []chan struct{}

	unsafe     []pending // appends not yet acknowledged, oldest first; more than one only while the journal is late
	lost       bool      // appends fail
	again      bool      // and now no longer: a snapshot is due
	lostFrom   time.Time // the first entry lost since; zero: nothing is missing
	snapshotAt time.Time
}

// pending is an append under way.
type pending struct {
	receipt
	from  time.Time // stamp of its first entry
	heals bool      // it holds the snapshot that stands for what was lost
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
	stands := false
	switch fact := t.fact.(type) {
	case snapshotDue:
		l.snapshot(at)
	case atOnce:
		for _, f := range fact {
			l.step(at, f)
		}
	default:
		stands = l.step(at, fact)
	}
	if t.stands != nil {
		t.stands <- stands
	}
	if t.seen != nil {
		l.seen = append(l.seen, t.seen)
	}
}

// step notes a fact and what the floor decides upon it. answered says that an
// offer's agent and caller are connected by it.
func (l *looper) step(at time.Time, f journal.Fact) (answered bool) {
	l.note(at, f)
	ev, ok := f.(acd.Event)
	if !ok {
		return false
	}
	for _, cmd := range l.floor.Step(at, ev) {
		l.note(at, cmd)
		l.todo = append(l.todo, cmd)
		switch cmd := cmd.(type) {
		case acd.AgentChanged:
			l.mu.Lock()
			l.work[cmd.Agent] = cmd.Work
			l.mu.Unlock()
		case acd.OfferEnded:
			answered = answered || cmd.Result == acd.OfferAnswered
		}
	}
	return answered
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
	l.book.read(at, f)
}

// commit appends the batch and performs its decisions. Stopping a phone never
// waits for the disk.
func (l *looper) commit() {
	now, heals := l.clock.now(), l.again
	if heals || len(l.entries) > 0 && !now.Before(l.snapshotAt) {
		l.snapshotAt = now.Add(snapshotEvery)
		l.snapshot(now)
		l.again = false
	}
	if len(l.entries) > 0 {
		receipt := l.cfg.appendTo(l.entries)
		for _, cmd := range l.todo {
			if w, ok := cmd.(acd.Withdraw); ok {
				l.withdraw(w)
			}
		}
		l.await(receipt, heals)
	}
	for _, cmd := range l.todo {
		l.perform(cmd)
	}
	for _, c := range l.seen {
		close(c)
	}
	// The journal keeps the entries until it has written them: a fresh slice.
	l.entries = nil
	l.todo = l.todo[:0]
	l.withdrawn = l.withdrawn[:0]
	l.seen = l.seen[:0]
}

// await waits for the batch to be safe, but not long, and not at all while
// earlier ones are known to be late or lost: calls go on.
func (l *looper) await(r receipt, heals bool) {
	l.unsafe = append(l.unsafe, pending{r, l.entries[0].At, heals})
	if len(l.unsafe) > 1 || l.lost {
		l.settleReceipts()
		return
	}
	patience := time.NewTimer(appendPatience)
	defer patience.Stop()
	select {
	case <-r.Done():
		l.settleReceipts()
	case <-patience.C:
		l.log.Error("journal is late: calls go on, the record may have a gap", "waited", appendPatience)
	}
}

// late is done when the oldest append that is late is; nil if none is.
func (l *looper) late() <-chan struct{} {
	if len(l.unsafe) == 0 {
		return nil
	}
	return l.unsafe[0].Done()
}

// settleReceipts looks at the appends that are done. A snapshot is due with the
// first one that is kept after a loss: sooner it would be lost as well.
func (l *looper) settleReceipts() {
	for len(l.unsafe) > 0 {
		p := l.unsafe[0]
		select {
		case <-p.Done():
		default:
			return
		}
		l.unsafe = l.unsafe[1:]
		if err := p.Err(); err != nil {
			if !l.lost {
				l.log.Error("journal cannot be written: calls go on, the record has a gap", "error", err)
			}
			if l.lostFrom.IsZero() {
				l.lostFrom = p.from
			}
			l.lost, l.again = true, false
			continue
		}
		if p.heals {
			l.lostFrom = time.Time{}
		} else if l.lost {
			l.again = true
		}
		l.lost = false
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
	s := l.book.snapshot(floor)
	if l.again {
		s.LostFrom = l.lostFrom
	}
	l.note(now, s)
}

// Drain is closing time: callers in the flow and in queues hear that the
// service closes, talks go on until ctx ends, then everybody gets BYE. It
// returns when no story is left.
func (r *Referee) Drain(ctx context.Context) {
	r.close(errClosing)
	gone := make(chan struct{})
	go func() { // ends when the last story does, which the cut below bounds
		r.inside.wait()
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
	r.inside.lock()
	close(r.quit)
	<-r.stopped
}

var errClosing = errors.New("the service closes")
