package calllog

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hotline/acd"
	"hotline/acd/journal"
)

var seedFlag = flag.Uint64("seed", 0, "repeat the random tests with this seed")

func seed(t *testing.T) uint64 {
	s := *seedFlag
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with: go test ./acd/calllog -run '^%s$' -seed=%d", t.Name(), s)
		}
	})
	return s
}

// day plays a busy day on the real floor and returns its journal, batch by
// batch, as the live service writes it: with crashes, crossings and whatever
// the floor ignores.
type day struct {
	rng     *rand.Rand
	floor   *acd.Floor
	now     time.Time
	batches [][]journal.Entry
	calls   []acd.CallID // open
	queued  map[acd.CallID]bool
	ringing []acd.Offer
	talks   map[acd.CallID]acd.AgentID
	connect []acd.OfferID
	n       int
}

var (
	dayQueues = []acd.QueueID{"support", "sales"}
	dayAgents = []acd.AgentID{"ann", "ben", "chi", "dan"}
)

func playDay(seed uint64, steps int) [][]journal.Entry {
	d := &day{rng: rand.New(rand.NewPCG(seed, 7)), now: morning}
	d.start(journal.ServiceStarted{Version: "v1"})
	for range steps {
		d.step()
	}
	// Closing time: all that is open ends.
	for len(d.calls) > 0 {
		d.end(d.calls[0])
	}
	d.batch(journal.ServiceStopped{})
	return d.batches
}

func (d *day) start(s journal.ServiceStarted) {
	d.floor = acd.New()
	d.calls, d.ringing, d.connect = nil, nil, nil
	d.queued, d.talks = map[acd.CallID]bool{}, map[acd.CallID]acd.AgentID{}
	config := acd.Config{}
	for _, q := range dayQueues {
		config.Queues = append(config.Queues, acd.Queue{ID: q, RingFor: 20 * time.Second, WrapUp: 5 * time.Second, MaxWait: 90 * time.Second, MaxLength: 4})
	}
	for _, a := range dayAgents {
		config.Agents = append(config.Agents, acd.Agent{ID: a})
	}
	facts := []journal.Fact{s, acd.Configured{Config: config}}
	for _, a := range dayAgents {
		facts = append(facts, acd.AgentReachable{Agent: a, Reachable: true}, acd.AgentSignedIn{Agent: a})
	}
	d.batch(facts...)
}

// batch appends facts at one moment, each event followed by what the floor says to it.
func (d *day) batch(facts ...journal.Fact) {
	var entries []journal.Entry
	for _, f := range facts {
		entries = append(entries, journal.Entry{At: d.now, Fact: f})
		ev, ok := f.(acd.Event)
		if !ok {
			continue
		}
		for _, c := range d.floor.Step(d.now, ev) {
			entries = append(entries, journal.Entry{At: d.now, Fact: c})
			switch c := c.(type) {
			case acd.Offer:
				d.ringing = append(d.ringing, c)
			case acd.Connect:
				d.connect = append(d.connect, c.Offer)
			case acd.VisitEnded:
				delete(d.queued, c.Call)
				if c.Result == acd.VisitAnswered {
					d.talks[c.Call] = c.Agent
				}
			}
		}
	}
	d.batches = append(d.batches, entries)
}

func (d *day) call() acd.CallID {
	if len(d.calls) == 0 {
		return "nobody"
	}
	return d.calls[d.rng.IntN(len(d.calls))]
}

func (d *day) agent() acd.AgentID { return dayAgents[d.rng.IntN(len(dayAgents))] }
func (d *day) queue() acd.QueueID { return dayQueues[d.rng.IntN(len(dayQueues))] }

