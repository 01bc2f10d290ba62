package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
	"hotline/ivr"
	"hotline/sip/media"
)

// The tests' centre: a real journal, real media streams on loopback, and phones
// that do as they are told.
type centre struct {
	t       *testing.T
	dir     string
	engine  *media.Engine
	journal *journal.Journal
	referee *Referee
	phones  *phones
	tapes   *tapes
	cfg     Config
	sink    netip.AddrPort // where the audio goes
}

var support = acd.Queue{ID: "support", Needs: []acd.Need{{Skill: "support", AtLeast: 1}}, RingFor: 20 * time.Second}

func supporter(id acd.AgentID) acd.Agent {
	return acd.Agent{ID: id, Skills: []acd.Skill{{Name: "support", Level: 5}}}
}

func newCentre(t *testing.T, agents ...acd.AgentID) *centre {
	t.Parallel()
	t.Helper()
	c := &centre{t: t, dir: t.TempDir()}
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	c.sink = sink.LocalAddr().(*net.UDPAddr).AddrPort()
	c.engine, err = media.NewEngine(media.Config{IP: netip.MustParseAddr("127.0.0.1"), Ports: media.PortRange{First: 40000, Last: 49999}, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.engine.Close() })
	prompts, err := ivr.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	c.phones = &phones{centre: c, rings: make(chan *ringing, 16)}
	c.tapes = &tapes{dir: c.dir}
	c.cfg = Config{
		Floor:      acd.Config{Queues: []acd.Queue{support}},
		Numbers:    map[string]ivr.Flow{"1901": ivr.Queue("support")},
		Record:     map[acd.QueueID]bool{"support": true},
		Phones:     c.phones,
		Prompts:    prompts,
		Music:      media.NewClip(make([]int16, 8000)),
		StartTape:  c.tapes.start,
		RepairTape: c.tapes.repair,
		Log:        slog.New(slog.DiscardHandler),
	}
	for _, id := range agents {
		c.cfg.Floor.Agents = append(c.cfg.Floor.Agents, supporter(id))
		c.cfg.Agents = append(c.cfg.Agents, AgentLine{ID: id, Extension: string(id), Language: ivr.English, Static: true, Start: true})
	}
	return c
}

