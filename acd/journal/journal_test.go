package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hotline/acd"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("JOURNAL_TEST_CHILD"); role != "" {
		child(role)
		return
	}
	goleak.VerifyTestMain(m)
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(n int) time.Time { return noon.Add(time.Duration(n) * time.Millisecond) }

func open(t testing.TB, dir string) *Journal {
	t.Helper()
	j, err := Open(t.Context(), Options{Dir: dir, Sync: SyncPolicy(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func step(n int) Entry {
	return Entry{At: at(n), Fact: StepEntered{Call: "c", Step: fmt.Sprint(n)}}
}

func wait(t testing.TB, r *Receipt) {
	t.Helper()
	select {
	case <-r.Done():
	case <-time.After(time.Minute):
		t.Fatal("no receipt")
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
}

func readAll(t testing.TB, j *Journal, after Position) []Stored {
	t.Helper()
	var all []Stored
	if err := j.Read(t.Context(), after, false, func(s []Stored) error {
		if len(s) > handOver {
			t.Errorf("%d entries in one call", len(s))
		}
		all = append(all, s...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAppendThenRead(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	if _, ok, err := j.Last(t.Context()); ok || err != nil {
		t.Fatalf("an empty journal has a last entry (err %v)", err)
	}
	if _, _, ok, err := j.LastSnapshot(t.Context()); ok || err != nil {
		t.Fatalf("an empty journal has a snapshot (err %v)", err)
	}
	if got := readAll(t, j, Position{}); len(got) != 0 {
		t.Fatalf("an empty journal has entries: %v", got)
	}
	const batches = 300
	n := 0
	var last *Receipt
	for b := range batches {
		var entries []Entry
		for range b%5 + 1 {
			entries = append(entries, step(n))
			n++
		}
		last = j.Append(entries)
	}
	wait(t, last)
	all := readAll(t, j, Position{})
	if len(all) != n {
		t.Fatalf("read %d entries of %d", len(all), n)
	}
	ids := map[string]bool{}
	for i, s := range all {
		if s.Fact.(StepEntered).Step != fmt.Sprint(i) || !s.At.Equal(at(i)) {
			t.Fatalf("entry %d is %+v", i, s)
		}
		if ids[s.ID] {
			t.Fatalf("id %s twice", s.ID)
		}
		ids[s.ID] = true
	}
	for _, i := range []int{0, 1, 7, n - 2, n - 1} {
		if rest := readAll(t, j, all[i].Position); len(rest) != n-1-i || len(rest) > 0 && rest[0].Position != all[i+1].Position {
			t.Errorf("after entry %d come %d entries, want %d", i, len(rest), n-1-i)
		}
	}
	incarnation := j.Incarnation()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if r := j.Append([]Entry{step(0)}); !errors.Is(r.Err(), ErrClosed) {
		t.Errorf("append to a closed journal: %v", r.Err())
	}

	j = open(t, dir)
	if j.Incarnation() != incarnation {
		t.Error("the incarnation changed by closing and opening")
	}
	if again := readAll(t, j, all[n/2].Position); len(again) != n-1-n/2 || again[0].Position != all[n/2+1].Position {
		t.Error("positions do not hold over closing and opening")
	}
	s, ok, err := j.Last(t.Context())
	if err != nil || !ok || s.Position != all[n-1].Position {
		t.Errorf("last entry %+v, %v, %v", s, ok, err)
	}
}

func TestFollowSeesNewEntries(t *testing.T) {
	j := open(t, t.TempDir())
	const n = 2000
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	var got []Stored
	var wg sync.WaitGroup
	wg.Go(func() { // ends with ctx
		if err := j.Read(ctx, Position{}, true, func(s []Stored) error {
			got = append(got, s...)
			if len(got) == n {
				cancel(enough)
			}
			return nil
		}); !errors.Is(err, enough) {
			t.Errorf("follow ended with %v", err)
		}
	})
	for i := range n {
		r := j.Append([]Entry{step(i)})
		if i%100 == 0 {
			wait(t, r)
		}
	}
	wg.Wait()
	for i, s := range got {
		if s.Fact.(StepEntered).Step != fmt.Sprint(i) {
			t.Fatalf("entry %d is %+v", i, s.Fact)
		}
	}
	if len(got) != n {
		t.Fatalf("followed %d of %d", len(got), n)
	}
}

func TestFollowEndsWithTheJournal(t *testing.T) {
	j := open(t, t.TempDir())
	wait(t, j.Append([]Entry{step(1)}))
	ended := make(chan error, 1)
	seen := make(chan struct{})
	go func() { // ends when the journal closes
		ended <- j.Read(t.Context(), Position{}, true, func([]Stored) error { close(seen); return nil })
	}()
	<-seen
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("follow ended with %v", err)
	}
}

func TestReaderStopsWithItsOwnError(t *testing.T) {
	j := open(t, t.TempDir())
	wait(t, j.Append([]Entry{step(1)}))
	mine := errors.New("mine")
	if err := j.Read(t.Context(), Position{}, true, func([]Stored) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
}

func TestSnapshotIsFoundAtOnce(t *testing.T) {
	j := open(t, t.TempDir())
	snapshot := func(text string) Entry {
		return Entry{At: at(0), Fact: FloorSnapshot{Floor: []byte(text), Calls: []OpenCall{{Call: "c", Stage: Waiting}}}}
	}
	j.Append([]Entry{snapshot(`1`)})
	j.Append([]Entry{step(1)})
	j.Append([]Entry{step(2), snapshot(`{"two":2}`), step(3)})
	wait(t, j.Append([]Entry{step(4)}))
	p, s, ok, err := j.LastSnapshot(t.Context())
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if string(s.Floor) != `{"two":2}` || len(s.Calls) != 1 || s.Calls[0].Stage != Waiting {
		t.Errorf("snapshot is %+v", s)
	}
	rest := readAll(t, j, p)
	if len(rest) != 2 || rest[0].Fact.(StepEntered).Step != "3" || rest[1].Fact.(StepEntered).Step != "4" {
		t.Errorf("behind the snapshot comes %+v", rest)
	}
}

func TestPositionOfAnotherJournalIsGone(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	for i := range 5 {
		wait(t, j.Append([]Entry{step(i)}))
	}
	all := readAll(t, j, Position{})
	gone := func(j *Journal, p Position, why string) {
		t.Helper()
		if err := j.Read(t.Context(), p, false, func([]Stored) error { return nil }); !errors.Is(err, ErrPositionGone) {
			t.Errorf("%s: %v", why, err)
		}
	}
	beyond := all[4].Position
	beyond.Seq++
	gone(j, beyond, "beyond the end")
	other := all[4].Position
	other.ID = "x"
	gone(j, other, "other id")
	index := all[4].Position
	index.Index = 9
	gone(j, index, "no such index")
	// A copy of the journal as it was goes another way: same incarnation and
	// sequence, other entries.
	_ = j.Close()
	if err := os.CopyFS(dir+"-copy", os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir)
	wait(t, j.Append([]Entry{step(5)}))
	last, _, err := j.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	j = open(t, dir+"-copy")
	gone(j, last.Position, "truncated")
	wait(t, j.Append([]Entry{step(6)}))
	gone(j, last.Position, "truncated and grown again")
	if rest := readAll(t, j, all[4].Position); len(rest) != 1 {
		t.Errorf("the common part is no longer a position: %v", rest)
	}
	// Deleted.
	_ = j.Close()
	j = open(t, t.TempDir())
	wait(t, j.Append([]Entry{step(0)}))
	gone(j, all[0].Position, "deleted")
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Open(t.Context(), Options{Dir: dir}); err == nil {
		t.Fatal("opened twice")
	}
}

func TestUnreadableJournalIsSetAside(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	wait(t, j.Append([]Entry{step(0)}))
	old := j.Incarnation()
	_ = j.Close()
	meta := dir + "/jetstream/$G/streams/hotline/meta.inf"
	if err := os.WriteFile(meta, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir)
	if j.Incarnation() == old {
		t.Error("same incarnation")
	}
	wait(t, j.Append([]Entry{step(1)}))
	if got := readAll(t, j, Position{}); len(got) != 1 {
		t.Errorf("%d entries", len(got))
	}
	aside, err := os.ReadDir(dir)
	if err != nil || len(aside) != 3 { // lock, jetstream, unreadable-…
		t.Errorf("folder has %v, %v", aside, err)
	}
}

// What can't be kept is counted, and a Gap stands exactly where it is missing.
func TestLossIsRecordedWhereItHappened(t *testing.T) {
	j := open(t, t.TempDir())
	const n = 20000
	var receipts []*Receipt
	for i := range n {
		e := []Entry{step(2 * i), step(2*i + 1)}
		if i%1000 == 999 {
			e[1].Fact = "not a fact"
		}
		receipts = append(receipts, j.Append(e))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	lost := map[int]bool{}
	for i, r := range receipts {
		select {
		case <-r.Done():
		default:
			t.Fatalf("receipt %d is open after Close", i)
		}
		lost[i] = r.Err() != nil
	}
	if !lost[999] || lost[0] {
		t.Error("wrong batches lost")
	}
	if j.Lost() == 0 || j.Lost()%2 != 0 {
		t.Errorf("lost %d", j.Lost())
	}
	j = open(t, j.opts.Dir)
	next := 0 // entry that should come
	for _, s := range readAll(t, j, Position{}) {
		switch f := s.Fact.(type) {
		case Gap:
			if !f.From.Equal(at(next)) {
				t.Fatalf("gap from %v, want %v", f.From, at(next))
			}
			for k := range f.Lost {
				if !lost[(next+k)/2] {
					t.Fatalf("entry %d is in a gap and was kept", next+k)
				}
			}
			next += f.Lost
		case StepEntered:
			if f.Step != fmt.Sprint(next) || lost[next/2] {
				t.Fatalf("entry %s came for %d (lost %v)", f.Step, next, lost[next/2])
			}
			next++
		}
	}
	if next != 2*n {
		t.Errorf("%d entries accounted for, of %d", next, 2*n)
	}
}

func TestDamagedBatchesAreShown(t *testing.T) {
	j := open(t, t.TempDir())
	wait(t, j.Append([]Entry{step(0)}))
	ctx := t.Context()
	st := j.store.Load()
	good, err := Encode(step(7))
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{
		"not json",
		`{"batch":"x-1"}` + "\n" + `{"at":"2026-03-01T12:00:00Z","is":"Unheard","fact":{}}` + "\n" + string(good) + "\n",
		`{"batch":"x-2"}`,
		"",
	} {
		if _, err := st.js.Publish(ctx, factsSubject, []byte(raw)); err != nil {
			t.Fatal(err)
		}
	}
	dir := j.opts.Dir
	_ = j.Close()
	j = open(t, dir)
	wait(t, j.Append([]Entry{step(1)}))
	s, err := j.store.Load().js.Stream(ctx, streamName)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(ctx, 5); err != nil { // the empty one is missing now
		t.Fatal(err)
	}
	var got []string
	all := readAll(t, j, Position{})
	for _, s := range all {
		got = append(got, fmt.Sprintf("%T", s.Fact))
		var behind int
		if err := j.Read(ctx, s.Position, false, func(s []Stored) error { behind += len(s); return nil }); err != nil {
			t.Errorf("position %+v: %v", s.Position, err)
		}
		if behind != len(all)-len(got) {
			t.Errorf("behind %+v come %d entries", s.Position, behind)
		}
	}
	want := []string{"journal.StepEntered", "journal.Undecodable", "journal.Undecodable", "journal.StepEntered", "journal.Undecodable", "journal.StepEntered"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read %v\nwant %v", got, want)
	}
}

func BenchmarkAppendAndAck(b *testing.B) {
	for _, sync := range []SyncPolicy{Always, SyncPolicy(time.Minute)} {
		b.Run(fmt.Sprintf("sync=%v", time.Duration(sync)), func(b *testing.B) {
			j, err := Open(b.Context(), Options{Dir: b.TempDir(), Sync: sync})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = j.Close() }()
			e := []Entry{{At: noon, Fact: acd.OfferAccepted{Offer: 7}}, {At: noon, Fact: acd.Connect{Offer: 7, Call: "c-1234567890", Agent: "anna", Queue: "support"}}}
			b.ReportAllocs()
			for b.Loop() {
				r := j.Append(e)
				<-r.Done()
				if r.Err() != nil {
					b.Fatal(r.Err())
				}
			}
		})
	}
}

func BenchmarkPipelined(b *testing.B) {
	for _, sync := range []SyncPolicy{Always, SyncPolicy(time.Minute)} {
		b.Run(fmt.Sprintf("sync=%v", time.Duration(sync)), func(b *testing.B) {
			j, err := Open(b.Context(), Options{Dir: b.TempDir(), Sync: sync})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = j.Close() }()
			e := []Entry{{At: noon, Fact: acd.OfferAccepted{Offer: 7}}, {At: noon, Fact: acd.Connect{Offer: 7, Call: "c-1234567890", Agent: "anna", Queue: "support"}}}
			var window []*Receipt
			for b.Loop() {
				if len(window) == 512 {
					<-window[0].Done()
					window = window[1:]
				}
				window = append(window, j.Append(e))
			}
			<-window[len(window)-1].Done()
			if j.Lost() > 0 {
				b.Fatal("lost", j.Lost())
			}
		})
	}
}

func BenchmarkReplay(b *testing.B) {
	j, err := Open(b.Context(), Options{Dir: b.TempDir(), Sync: SyncPolicy(time.Minute)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	const batches = 20000
	var window []*Receipt
	for range batches {
		if len(window) == 512 {
			<-window[0].Done()
			window = window[1:]
		}
		window = append(window, j.Append([]Entry{{At: noon, Fact: acd.OfferAccepted{Offer: 7}}, {At: noon, Fact: acd.Connect{Offer: 7, Call: "c-1234567890", Agent: "anna", Queue: "support"}}}))
	}
	for _, r := range window {
		<-r.Done()
	}
	n := 0
	for b.Loop() {
		if err := j.Read(b.Context(), Position{}, false, func(s []Stored) error { n += len(s); return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
}