func (d *day) step() {
	if d.rng.IntN(4) > 0 { // else at the same moment
		d.now = d.now.Add(time.Duration(d.rng.IntN(8_000_000)) * time.Microsecond)
	}
	if at, ok := d.floor.Deadline(); ok && !at.After(d.now) {
		d.batch(acd.Tick{})
	}
	switch d.rng.IntN(22) {
	case 0, 1, 2, 3, 4:
		d.n++
		id := acd.CallID(fmt.Sprintf("c%d", d.n))
		d.calls = append(d.calls, id)
		d.batch(journal.CallArrived{Call: id, Number: "1900", Caller: fmt.Sprint(d.rng.IntN(9))}, journal.CallAnswered{Call: id})
	case 5, 6, 7, 8:
		if id := d.call(); id != "nobody" && (d.talks[id] == "" || d.rng.IntN(3) == 0) {
			delete(d.talks, id)
			d.queued[id] = true
			d.batch(journal.LanguageChosen{Call: id, Language: "vi"}, acd.CallQueued{Call: id, Queue: d.queue(), Priority: d.rng.IntN(3)})
		}
	case 9, 10, 11, 12:
		if n := len(d.ringing); n > 0 {
			o := d.ringing[max(0, n-1-d.rng.IntN(3))] // may be over already
			d.batch(journal.PhoneRang{Offer: o.Offer, Call: o.Call, Agent: o.Agent}, acd.OfferAccepted{Offer: o.Offer})
		}
	case 13:
		if n := len(d.ringing); n > 0 {
			o := d.ringing[max(0, n-1-d.rng.IntN(3))]
			d.batch(acd.OfferRefused{Offer: o.Offer, Result: []acd.OfferResult{acd.OfferBusy, acd.OfferRejected, acd.OfferFailed}[d.rng.IntN(3)]})
		}
	case 14:
		if n := len(d.connect); n > 0 {
			d.batch(acd.AgentDropped{Offer: d.connect[n-1]})
		}
	case 15:
		if id := d.call(); d.talks[id] != "" {
			d.batch(journal.HoldStarted{Call: id, Agent: d.talks[id]})
			if d.rng.IntN(2) == 0 {
				d.now = d.now.Add(time.Second)
				d.batch(journal.HoldEnded{Call: id, Agent: d.talks[id]})
			}
		}
	case 16, 17:
		if id := d.call(); id != "nobody" {
			d.end(id)
		}
	case 18:
		d.batch(acd.AgentPaused{Agent: d.agent(), Reason: "lunch"})
	case 19:
		d.batch(acd.AgentSignedIn{Agent: d.agent()}, acd.AgentReachable{Agent: d.agent(), Reachable: d.rng.IntN(4) > 0})
	case 20:
		d.batch(acd.AgentSignedOut{Agent: d.agent()}, acd.TalkEnded{Call: d.call(), Agent: d.agent()})
	case 21:
		if d.rng.IntN(8) == 0 {
			d.crash()
		}
	}
	// Bridges stand a moment after they were asked for.
	for _, o := range d.connect {
		if d.rng.IntN(5) > 0 {
			d.now = d.now.Add(10 * time.Millisecond)
			d.batch(acd.CallConnected{Offer: o})
		}
	}
	d.connect = nil
}

func (d *day) end(id acd.CallID) {
	for i, c := range d.calls {
		if c == id {
			d.calls = append(d.calls[:i:i], d.calls[i+1:]...)
			break
		}
	}
	connected := false
	for _, b := range d.batches {
		for _, e := range b {
			if v, ok := e.Fact.(acd.VisitEnded); ok && v.Call == id && v.Result == acd.VisitAnswered {
				connected = true
			}
		}
	}
	end := journal.CallEnded{Call: id, Outcome: journal.Abandoned, Stage: journal.Waiting, HungUpBy: journal.Caller}
	switch {
	case connected:
		end.Outcome, end.Stage = journal.Answered, journal.Talking
	case !d.queued[id]:
		end.Outcome, end.Stage = journal.LeftInFlow, journal.Flow
	}
	facts := []journal.Fact{acd.CallerHungUp{Call: id}, end}
	if d.rng.IntN(3) == 0 {
		facts = []journal.Fact{end, acd.CallerHungUp{Call: id}} // crossed
	}
	delete(d.queued, id)
	delete(d.talks, id)
	d.batch(facts...)
}

func (d *day) crash() {
	seen := d.now
	open := d.calls
	d.now = d.now.Add(time.Duration(d.rng.IntN(100)) * time.Second)
	d.start(journal.ServiceStarted{LastSeen: seen})
	var facts []journal.Fact
	for _, id := range open {
		if d.rng.IntN(2) == 0 {
			facts = append(facts, journal.CallEnded{Call: id, Outcome: journal.Failed, Stage: journal.Flow, HungUpBy: journal.System, EndedAt: seen})
		}
	}
	d.batch(append(facts, journal.Heartbeat{})...)
}

func TestRandomDaysBalance(t *testing.T) {
	first := seed(t)
	for i := range uint64(3) {
		batches := playDay(first+i, 800)
		l := openLog(t, database(t))
		j := openJournal(t, t.TempDir())
		keep(t, j, batches...)
		catchUp(t, l, j)
		audit(t, l)
		ends := map[acd.CallID]int{}
		arrived, visits, offers := 0, 0, 0
		for _, b := range batches {
			for _, e := range b {
				switch f := e.Fact.(type) {
				case journal.CallArrived:
					arrived++
				case journal.CallEnded:
					ends[f.Call]++
				case acd.Offer:
					offers++
				case acd.VisitEnded:
					visits++
				}
			}
		}
		if offers < 20 || visits < 20 {
			t.Errorf("a dull day: %d calls, %d visits, %d offers", arrived, visits, offers)
		}
		if got := lines(t, l, "select count(*), count(outcome) from call_log"); got != fmt.Sprintf("%d %d\n", arrived, arrived) {
			t.Errorf("%d calls arrived; in the log %s", arrived, got)
		}
		if got := lines(t, l, "select count(*) from offers"); got != fmt.Sprintf("%d\n", offers) {
			t.Errorf("%d offers; in the log %s", offers, got)
		}
		// The ledger sums to the wall clock.
		if got := lines(t, l, `select agent from agent_time group by agent
			having sum(coalesce(to_at, (select max(from_at) from agent_time)) - from_at) <> (select max(from_at) from agent_time) - min(from_at)`); got != "" {
			t.Errorf("the time of these agents does not sum up: %s", got)
		}
	}
}