// opens starts the service on what the journal holds.
func (c *centre) opens() *centre {
	c.t.Helper()
	var err error
	c.journal, err = journal.Open(c.t.Context(), journal.Options{Dir: filepath.Join(c.dir, "journal")})
	if err != nil {
		c.t.Fatal(err)
	}
	c.cfg.Journal = c.journal
	c.referee, err = New(c.t.Context(), c.cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(c.closes)
	return c
}

// closes ends the service in order; a second time it does nothing.
func (c *centre) closes() {
	if c.journal == nil {
		return
	}
	c.referee.Close()
	if err := c.journal.Close(); err != nil {
		c.t.Error(err)
	}
	c.journal = nil
}

// crashes leaves the journal as it is, as kill -9 would.
func (c *centre) crashes() {
	c.t.Helper()
	c.cfg.Phones = nil
	if err := c.journal.Close(); err != nil {
		c.t.Error(err)
	}
	c.journal = nil
}

// leg makes a leg with real audio.
func (c *centre) leg(beside *media.Stream) *leg {
	c.t.Helper()
	audio, err := c.engine.Open(beside)
	if err != nil {
		c.t.Fatal(err)
	}
	l := &leg{id: fmt.Sprintf("leg-%d", legs.Add(1)), audio: audio, remote: c.sink, done: make(chan struct{}), holds: make(chan bool, 8), heard: make(chan struct{}, 1)}
	c.t.Cleanup(func() { audio.Close() })
	return l
}

var legs atomic.Int64

// dials lets a caller call and returns the phone; gone is closed when the
// call's story has ended.
func (c *centre) dials(number string, agent ...acd.AgentID) (caller *leg, gone <-chan struct{}) {
	caller = c.leg(nil)
	over := make(chan struct{})
	a := Arrival{Leg: caller, Number: number, Caller: "0901234567", Name: "Lan"}
	if len(agent) > 0 {
		a.Agent = agent[0]
	}
	go func() {
		defer close(over)
		c.referee.Arrive(a)
	}()
	return caller, over
}

// until reads the journal until a fact fits and returns all facts up to it.
func (c *centre) until(what string, fits func(journal.Fact) bool) []journal.Fact {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	var facts []journal.Fact
	found := errors.New("found")
	err := c.journal.Read(ctx, journal.Position{}, true, func(batch []journal.Stored) error {
		for _, e := range batch {
			facts = append(facts, e.Fact)
			if fits(e.Fact) {
				return found
			}
		}
		return nil
	})
	if !errors.Is(err, found) {
		c.t.Fatalf("the journal never said: %s (%v); it has %v", what, err, kinds(facts))
	}
	return facts
}

// entries are all that the journal holds.
func (c *centre) entries() (all []journal.Stored) {
	c.t.Helper()
	err := c.journal.Read(c.t.Context(), journal.Position{}, false, func(batch []journal.Stored) error {
		all = append(all, batch...)
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

func is[F any](journal.Fact) func(journal.Fact) bool {
	return func(f journal.Fact) bool { _, ok := f.(F); return ok }
}

func kinds(facts []journal.Fact) (names []string) {
	for _, f := range facts {
		names = append(names, journal.Kind(f))
	}
	return names
}

// the returns the only fact of a type.
func the[F any](t *testing.T, facts []journal.Fact) F {
	t.Helper()
	var found []F
	for _, f := range facts {
		if f, ok := f.(F); ok {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		t.Fatalf("want one %T, got %d in %v", *new(F), len(found), kinds(facts))
	}
	return found[0]
}

// inOrder fails unless the kinds appear in this order (others may stand between).
func inOrder(t *testing.T, facts []journal.Fact, want ...string) {
	t.Helper()
	rest := kinds(facts)
	for _, k := range want {
		i := slices.Index(rest, k)
		if i < 0 {
			t.Fatalf("%s is missing or too early; want in order %v, got %v", k, want, kinds(facts))
		}
		rest = rest[i+1:]
	}
}

// leg is a phone's end that a test holds in its hand.
type leg struct {
	id     string
	audio  *media.Stream
	remote netip.AddrPort
	holds  chan bool
	asked  atomic.Int64  // how often Alive was asked
	heard  chan struct{} // gets a token per question
	gone   atomic.Bool   // the phone has lost its dialog

	onAudio atomic.Pointer[func()] // happens when somebody first wants to hear it

	mu     sync.Mutex
	done   chan struct{}
	over   bool
	byPeer bool
	detail string
}

func (l *leg) ID() string     { return l.id }
func (l *leg) SetCall(string) {}
func (l *leg) Answer(context.Context) error {
	select {
	case <-l.done:
		return errors.New("the caller is gone")
	default:
	}
	return l.audio.Start(media.Params{Remote: l.remote, Codec: media.PCMU, EventPT: 101, Send: true, Receive: true})
}
func (l *leg) Hangup()               { l.end(false, "BYE") }
func (l *leg) hangsUp()              { l.end(true, "BYE") }
func (l *leg) Done() <-chan struct{} { return l.done }
func (l *leg) HungUp() (bool, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byPeer, l.detail
}
func (l *leg) Settled() <-chan struct{} { return l.done }
func (l *leg) Audio() *media.Stream {
	if f := l.onAudio.Swap(nil); f != nil {
		(*f)()
	}
	return l.audio
}
func (l *leg) Holds() <-chan bool { return l.holds }
func (l *leg) Alive(context.Context) error {
	l.asked.Add(1)
	select {
	case l.heard <- struct{}{}:
	default:
	}
	if l.gone.Load() {
		return errors.New("481 Call/Transaction Does Not Exist")
	}
	return nil
}

func (l *leg) end(byPeer bool, detail string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over, l.byPeer, l.detail = true, byPeer, detail
	close(l.done)
}

// phones rings the agents: each ring comes out of the channel for the test to
// decide about.
type phones struct {
	centre *centre
	rings  chan *ringing

	mu   sync.Mutex
	byes []string
}

type ringing struct {
	Ring
	ctx    context.Context
	rang   func()
	result chan error
	leg    *leg
}

func (p *phones) Ring(ctx context.Context, r Ring, rang func()) (Leg, error) {
	g := &ringing{Ring: r, ctx: ctx, rang: rang, result: make(chan error, 1), leg: p.centre.leg(r.Beside)}
	p.rings <- g
	select {
	case err := <-g.result:
		if err != nil {
			return nil, err
		}
		return g.leg, nil
	case <-ctx.Done():
		g.leg.end(false, "CANCEL")
		return nil, context.Cause(ctx)
	}
}

func (p *phones) ByeAfterCrash(_ context.Context, state []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byes = append(p.byes, string(state))
	return nil
}

// rings waits for the next phone that rings.
func (c *centre) rings() *ringing {
	c.t.Helper()
	select {
	case g := <-c.phones.rings:
		return g
	case <-time.After(20 * time.Second):
		c.t.Fatal("no phone rings")
		return nil
	}
}

func (g *ringing) answers() *leg {
	g.rang()
	if err := g.leg.Answer(context.Background()); err != nil {
		panic(err)
	}
	g.result <- nil
	return g.leg
}

func (g *ringing) refuses(r acd.OfferResult) { g.result <- &RingError{Result: r, Detail: "486"} }

func wait(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("never: %s", what)
	}
}

// tapes keeps recordings in memory.
type tapes struct {
	dir      string
	fail     error
	repaired []string
}

func (s *tapes) start(call acd.CallID, _ time.Time, _ media.Codec) (Tape, error) {
	if s.fail != nil {
		return nil, s.fail
	}
	file := filepath.Join(s.dir, string(call)+".wav")
	return &tape{file}, os.WriteFile(file, nil, 0o600)
}

func (s *tapes) repair(file string) (time.Duration, error) {
	s.repaired = append(s.repaired, file)
	return time.Second, nil
}

type tape struct{ file string }

func (t *tape) File() string                                 { return t.file }
func (t *tape) Caller() media.Tap                            { return deaf{} }
func (t *tape) Agent() media.Tap                             { return deaf{} }
func (t *tape) Close() (time.Duration, time.Duration, error) { return time.Second, 0, nil }

type deaf struct{}

func (deaf) Heard(time.Time, uint32, media.Codec, []byte) {}
