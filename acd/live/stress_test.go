package live

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
	"hotline/ivr"
	"hotline/sip/media"
)

var (
	stressSeed  = flag.Uint64("stress.seed", 0, "seed of TestStress; 0: another one each time")
	stressCalls = flag.Int("stress.calls", 300, "calls of TestStress")
)

// TestStress lets callers, agents and phones do everything at once: hang up in
// every moment, refuse, answer late, drop before the bridge, pause while they
// are rung. Whatever the order, the record must be whole afterwards and nobody
// left hanging.
func TestStress(t *testing.T) {
	seed := *stressSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("go test -race -run 'TestStress$' ./acd/live -stress.seed=%d -stress.calls=%d", seed, *stressCalls)

	var agents []acd.AgentID
	for i := range 120 {
		agents = append(agents, acd.AgentID(fmt.Sprintf("a%03d", i)))
	}
	c := newCentre(t, agents...)
	q := support
	q.RingFor, q.MaxWait, q.MaxLength = 15*time.Millisecond, 150*time.Millisecond, 25
	c.cfg.Floor.Queues = []acd.Queue{q}
	c.cfg.Numbers["1900"] = briefFlow{}
	c.cfg.Numbers["13"] = flowFunc(func(context.Context) error { panic("unlucky") })
	s := &stress{centre: c, rng: rand.New(rand.NewPCG(seed, 1))}
	c.cfg.Phones = s
	c.opens()
	s.referee = c.referee

	stopAgents := s.moody(agents)
	var calls sync.WaitGroup
	lines := make(chan struct{}, 40)
	for range *stressCalls {
		lines <- struct{}{}
		number := s.pick("1901", "1901", "1901", "1901", "1901", "1900", "13")
		agent := acd.AgentID("")
		if s.chance(20) {
			number, agent = s.pick("*11", "*12", "*13", "*14", "1901"), agents[s.upTo(len(agents))]
		}
		calls.Go(func() {
			defer func() { <-lines }()
			l := s.leg("caller", nil)
			s.later(func() { l.end(true, "BYE") }, 60)
			if s.chance(30) { // in the moment in which something changes
				l.onMoment = func() { l.end(true, "BYE") }
				s.waiting.Store(l.id, l)
			}
			s.referee.Arrive(Arrival{Leg: l, Number: number, Caller: "0901234567", Agent: agent})
			if !over(l) {
				t.Errorf("a %s call's story ended and its leg did not", number)
			}
		})
	}
	if s.chance(50) {
		calls.Wait()
	} // else closing time comes in the middle of it
	deadline, cut := context.WithCancel(t.Context())
	time.AfterFunc(time.Duration(s.upTo(30))*time.Millisecond, cut)
	inTime(t, "the drain", func() { c.referee.Drain(deadline) })
	cut()
	inTime(t, "the last calls", calls.Wait)
	stopAgents()
	inTime(t, "what was to happen later", s.events.Wait)
	inTime(t, "the referee's end", c.referee.Close)
	s.allOver()
	s.record()
	if err := c.journal.Close(); err != nil {
		t.Error(err)
	}
	c.journal = nil
}

func inTime(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	wait(t, what, done)
}

func over(l *stressLeg) bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// stress is the world of TestStress: its phones, and its chance.
type stress struct {
	*centre
	referee *Referee

	rngMu sync.Mutex
	rng   *rand.Rand

	events  sync.WaitGroup // what happens later
	mu      sync.Mutex
	legs    []*stressLeg
	ringing atomic.Int64
	waiting sync.Map // callers who hang up in a moment of somebody else's
}

func (s *stress) upTo(n int) int {
	s.rngMu.Lock()
	defer s.rngMu.Unlock()
	return s.rng.IntN(n)
}

func (s *stress) chance(percent int) bool { return s.upTo(100) < percent }

func (s *stress) pick(of ...string) string { return of[s.upTo(len(of))] }

// later does something within so many milliseconds, often at once.
func (s *stress) later(f func(), ms int) {
	s.events.Add(1)
	time.AfterFunc(time.Duration(s.upTo(ms*1000))*time.Microsecond, func() { defer s.events.Done(); f() })
}

// moment is when somebody else does something in the same moment.
func (s *stress) moment() {
	s.waiting.Range(func(k, l any) bool {
		if s.chance(20) {
			s.waiting.Delete(k)
			s.events.Go(l.(*stressLeg).onMoment)
		}
		return true
	})
}