// The projection is killed at random moments, in every way that one process
// has, while the journal grows; in the end each fact counts once.
func TestKilledAtRandomEachFactCountsOnce(t *testing.T) {
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 9))
	batches := playDay(s, 1200)
	want := openLog(t, database(t))
	j := openJournal(t, t.TempDir())
	keep(t, j, batches...)
	catchUp(t, want, j)

	dsn := database(t)
	j = openJournal(t, t.TempDir())
	l := openLog(t, dsn)
	rest := batches
	for kills := 0; kills < 40 || len(rest) > 0; kills++ {
		n := min(len(rest), rng.IntN(80))
		appended := j
		ctx, kill := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Follow(ctx, appended) }() // ends with ctx
		var last *journal.Receipt
		for _, b := range rest[:n] {
			last = j.Append(b)
		}
		rest = rest[n:]
		if last != nil {
			<-last.Done()
			if last.Err() != nil {
				t.Fatal(last.Err())
			}
		}
		switch rng.IntN(4) {
		case 0: // its connections are cut, in a transaction or not, and it goes on
			if _, err := tryQuery(t.Context(), dsn, `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`); err != nil {
				t.Fatal(err)
			}
			if last, ok, err := j.Last(t.Context()); err != nil {
				t.Fatal(err)
			} else if ok {
				if err := l.CaughtUp(t.Context(), last.Position); err != nil {
					t.Fatal(err)
				}
			}
		case 1: // some of it is written
			if last, ok, err := j.Last(t.Context()); err != nil {
				t.Fatal(err)
			} else if ok {
				p := last.Position
				p.Seq -= min(p.Seq, rng.Uint64N(100))
				if err := l.CaughtUp(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
		}
		kill()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if rng.IntN(5) == 0 {
			l.Close()
			l = openLog(t, dsn)
		}
	}
	catchUp(t, l, j)
	l.pool.Reset() // a connection that was cut may still be in it
	if d := cmp.Diff(everything(t, want), everything(t, l)); d != "" {
		t.Error(d)
	}
}

// Two processes that project into one log take turns and count nothing twice.
func TestTwoProjectionsCountOnce(t *testing.T) {
	s := seed(t)
	batches := playDay(s, 500)
	dsn := database(t)
	j := openJournal(t, t.TempDir())
	keep(t, j, batches...)
	last, _, err := j.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	logs := []*Log{openLog(t, dsn), openLog(t, dsn)}
	for _, l := range logs {
		go func() { ended <- l.Follow(ctx, j) }() // ends with ctx
	}
	for _, l := range logs {
		if err := l.CaughtUp(t.Context(), last.Position); err != nil {
			t.Error(err)
		}
	}
	stop()
	for range logs {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	want := openLog(t, database(t))
	catchUp(t, want, j)
	if d := cmp.Diff(everything(t, want), everything(t, logs[0])); d != "" {
		t.Error(d)
	}
}

// A journal restored from an old copy: what it had is known, what it then got
// is new.
func TestJournalCutShort(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, database(t))
	j := openJournal(t, dir+"/journal")
	arrive := func(at time.Duration, calls ...acd.CallID) []journal.Entry {
		s := newTale()
		for _, c := range calls {
			s.at(at, journal.CallArrived{Call: c, Number: "1900", Caller: "1"})
		}
		return s.entries
	}
	keep(t, j, arrive(1*sec, "a"), arrive(2*sec, "b"))
	_ = j.Close()
	if err := os.CopyFS(dir+"/copy", os.DirFS(dir+"/journal")); err != nil {
		t.Fatal(err)
	}
	j = openJournal(t, dir+"/journal")
	keep(t, j, arrive(3*sec, "c"), arrive(4*sec, "d"))
	catchUp(t, l, j)
	_ = j.Close()

	j = openJournal(t, dir+"/copy")
	catchUp(t, l, j) // shorter
	keep(t, j, arrive(5*sec, "e"), arrive(6*sec, "f"), arrive(7*sec, "g"))
	catchUp(t, l, j)
	same(t, "calls", lines(t, l, "select call_id from call_log order by 1"), "a\nb\nc\nd\ne\nf\ng")
	same(t, "quarantine", lines(t, l, "select * from log.quarantine"), "")
	if a := lines(t, l, "select text from log.alarms"); strings.Count(a, "\n") != 1 || !strings.HasPrefix(a, "the journal was cut short") {
		t.Errorf("alarms: %s", a)
	}
	// And once more, grown past the old position this time.
	_ = j.Close()
	j = openJournal(t, dir+"/journal")
	keep(t, j, arrive(8*sec, "h"), arrive(9*sec, "i"))
	catchUp(t, l, j)
	same(t, "calls", lines(t, l, "select call_id from call_log order by 1"), "a\nb\nc\nd\ne\nf\ng\nh\ni")
	if a := lines(t, l, "select text from log.alarms"); strings.Count(a, "\n") != 2 {
		t.Errorf("alarms: %s", a)
	}
}
