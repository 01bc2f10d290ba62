package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	fetchBatches  = 256     // batches in one request, which for its length stands in front of writes
	fetchBytes    = 1 << 20 // and about this many bytes
	fetchWithin   = 30 * time.Second
	handOver      = 1000 // entries in one call of a reader's function
	batchPrefix   = `{"batch":"`
	directGet     = "$JS.API.DIRECT.GET." + streamName
	statusEnd     = "204"
	statusMissing = "404"
)

// Read calls fn with the entries behind after, in order and at most 1000 at a
// time; the zero Position reads from the first entry that is kept. With follow
// it goes on with new entries until ctx is done and returns ctx's cause;
// without, it returns nil when it has reached the end. It returns
// ErrPositionGone when after isn't in this journal any more, ErrClosed when the
// journal is closed, and what fn returns if that isn't nil.
//
// Only acknowledged entries are read. A damaged entry comes with an Undecodable as its fact, and so does a whole
// missing batch.
func (j *Journal) Read(ctx context.Context, after Position, follow bool, fn func([]Stored) error) error {
	next := uint64(0) // sequence to go on with; 0: the first kept
	if after.Seq != 0 {
		behind, err := j.behind(ctx, after)
		if err != nil {
			return err
		}
		if err := hand(behind, fn); err != nil {
			return err
		}
		next = after.Seq + 1
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		news, last, closed := j.news()
		if next > last+1 {
			return ErrPositionGone // the store lost what had been read
		}
		if next == last+1 || last == 0 {
			switch {
			case closed:
				return ErrClosed
			case !follow:
				return nil
			}
			select {
			case <-news:
			case <-ctx.Done():
			}
			continue
		}
		if next == 0 {
			first, err := j.firstSeq(ctx)
			if err != nil {
				return err
			}
			next = first
			continue
		}
		got, err := j.fetch(ctx, request{Seq: next, Batch: int(min(fetchBatches, last-next+1)), MaxBytes: fetchBytes})
		if err != nil {
			return err
		}
		var stored []Stored
		if len(got) == 0 || got[0].seq != next {
			if stored, err = j.missing(ctx, next, got); err != nil {
				return err
			}
			next++
			if len(got) > 0 {
				next = got[0].seq
			}
		}
		for _, m := range got {
			if m.seq != next {
				break // a hole: the next fetch starts at it
			}
			stored = append(stored, j.parse(m)...)
			next++
		}
		if err := hand(stored, fn); err != nil {
			return err
		}
	}
}

// hand gives a reader its entries in calls of bounded size.
func hand(stored []Stored, fn func([]Stored) error) error {
	for len(stored) > 0 {
		n := min(len(stored), handOver)
		if err := fn(stored[:n:n]); err != nil {
			return err
		}
		stored = stored[n:]
	}
	return nil
}

// behind returns the entries of a position's own batch that come behind it,
// once it is sure that the position is in this journal.
func (j *Journal) behind(ctx context.Context, after Position) ([]Stored, error) {
	_, last, _ := j.news()
	if after.Incarnation != j.incarnation || after.Seq > last {
		return nil, ErrPositionGone
	}
	got, err := j.fetch(ctx, request{Seq: after.Seq})
	if err != nil {
		return nil, err
	}
	if len(got) == 0 {
		if after.ID == missingID(j.incarnation, after.Seq) {
			return nil, nil // it was missing when it was read
		}
		return nil, ErrPositionGone
	}
	batch := j.parse(got[0])
	for i, s := range batch {
		if s.Index == after.Index && s.ID == after.ID {
			return batch[i+1:], nil
		}
	}
	return nil, ErrPositionGone
}

// missing makes the entry that stands for a batch, or several, which the store
// should have and has not.
func (j *Journal) missing(ctx context.Context, seq uint64, got []message) ([]Stored, error) {
	first, err := j.firstSeq(ctx)
	if err != nil {
		return nil, err
	}
	if seq < first {
		return nil, ErrPositionGone // released while it was being read
	}
	s := Stored{Position: Position{Incarnation: j.incarnation, Seq: seq, ID: missingID(j.incarnation, seq)}}
	what := fmt.Sprintf("batch %d is missing", seq)
	if len(got) > 0 {
		s.At = got[0].at // no better stamp is known
		if got[0].seq > seq+1 {
			what = fmt.Sprintf("batches %d to %d are missing", seq, got[0].seq-1)
		}
	}
	s.Fact = Undecodable{Err: what}
	return []Stored{s}, nil
}

func missingID(incarnation string, seq uint64) string {
	return incarnation + "-" + strconv.FormatUint(seq, 10) + "-missing"
}