// moody lets agents change their minds and lose their network until it is stopped.
func (s *stress) moody(agents []acd.AgentID) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			case <-time.After(time.Duration(s.upTo(2000)) * time.Microsecond):
			}
			a := agents[s.upTo(len(agents))]
			switch s.upTo(5) {
			case 0:
				s.referee.Tell(acd.AgentPaused{Agent: a, Reason: "break"})
				s.moment()
			case 1:
				s.referee.Tell(acd.AgentReachable{Agent: a, Reachable: false})
				s.moment()
			default:
				for _, a := range agents {
					s.referee.Tell(acd.AgentReachable{Agent: a, Reachable: true})
					s.referee.Tell(acd.AgentSignedIn{Agent: a})
				}
				s.moment()
			}
		}
	}()
	return func() { close(quit); <-done }
}

func (s *stress) leg(who string, beside *media.Stream) *stressLeg {
	audio, err := s.engine.Open(beside)
	if err != nil {
		panic(err)
	}
	l := &stressLeg{leg: &leg{
		id: fmt.Sprintf("%s-%d", who, legs.Add(1)), audio: audio, remote: s.sink,
		done: make(chan struct{}), holds: make(chan bool, 8), heard: make(chan struct{}, 1),
	}, s: s}
	s.mu.Lock()
	s.legs = append(s.legs, l)
	s.mu.Unlock()
	return l
}

// stressLeg tells of its dialog and closes its audio, as sip's legs do.
type stressLeg struct {
	*leg
	s        *stress
	call     string
	up       atomic.Bool
	onMoment func()
}

func (l *stressLeg) SetCall(call string) { l.call = call }

func (l *stressLeg) Answer(ctx context.Context) error {
	if err := l.leg.Answer(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return errors.New("over")
	}
	l.up.Store(true)
	l.s.referee.Tell(journal.DialogOpened{Dialog: l.id, Call: acd.CallID(l.call), State: []byte(`{}`)})
	return nil
}

func (l *stressLeg) Hangup() { l.end(false, "hung up") }

func (l *stressLeg) end(byPeer bool, detail string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over, l.byPeer, l.detail = true, byPeer, detail
	if l.up.Load() {
		l.s.referee.Tell(journal.DialogClosed{Dialog: l.id})
	}
	close(l.done)
	l.audio.Close()
}

func (s *stress) Ring(ctx context.Context, r Ring, rang func()) (Leg, error) {
	s.ringing.Add(1)
	defer s.ringing.Add(-1)
	s.moment()
	if s.chance(5) {
		return nil, &RingError{Result: acd.OfferUnreachable}
	}
	l := s.leg("agent", r.Beside)
	l.call = string(r.Call)
	if s.chance(80) {
		rang()
	}
	rings := time.NewTimer(time.Duration(s.upTo(8000)) * time.Microsecond)
	defer rings.Stop()
	act := s.upTo(100)
	answer := rings.C
	if act < 10 {
		answer = nil // nobody there
	}
	select {
	case <-answer:
	case <-ctx.Done():
		if act < 90 { // else it is answered in the very moment
			l.end(false, "cancelled")
			return nil, context.Cause(ctx)
		}
	}
	switch {
	case act < 15:
		l.end(true, "486")
		return nil, &RingError{Result: acd.OfferBusy}
	case act < 16:
		l.end(true, "603")
		panic("a phone's fault")
	}
	if l.Answer(ctx) != nil {
		panic("the agent's own leg can't be over")
	}
	s.moment()
	switch hangsUp := func() { l.end(true, "BYE") }; {
	case act < 25:
		hangsUp()
	case act < 40:
		s.later(hangsUp, 2)
	case act < 80:
		s.later(hangsUp, 40)
	}
	if s.chance(20) {
		s.later(func() { l.holds <- true }, 20)
		s.later(func() { l.holds <- false }, 30)
	}
	return l, nil
}

func (s *stress) ByeAfterCrash(context.Context, []byte) error { return nil }

func (s *stress) allOver() {
	if n := s.ringing.Load(); n != 0 {
		s.t.Errorf("%d phones still ring", n)
	}
	for _, l := range s.legs {
		if !over(l) {
			s.t.Errorf("nobody hung up %s of call %s", l.id, l.call)
		}
	}
}

