package ivr

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"hotline/sip/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errHungUp = errors.New("the caller hung up")

// caller is a person with a telephone, in a bubble of virtual time: what is said
// takes as long as it would.
type caller struct {
	t      *testing.T
	names  map[*media.Clip]string
	digits chan media.Digit
	said   chan string // what began to be said and was not waited for yet
	log    []string    // all that began to be said

	steps  []string
	keys   string
	langs  []string
	hangUp context.CancelCauseFunc
	done   chan struct{}
	choice Choice
	err    error
}

var builtIn = sync.OnceValues(BuiltIn)

func prompts(t testing.TB) *Prompts {
	p, err := builtIn()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// dials starts a call into the flow that build makes.
func dials(t *testing.T, build func(*Prompts) Flow) *caller {
	p := prompts(t)
	c := &caller{
		t:      t,
		names:  map[*media.Clip]string{p.pause: "-"},
		digits: make(chan media.Digit, 32),
		said:   make(chan string, 1000),
		done:   make(chan struct{}),
	}
	for l, clips := range p.clips {
		for name, clip := range clips {
			c.names[clip] = string(l) + "/" + name
		}
	}
	flow := build(p)
	ctx, hangUp := context.WithCancelCause(t.Context())
	c.hangUp = hangUp
	go func() {
		defer close(c.done)
		c.choice, c.err = flow.Run(ctx, c, c)
	}()
	return c
}

func (c *caller) Say(ctx context.Context, clips ...*media.Clip) error {
	for _, clip := range clips {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if name := c.names[clip]; name != "-" {
			c.log = append(c.log, name)
			c.said <- name
		}
		end := time.NewTimer(clip.Duration())
		select {
		case <-end.C:
		case <-ctx.Done():
			end.Stop()
			return context.Cause(ctx)
		}
	}
	return nil
}

func (c *caller) Digits() <-chan media.Digit { return c.digits }
func (c *caller) Step(step string)           { c.steps = append(c.steps, step) }
func (c *caller) Digit(key byte)             { c.keys += string(key) }
func (c *caller) Language(lang string)       { c.langs = append(c.langs, lang) }

// hears waits until one of the prompts begins.
func (c *caller) hears(prompt string) {
	c.t.Helper()
	for {
		select {
		case name := <-c.said:
			if name == prompt {
				return
			}
		case <-c.done:
			c.t.Fatalf("the flow ended (%+v, %v) and never said %s; it said %v", c.choice, c.err, prompt, c.log)
		}
	}
}

// listens lets time pass.
func (c *caller) listens(d time.Duration) {
	time.Sleep(d) // of the bubble
	synctest.Wait()
}

func (c *caller) presses(keys string) {
	for _, key := range []byte(keys) {
		c.digits <- media.Digit{Key: key, At: time.Now()}
	}
	synctest.Wait()
}

// hangsUp expects the flow to end at this very moment.
func (c *caller) hangsUp() {
	c.t.Helper()
	c.hangUp(errHungUp)
	synctest.Wait()
	select {
	case <-c.done:
	default:
		c.t.Fatal("the flow goes on after the caller hung up")
	}
}

// reaches expects the flow to lead there, whenever that is.
func (c *caller) reaches(lang Language, queue string) {
	c.t.Helper()
	<-c.done
	if want := (Choice{lang, queue}); c.err != nil || c.choice != want {
		c.t.Errorf("the flow led to %+v, %v; want %+v", c.choice, c.err, want)
	}
	if lang != "" && !slices.Equal(c.langs, []string{string(lang)}) {
		c.t.Errorf("the trace was told of the languages %q, want %q", c.langs, lang)
	}
}

// reachesNow expects the flow to have led there already.
func (c *caller) reachesNow(lang Language, queue string) {
	c.t.Helper()
	synctest.Wait()
	select {
	case <-c.done:
	default:
		c.t.Fatalf("the flow still runs; it said %v", c.log)
	}
	c.reaches(lang, queue)
}

func (c *caller) heard(prompts ...string) {
	c.t.Helper()
	if !slices.Equal(c.log, prompts) {
		c.t.Errorf("the caller heard\n\t%v\nwant\n\t%v", c.log, prompts)
	}
}