// parse reads the entries of one batch.
func (j *Journal) parse(m message) []Stored {
	lines := bytes.Split(bytes.TrimSuffix(m.data, []byte{'\n'}), []byte{'\n'})
	var head struct {
		Batch string `json:"batch"`
	}
	if err := json.Unmarshal(lines[0], &head); err != nil || head.Batch == "" {
		return []Stored{{
			Position: Position{Incarnation: j.incarnation, Seq: m.seq, ID: missingID(j.incarnation, m.seq)},
			Entry:    Entry{At: m.at, Fact: Undecodable{Raw: m.data, Err: "the batch has no name"}},
		}}
	}
	stored := make([]Stored, len(lines)-1)
	at := m.at
	for i, line := range lines[1:] {
		s := &stored[i]
		s.Position = Position{Incarnation: j.incarnation, Seq: m.seq, Index: i, ID: head.Batch + "." + strconv.Itoa(i)}
		e, err := Decode(line)
		if err != nil {
			e = Entry{At: at, Fact: Undecodable{Raw: line, Err: err.Error()}}
		}
		at = e.At
		s.Entry = e
	}
	return stored
}

// LastSnapshot returns the last snapshot of the floor, without reading what is
// in front of or behind it.
func (j *Journal) LastSnapshot(ctx context.Context) (Position, FloorSnapshot, bool, error) {
	got, err := j.fetch(ctx, request{LastBy: snapshotSubject})
	if err != nil || len(got) == 0 {
		return Position{}, FloorSnapshot{}, false, err
	}
	batch := j.parse(got[0])
	for i := len(batch) - 1; i >= 0; i-- {
		if s, ok := batch[i].Fact.(FloorSnapshot); ok {
			return batch[i].Position, s, true, nil
		}
	}
	return Position{}, FloorSnapshot{}, false, fmt.Errorf("journal: the snapshot in batch %d is damaged", got[0].seq)
}

// Last returns the journal's last entry.
func (j *Journal) Last(ctx context.Context) (Stored, bool, error) {
	_, last, _ := j.news()
	// More than one round only where batches are damaged.
	for seq := last; seq > 0 && seq+100 > last; seq-- {
		got, err := j.fetch(ctx, request{Seq: seq})
		if err != nil {
			return Stored{}, false, err
		}
		if len(got) == 0 {
			continue
		}
		if batch := j.parse(got[0]); len(batch) > 0 {
			return batch[len(batch)-1], true, nil
		}
	}
	return Stored{}, false, nil
}

// request is one question to the stream, in the words of JetStream's direct get.
type request struct {
	Seq      uint64 `json:"seq,omitempty"`
	LastBy   string `json:"last_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

// message is one stored batch.
type message struct {
	seq  uint64
	at   time.Time // when the store took it
	data []byte
}

func (j *Journal) firstSeq(ctx context.Context) (first uint64, err error) {
	err = j.withStore(ctx, func(ctx context.Context, st *store) error {
		first, err = st.first(ctx)
		return err
	})
	return first, err
}

func (j *Journal) fetch(ctx context.Context, r request) (got []message, err error) {
	err = j.withStore(ctx, func(ctx context.Context, st *store) error {
		got, err = st.fetch(ctx, r)
		return err
	})
	return got, err
}

// withStore calls fn with the open store, again if the store was restarted
// under it, and waits while there is none.
func (j *Journal) withStore(ctx context.Context, fn func(context.Context, *store) error) error {
	for {
		news, _, closed := j.news()
		st := j.store.Load()
		if st != nil {
			within, cancel := context.WithTimeout(ctx, fetchWithin)
			err := fn(within, st)
			cancel()
			if err == nil || j.store.Load() == st && ctx.Err() == nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if closed {
			return ErrClosed
		}
		if j.store.Load() != nil {
			continue
		}
		select {
		case <-news:
		case <-ctx.Done():
		}
	}
}

// fetch asks the stream and gathers the answer, which for a batch request is
// several messages. Nothing found is no error.
func (st *store) fetch(ctx context.Context, r request) ([]message, error) {
	q, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	inbox := nats.NewInbox()
	sub, err := st.read.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := sub.SetPendingLimits(-1, -1); err != nil { // the request itself bounds the answer
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if err := st.read.PublishRequest(directGet, inbox, q); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var got []message
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case statusEnd, statusMissing:
			return got, nil
		default:
			return nil, fmt.Errorf("read journal: %s %s", status, m.Header.Get("Description"))
		}
		seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return nil, errors.New("read journal: an answer without a sequence")
		}
		at, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
		if err != nil {
			return nil, errors.New("read journal: an answer without a stamp")
		}
		got = append(got, message{seq: seq, at: at.UTC().Truncate(time.Microsecond), data: m.Data})
		if r.Batch == 0 {
			return got, nil
		}
	}
}
