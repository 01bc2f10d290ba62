package live

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
	"hotline/ivr"
	"hotline/sip/media"
)

// call is one caller's visit. Its fields belong to its story, but for what is
// marked otherwise.
type call struct {
	r    *Referee
	id   acd.CallID
	from Arrival
	leg  Leg

	language ivr.Language
	stage    journal.Stage // where the caller is
	ended    bool          // CallEnded was told

	rings    sync.WaitGroup // of this call; the loop adds, and not after the call has left the floor
	ringing  atomic.Int32   // phones that ring for this call; rings count it
	verdicts chan verdict   // what the floor decided; buffered, see tell
}

// verdict is a decision of the floor about a waiting call: one of its fields is
// set.
type verdict struct {
	connect *ring
	left    acd.VisitResult
}

// verdictsSize is far more than can wait: a story reads while it waits, and is
// away for no longer than a bridge takes to fail.
const verdictsSize = 8

// tell is called by the loop and never blocks. A story that does not read is
// one that has left the queue, and the floor hears of that.
func (c *call) tell(v verdict) {
	select {
	case c.verdicts <- v:
	default:
		c.r.log.Error("a story does not read its verdicts", "call", c.id)
	}
}

// outcome is how a story ends.
type outcome struct {
	outcome  journal.Outcome
	stage    journal.Stage
	hungUpBy journal.Party
	detail   string
}

var errHungUp = errors.New("the caller's leg is over")

// Arrive lives through one caller's visit and returns at its end. A panic in it
// ends this call as failed and nothing else.
func (r *Referee) Arrive(a Arrival) {
	if !r.inside.enter() {
		a.Leg.Hangup() // the journal has had its last fact
		return
	}
	defer r.inside.leave()
	if isFeature(a.Number) {
		r.feature(a)
		return
	}
	c := &call{
		r: r, id: newCallID(r.clock.now()), from: a, leg: a.Leg,
		stage: journal.Flow, verdicts: make(chan verdict, verdictsSize),
	}
	r.mu.Lock()
	r.calls[c.id] = c
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.calls, c.id)
		r.mu.Unlock()
	}()
	a.Leg.SetCall(string(c.id))
	defer c.lastWords()

	direction := ""
	if a.Agent != "" {
		direction = "internal"
		r.privateStarted(a.Agent)
		defer func() {
			untilFree(a.Leg)
			r.privateEnded(a.Agent)
		}()
	}
	r.tellAndWait(journal.CallArrived{Call: c.id, Number: a.Number, Caller: a.Caller, Name: a.Name, Trunk: a.Trunk, Agent: a.Agent, Direction: direction})
	c.end(c.story())
}

// story is the call from the door to the goodbye.
func (c *call) story() outcome {
	if c.r.closing.Err() != nil { // let in just before closing time
		return outcome{journal.Rejected, c.stage, journal.System, errClosing.Error()}
	}
	// Hanging up cancels the context.
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	defer context.AfterFunc(doneContext(c.leg.Done()), func() { cancel(errHungUp) })()
	defer context.AfterFunc(c.r.closing, func() { cancel(errClosing) })()

	if err := c.leg.Answer(ctx); err != nil {
		return c.cutShort(ctx, err)
	}
	c.r.Tell(journal.CallAnswered{Call: c.id})

	flow, ok := c.r.cfg.Numbers[c.from.Number]
	if !ok {
		return outcome{journal.Failed, c.stage, journal.System, "no flow for " + c.from.Number}
	}
	choice, err := flow.Run(ctx, c.leg.Audio(), trace{c})
	if err != nil {
		return c.cutShort(ctx, err)
	}
	c.language = choice.Language
	return c.wait(ctx, acd.QueueID(choice.Queue))
}

// cutShort is the outcome of a flow that did not come to its end.
func (c *call) cutShort(ctx context.Context, err error) outcome {
	select {
	case <-c.leg.Done():
		return c.gone(journal.LeftInFlow)
	default:
	}
	if errors.Is(context.Cause(ctx), errClosing) {
		c.goodbye("closing")
		return outcome{journal.Closed, c.stage, journal.System, errClosing.Error()}
	}
	c.r.log.Error("flow failed", "call", c.id, "error", err)
	c.goodbye("sorry_failed")
	return outcome{journal.Failed, c.stage, journal.System, err.Error()}
}

// gone is the outcome of a call whose leg is over: left if the caller hung up,
// else failed, since nobody wanted it to end.
func (c *call) gone(left journal.Outcome) outcome {
	by, detail := endedBy(c.leg, journal.Caller)
	if by != journal.Caller {
		left = journal.Failed
	}
	return outcome{left, c.stage, by, detail}
}

