package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// answerWithin is how long the server may take for one acknowledgement
	// before it counts as broken. Disks do stall for seconds.
	answerWithin = 30 * time.Second
	// answerAfterComplaint is the same once the server has logged a warning: it
	// does not answer a write that failed, it only logs it.
	answerAfterComplaint = time.Second
	// restFirst is how long nothing is tried after a failure; it doubles with
	// each further one up to restMost.
	restFirst = 100 * time.Millisecond
	restMost  = 2 * time.Second
)

// appender is the state of the goroutine that owns the way to the disk.
//
// Batches are published one behind the other without waiting for
// acknowledgements. Each says which sequence must be the last one before it, so
// that after a failure nothing behind it gets in and the loss is one run.
type appender struct {
	j      *Journal
	st     *store // nil while the server can't be started
	flying []*batch
	sent   uint64 // sequence of the last batch published

	overdue time.Time // when no acknowledgement until then means failure; zero: none is due

	trouble   error         // why the last batches were lost; nil when all is well
	rest      time.Duration // after the next failure
	restUntil time.Time
	lost      int  // entries in this trouble
	gapTried  bool // at Close the last gap was sent, or can't be
}

// appender runs until the journal is closed and nothing waits any more.
func (j *Journal) appender() {
	defer close(j.done)
	st := j.store.Load()
	a := &appender{j: j, st: st, sent: st.last, rest: restFirst}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if closed := a.publish(); closed && len(a.flying) == 0 {
			if a.st != nil {
				j.store.Store(nil)
				a.st.close()
			}
			return
		}
		var acks chan *nats.Msg
		var complaint chan struct{}
		switch {
		case len(a.flying) > 0:
			acks, complaint = a.st.acks, a.st.notes.complaint
			timer.Reset(time.Until(a.overdue))
		case a.st == nil:
			timer.Reset(time.Until(a.restUntil))
		default:
			timer.Stop()
		}
		select {
		case <-j.wake:
		case m := <-acks:
			a.answered(m)
		case <-complaint:
			a.overdue = time.Now().Add(answerAfterComplaint)
		case <-timer.C:
			if a.st == nil {
				a.reopen()
				break
			}
			cause := errors.New("journal: no acknowledgement")
			if last := a.st.notes.last.Load(); last != nil {
				cause = fmt.Errorf("%w: %s", cause, *last)
			}
			a.fail(cause)
		}
	}
}

// publish sends what waits, or gives it up while the store is broken. It says
// whether the journal is closed and nothing is left to send.
func (a *appender) publish() (closed bool) {
	j := a.j
	for {
		resting := a.st == nil || a.trouble != nil && time.Now().Before(a.restUntil)
		probing := a.trouble != nil && len(a.flying) > 0
		j.mu.Lock()
		if j.closed && len(j.queue) == 0 && j.carry.entries > 0 && a.st != nil && !a.gapTried && !probing {
			// Nothing comes behind this loss any more: record it by itself.
			a.gapTried, resting = true, false
			j.queue = append(j.queue, &batch{receipt: &Receipt{done: make(chan struct{})}, first: j.carry.to, last: j.carry.to, before: j.carry})
			j.carry = loss{}
		}
		if len(j.queue) == 0 || !resting && probing {
			// While in trouble one batch at a time has to prove that writing works again.
			done := j.closed && len(j.queue) == 0
			j.mu.Unlock()
			return done
		}
		b := j.queue[0]
		j.queue[0] = nil
		j.queue = j.queue[1:]
		if !resting {
			j.flying++
		}
		j.mu.Unlock()
		if resting {
			a.lose(b)
			continue
		}
		if err := a.send(b); err != nil {
			a.fail(fmt.Errorf("journal: %w", err))
		}
	}
}

// send publishes one batch: a line that names it, then one line for each entry.
func (a *appender) send(b *batch) error {
	j := a.j
	j.batches++
	msg := make([]byte, 0, len(b.lines)+256)
	msg = append(msg, batchPrefix...)
	msg = append(msg, j.run...)
	msg = append(msg, '-')
	msg = strconv.AppendUint(msg, j.batches, 36)
	msg = append(msg, "\"}\n"...)
	if b.before.entries > 0 {
		gap, err := appendEntry(msg, Entry{At: b.first, Fact: Gap{Lost: b.before.entries, From: b.before.from.UTC()}})
		if err == nil { // a stamp that JSON can't hold must not cost this batch too
			msg = append(gap, '\n')
		}
	}
	msg = append(msg, b.lines...)
	b.seq = a.sent + 1
	a.sent = b.seq
	if len(a.flying) == 0 {
		a.overdue = time.Now().Add(answerWithin)
		select {
		case <-a.st.notes.complaint: // an old one, not about this batch
		default:
		}
	}
	a.flying = append(a.flying, b)
	subject := factsSubject
	if b.snapshot {
		subject = snapshotSubject
	}
	return a.st.write.PublishMsg(&nats.Msg{
		Subject: subject,
		Reply:   a.st.inbox + "." + strconv.FormatUint(b.seq, 10),
		Header:  nats.Header{"Nats-Expected-Last-Sequence": []string{strconv.FormatUint(b.seq-1, 10)}},
		Data:    msg,
	})
}

