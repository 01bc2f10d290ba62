package live

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
)

// disk stands between the loop and the journal.
type disk struct {
	mu      sync.Mutex
	state   string // "": well, "full": every append fails, "once": all but the next, "stuck": none is answered
	tried   []journal.Fact
	at      time.Time // stamp of the first
	waiting []*slow
	journal func([]journal.Entry) receipt
}

// slow is a receipt that the test settles.
type slow struct {
	done chan struct{}
	err  error
}

func (s *slow) Done() <-chan struct{} { return s.done }
func (s *slow) Err() error            { return s.err }

func (d *disk) append(entries []journal.Entry) receipt {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch d.state {
	case "full":
		for _, e := range entries {
			d.tried = append(d.tried, e.Fact)
		}
		if d.at.IsZero() {
			d.at = entries[0].At
		}
		r := &slow{make(chan struct{}), errors.New("no space left on device")}
		close(r.done)
		return r
	case "once":
		d.state = "full"
	case "stuck":
		r := &slow{done: make(chan struct{})}
		d.waiting = append(d.waiting, r)
		return r
	}
	return d.journal(entries)
}

// becomes changes the disk; what it did not answer fails or succeeds by err.
func (d *disk) becomes(state string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state = state
	for _, r := range d.waiting {
		r.err = err
		close(r.done)
	}
	d.waiting = nil
}

// said counts the lines of the log.
type said struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func (s *said) Enabled(context.Context, slog.Level) bool { return true }
func (s *said) Handle(_ context.Context, r slog.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, r.Message)
	return nil
}

func (s *said) count(part string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		if strings.Contains(l, part) {
			n++
		}
	}
	return n
}

func newCentreOn(t *testing.T, d *disk, log *said, agents ...acd.AgentID) *centre {
	c := newCentre(t, agents...)
	c.cfg.Log = slog.New(log)
	d.journal = func(entries []journal.Entry) receipt { return c.journal.Append(entries) }
	c.cfg.appendTo = d.append
	return c.opens()
}

// A disk that is full, or does not answer, costs calls nothing: they are
// answered, offered, bridged; the log says so once, and the first thing behind
// the gap is a snapshot.
func TestCallsGoOnWithoutTheJournal(t *testing.T) {
	for _, state := range []string{"full", "stuck"} {
		t.Run(state, func(t *testing.T) {
			d, log := &disk{}, &said{Handler: slog.DiscardHandler}
			c := newCentreOn(t, d, log, "anna")
			d.becomes(state, nil)
			for range 20 {
				caller, gone := c.dials("1901")
				anna := c.rings().answers()
				caller.hangsUp()
				wait(t, "the agent's BYE", anna.Done())
				wait(t, "the story's end", gone)
				c.referee.tellAndWait(acd.AgentSignedIn{Agent: "anna"})
			}
			if n := log.count("journal is late"); n > 1 {
				t.Errorf("the loop waited for the journal %d times", n)
			}
			d.becomes("", errors.New("no space left on device"))
			c.referee.tellAndWait(journal.Alarm{Text: "the disk is well"})
			c.until("the snapshot behind the gap", snapshots(2)) // one was at the start
			c.referee.tellAndWait(journal.Alarm{Text: "and still"})
			facts := c.until("what comes then", func(f journal.Fact) bool {
				a, ok := f.(journal.Alarm)
				return ok && a.Text == "and still"
			})
			if n := len(facts); journal.Kind(facts[n-2]) != "FloorSnapshot" {
				t.Errorf("more than one snapshot, or none: %v", kinds(facts))
			}
			for _, f := range d.tried {
				if _, ok := f.(journal.FloorSnapshot); ok {
					t.Error("a snapshot was made for a disk that was known to be full")
				}
			}
			if n := log.count("cannot be written"); n != 1 {
				t.Errorf("the log says %d times that the journal can't be written", n)
			}
		})
	}
}

// A loss that goes on behind the snapshot which should make up for it is one
// loss: the next snapshot tells of its begin.
func TestALossIsToldFromItsBegin(t *testing.T) {
	d, log := &disk{}, &said{Handler: slog.DiscardHandler}
	c := newCentreOn(t, d, log)
	d.becomes("full", nil)
	c.referee.tellAndWait(journal.Alarm{Text: "first lost"})
	begin := d.at
	d.becomes("once", nil)
	c.referee.tellAndWait(journal.Alarm{Text: "kept"})
	c.until("kept", is[journal.Alarm](nil))
	c.referee.tellAndWait(journal.Alarm{Text: "lost with the snapshot or behind it"})
	d.becomes("", nil)
	c.referee.tellAndWait(journal.Alarm{Text: "kept as well"})
	facts := c.until("a snapshot", snapshots(2))
	if s := facts[len(facts)-1].(journal.FloorSnapshot); !s.LostFrom.Equal(begin) {
		t.Errorf("lost from %v, the snapshot says %v", begin, s.LostFrom)
	}
}

// The snapshot behind a gap does not wait for the next call.
func TestASnapshotFollowsAGapByItself(t *testing.T) {
	d, log := &disk{}, &said{Handler: slog.DiscardHandler}
	c := newCentreOn(t, d, log)
	d.becomes("full", nil)
	c.referee.tellAndWait(journal.Alarm{Text: "lost"})
	d.becomes("", nil)
	c.referee.tellAndWait(journal.Alarm{Text: "kept"})
	facts := c.until("a snapshot", snapshots(2))
	inOrder(t, facts, "FloorSnapshot", "Alarm", "FloorSnapshot")
	if s := facts[len(facts)-1].(journal.FloorSnapshot); s.LostFrom.IsZero() {
		t.Error("the snapshot does not say that facts are missing")
	}
	if s := facts[slices.Index(kinds(facts), "FloorSnapshot")].(journal.FloorSnapshot); !s.LostFrom.IsZero() {
		t.Error("the first snapshot says that facts are missing")
	}
}