// endedBy says who ended a leg that is over: its party, or the system. A phone
// that only fell silent has not hung up.
func endedBy(leg Leg, party journal.Party) (by journal.Party, detail string) {
	byPeer, detail := leg.HungUp()
	if !byPeer || detail == "no ACK" || detail == "transport failed" {
		party = journal.System
	}
	return party, detail
}

// goodbye says a last prompt to a caller who is still there, within bounds.
func (c *call) goodbye(prompt string) {
	ctx, cancel := context.WithTimeout(c.r.cut, 15*time.Second)
	defer cancel()
	defer context.AfterFunc(doneContext(c.leg.Done()), cancel)()
	c.say(ctx, prompt)
}

// say plays a prompt in the caller's language.
func (c *call) say(ctx context.Context, prompt string) {
	clip, err := c.r.cfg.Prompts.Clip(c.speaks(), prompt)
	if err != nil {
		c.r.log.Error("prompt is missing", "prompt", prompt, "language", c.speaks(), "error", err)
		return
	}
	if err := c.leg.Audio().Say(ctx, clip); err != nil && ctx.Err() == nil {
		c.r.log.Warn("prompt was not played", "call", c.id, "prompt", prompt, "error", err)
	}
}

// speaks is the language to speak to the caller, before a choice English.
func (c *call) speaks() ivr.Language {
	if c.language == "" {
		return ivr.English
	}
	return c.language
}

// end hangs up and tells the call's one outcome, as the last fact of the call.
func (c *call) end(o outcome) {
	c.leg.Hangup()
	<-c.leg.Done()
	c.rings.Wait() // withdrawn by now; they tell of their legs
	c.r.legEnded(c.id, journal.Caller, "", c.leg)
	c.ended = true
	c.r.Tell(journal.CallEnded{Call: c.id, Outcome: o.outcome, Stage: o.stage, HungUpBy: o.hungUpBy, Detail: o.detail})
}

// lastWords turns a panic of the story into the outcome failed. The floor is
// told that the caller is gone, which ends what it had open for the call.
func (c *call) lastWords() {
	p := recover()
	if p == nil {
		return
	}
	c.r.log.Error("a call's story panicked", "call", c.id, "panic", p, "stack", string(debug.Stack()))
	c.leg.Hangup()
	c.r.Tell(acd.CallLeftQueue{Call: c.id, Result: acd.VisitFailed})
	c.r.tellAndWait(acd.CallerHungUp{Call: c.id})
	if !c.ended {
		c.end(outcome{journal.Failed, c.stage, journal.System, "internal error"})
	}
}

// untilFree gives a phone that we hung up the time to notice: many have one line
// and refuse an offer that overtakes our BYE. A phone that does not answer is
// not waited for long.
func untilFree(l Leg) {
	patience := time.NewTimer(500 * time.Millisecond)
	defer patience.Stop()
	select {
	case <-l.Settled():
	case <-patience.C:
	}
}

// legEnded tells what one party's leg was like.
func (r *Referee) legEnded(id acd.CallID, party journal.Party, agent acd.AgentID, leg Leg) {
	f := journal.LegEnded{Call: id, Party: party, Agent: agent, Leg: leg.ID()}
	_, f.Detail = leg.HungUp()
	if audio := leg.Audio(); audio != nil {
		s := audio.Stats()
		f.Codec = s.Codec.String()
		f.Sent, f.Received, f.Lost, f.RemoteLost = s.Sent, s.Received, s.Lost, s.RemoteLost
		f.Jitter, f.RoundTrip = s.Jitter, s.RoundTrip
	}
	r.Tell(f)
}

// trace writes down what a flow does.
type trace struct{ c *call }

func (t trace) Step(step string) { t.c.r.Tell(journal.StepEntered{Call: t.c.id, Step: step}) }

func (t trace) Digit(key byte) {
	t.c.r.Tell(journal.DigitPressed{Call: t.c.id, Key: string(rune(key)), Party: journal.Caller})
}

func (t trace) Language(lang string) {
	t.c.language = ivr.Language(lang)
	t.c.r.Tell(journal.LanguageChosen{Call: t.c.id, Language: lang})
}

// newCallID names a call by its time and 40 random bits: sortable for people,
// unique over restarts and nodes.
func newCallID(at time.Time) acd.CallID {
	var b [5]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return acd.CallID(at.Format("20060102T150405") + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:])))
}

// doneContext is a context that is done when the channel is closed.
func doneContext(done <-chan struct{}) context.Context {
	return chanContext{context.Background(), done}
}

type chanContext struct {
	context.Context
	done <-chan struct{}
}

func (c chanContext) Done() <-chan struct{} { return c.done }

func (c chanContext) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

// law is the codec in which a stream's recording is kept.
func law(s *media.Stream) media.Codec { return s.Stats().Codec }
