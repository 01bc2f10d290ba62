package journal

import (
	"fmt"
	"time"
)

// Receipt tells what became of one Append.
type Receipt struct {
	done chan struct{}
	err  error
}

// Done is closed when the entries are kept or lost.
func (r *Receipt) Done() <-chan struct{} { return r.done }

// Err is nil while the receipt is not done and when the entries are kept.
func (r *Receipt) Err() error {
	select {
	case <-r.done:
		return r.err
	default:
		return nil
	}
}

func (r *Receipt) settle(err error) {
	r.err = err
	close(r.done)
}

// batch is what one Append brought, on its way to the disk.
type batch struct {
	receipt     *Receipt
	lines       []byte // encoded entries, each with its line end
	entries     int
	snapshot    bool
	first, last time.Time // stamps of its entries
	before      loss      // what was lost in front of it

	seq      uint64 // given when it is published
	answered bool
}

// loss is a run of entries that could not be kept.
type loss struct {
	entries int
	from    time.Time // stamp of the first
	to      time.Time // stamp of the last
}

func (l *loss) add(m loss) {
	if m.entries == 0 {
		return
	}
	if l.entries == 0 {
		l.from = m.from
	}
	l.entries += m.entries
	l.to = m.to
}

// Append appends the entries, all or none, after those of every earlier call.
// It never waits for the disk: the receipt tells. The entries are encoded
// before it returns, so the caller may reuse what they point to. When the entries
// can't be kept (more than 1024 batches wait, the disk is full, a fact can't be
// encoded) the receipt has an error, and a Gap that counts them is written in
// front of the next batch that is kept.
func (j *Journal) Append(entries []Entry) *Receipt {
	r := &Receipt{done: make(chan struct{})}
	if len(entries) == 0 {
		r.settle(nil)
		return r
	}
	b := &batch{receipt: r, entries: len(entries), first: entries[0].At, last: entries[len(entries)-1].At}
	var err error
	b.lines = make([]byte, 0, 160*len(entries))
	for _, e := range entries {
		var lines []byte
		if lines, err = appendEntry(b.lines, e); err != nil {
			break
		}
		b.lines = append(lines, '\n')
		if _, ok := e.Fact.(FloorSnapshot); ok {
			b.snapshot = true
		}
	}
	if err == nil && len(b.lines) > maxBatch-4096 {
		err = fmt.Errorf("journal: a batch of %d bytes is too large", len(b.lines))
	}

	j.mu.Lock()
	if err == nil && len(j.queue)+j.flying >= maxWaiting {
		err = ErrTooFarBehind
	}
	if j.closed {
		err = ErrClosed
	}
	if err == nil {
		b.before, j.carry = j.carry, loss{}
		j.queue = append(j.queue, b)
	} else if !j.closed {
		j.carry.add(loss{b.entries, b.first, b.last})
	}
	j.mu.Unlock()
	if err != nil {
		j.lost.Add(uint64(b.entries))
		r.settle(err)
		return r
	}
	j.signal()
	return r
}