// answered takes one acknowledgement, or refusal, of the server.
func (a *appender) answered(m *nats.Msg) {
	seq, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 10, 64)
	if err != nil || len(a.flying) == 0 || seq < a.flying[0].seq || seq > a.sent {
		return
	}
	var ack struct {
		Seq   uint64 `json:"seq"`
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	err = json.Unmarshal(m.Data, &ack)
	switch {
	case m.Header.Get("Status") != "":
		err = errors.New("journal: the store is not available")
	case err != nil:
		err = fmt.Errorf("journal: acknowledgement: %w", err)
	case ack.Error != nil:
		err = fmt.Errorf("journal: %s", ack.Error.Description)
	case ack.Seq != seq:
		err = fmt.Errorf("journal: batch %d was stored as %d", seq, ack.Seq)
	}
	if err != nil {
		a.fail(err)
		return
	}
	a.flying[seq-a.flying[0].seq].answered = true
	n := 0
	for n < len(a.flying) && a.flying[n].answered {
		n++
	}
	if n == 0 {
		return
	}
	a.kept(n)
	if a.trouble != nil {
		a.j.log.Info("the journal is written again", "lost", a.lost)
		a.trouble, a.lost, a.rest = nil, 0, restFirst
		a.j.troubled.Store(false)
	}
}

// kept settles the first n batches under way.
func (a *appender) kept(n int) {
	j := a.j
	j.mu.Lock()
	j.flying -= n
	j.last = a.flying[n-1].seq
	j.mu.Unlock()
	for i, b := range a.flying[:n] {
		b.receipt.settle(nil)
		a.flying[i] = nil
	}
	a.flying = a.flying[n:]
	a.overdue = time.Now().Add(answerWithin)
	j.announce()
}

// lose gives a batch up and hands the loss to the batch behind it.
func (a *appender) lose(b *batch) {
	j := a.j
	l := b.before
	if b.entries > 0 {
		l.add(loss{b.entries, b.first, b.last})
	}
	j.mu.Lock()
	if len(j.queue) > 0 {
		l.add(j.queue[0].before)
		j.queue[0].before = l
	} else {
		l.add(j.carry)
		j.carry = l
	}
	j.mu.Unlock()
	j.lost.Add(uint64(b.entries))
	a.lost += b.entries
	b.receipt.settle(a.trouble)
}

// fail restarts the store, which after one failed write refuses all others.
// What then proves to be stored counts as kept, the rest of what was under way
// as lost.
func (a *appender) fail(cause error) {
	j := a.j
	if a.trouble == nil {
		j.log.Error("the journal can't be written; calls go on without it", "cause", cause)
		j.troubled.Store(true)
	}
	a.trouble = cause
	j.store.Store(nil)
	a.st.close()
	a.st = nil
	a.reopen()
	if a.st != nil {
		n := 0
		for n < len(a.flying) && a.flying[n].seq <= a.st.last {
			n++
		}
		if n > 0 {
			a.kept(n)
		}
	}
	flying := a.flying
	a.flying = nil
	j.mu.Lock()
	j.flying -= len(flying)
	j.mu.Unlock()
	for i := len(flying) - 1; i >= 0; i-- { // backwards, so that the run of losses keeps its order
		a.lose(flying[i])
	}
}

// reopen starts the server again, for the readers at once and for writing after
// a rest.
func (a *appender) reopen() {
	j := a.j
	a.restUntil = time.Now().Add(a.rest)
	a.rest = min(2*a.rest, restMost)
	st, err := j.openStore(context.Background(), false) // bounded by openWithin
	if err == nil && st.incarnation != j.incarnation {
		st.close()
		err = errors.New("another journal is in the folder")
	}
	if err != nil {
		j.log.Debug("the journal can't be reopened", "err", err)
		return
	}
	a.st = st
	a.sent = st.last
	j.mu.Lock()
	if st.last < j.last {
		j.log.Error("the journal lost acknowledged entries", "batches", j.last-st.last)
		j.last = st.last
	}
	j.mu.Unlock()
	j.store.Store(st)
	j.announce()
}