// record checks what the journal holds.
func (s *stress) record() {
	type story struct {
		arrived, queued, visits, offers, offersEnded, answered, ended int
		end                                                           journal.CallEnded
		legs                                                          map[string]int
	}
	var (
		stories = map[acd.CallID]*story{}
		offers  = map[acd.OfferID]acd.CallID{}
		dialogs = map[string]bool{}
		agents  = map[acd.AgentID]acd.AgentChanged{}
		private = map[acd.AgentID]int{}
		b       = newBook()
	)
	of := func(id acd.CallID) *story {
		if stories[id] == nil {
			stories[id] = &story{legs: map[string]int{}}
		}
		return stories[id]
	}
	last := ""
	err := s.journal.Read(s.t.Context(), journal.Position{}, false, func(batch []journal.Stored) error {
		for _, e := range batch {
			late := func(id acd.CallID) *story {
				if of(id).ended > 0 {
					s.t.Errorf("call %s has ended, and then: %+v", id, e.Fact)
				}
				return of(id)
			}
			switch f := e.Fact.(type) {
			case journal.CallArrived:
				of(f.Call).arrived++
			case acd.CallQueued:
				late(f.Call).queued++
			case acd.VisitEnded:
				late(f.Call).visits++
			case acd.Offer:
				late(f.Call).offers++
				offers[f.Offer] = f.Call
			case acd.OfferEnded:
				late(f.Call).offersEnded++
				if f.Result == acd.OfferAnswered {
					of(f.Call).answered++
				}
				if _, open := offers[f.Offer]; !open {
					s.t.Errorf("an offer ended that was not open: %+v", f)
				}
				delete(offers, f.Offer)
			case journal.LegEnded:
				if late(f.Call).legs[f.Leg]++; of(f.Call).legs[f.Leg] > 1 {
					s.t.Errorf("a leg ended twice: %+v", f)
				}
			case journal.CallEnded:
				late(f.Call).ended++
				of(f.Call).end = f
			case journal.DialogOpened:
				dialogs[f.Dialog] = true
			case journal.DialogClosed:
				delete(dialogs, f.Dialog)
			case acd.PrivateCallStarted:
				private[f.Agent]++
			case acd.PrivateCallEnded:
				private[f.Agent]--
			case acd.AgentChanged:
				agents[f.Agent] = f
			case journal.Gap:
				s.t.Errorf("the journal has a gap: %+v", f)
			}
			b.read(e.At, e.Fact)
			last = journal.Kind(e.Fact)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if last != "ServiceStopped" {
		s.t.Errorf("the last fact is %s", last)
	}
	outcomes := map[journal.Outcome]int{}
	for id, c := range stories {
		outcomes[c.end.Outcome]++
		switch {
		case c.arrived != 1 || c.ended != 1:
			s.t.Errorf("call %s arrived %d times and ended %d times", id, c.arrived, c.ended)
		case c.queued != c.visits || c.queued > 1:
			s.t.Errorf("call %s was queued %d times and left %d times", id, c.queued, c.visits)
		case c.offers != c.offersEnded:
			s.t.Errorf("call %s has %d offers, of which %d ended", id, c.offers, c.offersEnded)
		case (c.answered == 1) != (c.end.Outcome == journal.Answered):
			s.t.Errorf("call %s has %d answered offers and ended as %+v", id, c.answered, c.end)
		}
	}
	for o, call := range offers {
		s.t.Errorf("offer %d of call %s never ended", o, call)
	}
	for d := range dialogs {
		s.t.Errorf("dialog %s was never closed", d)
	}
	for id, a := range agents {
		if a.Work != acd.Idle || a.Private || private[id] != 0 {
			s.t.Errorf("agent left as %+v, private %d", a, private[id])
		}
	}
	for _, l := range s.legs {
		if c := stories[acd.CallID(l.call)]; c != nil && l.up.Load() && c.legs[l.id] != 1 {
			s.t.Errorf("leg %s of call %s was up; the journal tells of its end %d times", l.id, l.call, c.legs[l.id])
		}
	}
	if n := len(b.calls) + len(b.dialogs) + len(b.offers); n > 0 {
		s.t.Errorf("the book still has %d calls, %d offers and %d dialogs", len(b.calls), len(b.offers), len(b.dialogs))
	}
	s.t.Logf("%d calls: %v", len(stories), outcomes)
}

// briefFlow is a flow of a few milliseconds in front of the queue.
type briefFlow struct{}

func (briefFlow) Run(ctx context.Context, _ ivr.Voice, t ivr.Trace) (ivr.Choice, error) {
	t.Step("menu")
	select {
	case <-time.After(5 * time.Millisecond):
		return ivr.Choice{Queue: "support"}, nil
	case <-ctx.Done():
		return ivr.Choice{}, context.Cause(ctx)
	}
}
