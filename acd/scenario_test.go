package acd_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hotline/acd"
)

var update = flag.Bool("update", false, "write what the floor does now into testdata")

// TestScenarios plays the scripts of testdata. A script is made of blocks:
// lines that say what happens, a line of dashes, and what the floor decides.
// Text after # is a remark.
//
//	queue support support>=1 ring=20s wrap-up=10s     a queue of the configuration
//	agent anna support=5 vi=8                         an agent with skills
//	no queue support, no agent anna                   taken out again
//	0s  configured                                    the configuration takes effect
//	0s  anna ready                                    phone reachable, then signed in
//	5s  c1 joins support vi>=2 priority=3
//	9s  offer 1 accepted
//
// Up to the time of a line the clock ticks at every deadline, so that what is
// due happens at its time; what is due at the very time of the line is done
// together with it. A line that begins with "late" jumps there without a tick.
//
// Every script runs twice: the second time the floor is written to a snapshot
// and restored before each line, and must do the same.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 25 {
		t.Fatalf("found %d scripts (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playScript(t, string(text), false)
			if again := playScript(t, string(text), true); again != got {
				t.Errorf("%s: a restored floor does something else:\n%s", file, firstDifference(got, again))
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("%s:%s\nIf the new behaviour is right: go test ./acd -run TestScenarios -update", file, firstDifference(string(text), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := "(end)", "(end)"
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("%d\nwant: %s\n got: %s", i+1, a, b)
		}
	}
	return ""
}

// playScript returns the script with the decisions that the floor took.
func playScript(t *testing.T, text string, restoring bool) string {
	s := &script{t: t, floor: acd.New(), restoring: restoring}
	var out strings.Builder
	expected := false // in the part of a block that is replaced
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			expected = false
		}
		if expected {
			continue
		}
		out.WriteString(line + "\n")
		if line == "----" {
			expected = true
			for _, decision := range s.trace {
				out.WriteString(decision + "\n")
			}
			s.trace = nil
			continue
		}
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			if err := s.play(words); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
	}
	return out.String()
}

// script is a floor with the clock and the configuration of a scenario.
type script struct {
	t         *testing.T
	floor     *acd.Floor
	now       time.Time
	config    acd.Config
	restoring bool
	trace     []string
}

// opening is when all scenarios begin; the floor only knows later and earlier.
var opening = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

func (s *script) play(words []string) error {
	switch words[0] {
	case "queue":
		return s.addQueue(words[1:])
	case "agent":
		return s.addAgent(words[1:])
	case "no":
		s.config.Queues = slices.DeleteFunc(s.config.Queues, func(q acd.Queue) bool {
			return words[1] == "queue" && string(q.ID) == words[2]
		})
		s.config.Agents = slices.DeleteFunc(s.config.Agents, func(a acd.Agent) bool {
			return words[1] == "agent" && string(a.ID) == words[2]
		})
		return nil
	}
	late := words[0] == "late"
	if late {
		words = words[1:]
	}
	after, err := time.ParseDuration(words[0])
	if err != nil {
		return err
	}
	if s.restoring {
		s.restart()
	}
	s.advance(opening.Add(after), late)
	return s.happen(words[1:])
}

func (s *script) restart() {
	b, err := s.floor.Snapshot()
	if err != nil {
		s.t.Fatal(err)
	}
	if s.floor, err = acd.Restore(b); err != nil {
		s.t.Fatalf("%v\n%s", err, b)
	}
}

func (s *script) advance(to time.Time, late bool) {
	for !late {
		at, ok := s.floor.Deadline()
		if !ok || !at.Before(to) {
			break
		}
		s.now = at
		s.step(acd.Tick{})
	}
	s.now = to
}

func (s *script) step(ev acd.Event) {
	for _, c := range s.floor.Step(s.now, ev) {
		s.note(s.describe(c))
	}
}

func (s *script) note(text string) {
	s.trace = append(s.trace, fmt.Sprintf("%-5s %s", s.clock(s.now), text))
}

func (s *script) clock(t time.Time) string { return t.Sub(opening).String() }

// happen performs one line after its time.
func (s *script) happen(words []string) error {
	line := strings.Join(words, " ")
	who, what, _ := strings.Cut(line, " ")
	agent, call := acd.AgentID(who), acd.CallID(who)
	switch {
	case line == "tick":
		s.step(acd.Tick{})
	case line == "configured":
		s.step(acd.Configured{Config: s.config})
	case line == "restart":
		s.restart()
	case line == "show agents":
		for _, a := range s.floor.Agents() {
			s.note(string(a.Agent) + " is " + s.state(acd.AgentChanged{
				Presence: a.Presence, Reason: a.Reason, Work: a.Work, Reachable: a.Reachable,
				Private: a.Private, Call: a.Call, Queue: a.Queue, Until: a.Until,
			}))
		}
	case line == "show waiting":
		for _, w := range s.floor.Waiting() {
			text := fmt.Sprintf("%s is number %d in %s since %s", w.Call, w.Position, w.Queue, s.clock(w.Since))
			if w.Answering {
				text += ", being answered"
			} else if w.Ringing {
				text += ", being rung for"
			}
			s.note(text)
		}
	case line == "show deadline":
		if at, ok := s.floor.Deadline(); ok {
			s.note("deadline " + s.clock(at))
		} else {
			s.note("no deadline")
		}

	case who == "offer":
		return s.offer(words[1:])

	case what == "ready":
		s.step(acd.AgentReachable{Agent: agent, Reachable: true})
		s.step(acd.AgentSignedIn{Agent: agent})
	case what == "signs in":
		s.step(acd.AgentSignedIn{Agent: agent})
	case what == "signs out":
		s.step(acd.AgentSignedOut{Agent: agent})
	case strings.HasPrefix(what, "pauses "):
		s.step(acd.AgentPaused{Agent: agent, Reason: strings.TrimPrefix(what, "pauses ")})
	case what == "reachable" || what == "unreachable":
		s.step(acd.AgentReachable{Agent: agent, Reachable: what == "reachable"})
	case what == "private call starts":
		s.step(acd.PrivateCallStarted{Agent: agent})
	case what == "private call ends":
		s.step(acd.PrivateCallEnded{Agent: agent})
	case what == "ends wrap-up":
		s.step(acd.WrapUpEnded{Agent: agent})

	case strings.HasPrefix(what, "joins "):
		return s.join(call, words[2:])
	case what == "hangs up":
		s.step(acd.CallerHungUp{Call: call})
	case strings.HasPrefix(what, "leaves by "):
		s.step(acd.CallLeftQueue{Call: call, Result: acd.VisitResult(words[3])})
	case strings.HasPrefix(what, "ends with "):
		s.step(acd.TalkEnded{Call: call, Agent: acd.AgentID(words[3])})
	default:
		return fmt.Errorf("unknown words %q", line)
	}
	return nil
}

func (s *script) offer(words []string) error {
	n, err := strconv.ParseUint(words[0], 10, 64)
	if err != nil {
		return err
	}
	id := acd.OfferID(n)
	switch words[1] {
	case "accepted":
		s.step(acd.OfferAccepted{Offer: id})
	case "connected":
		s.step(acd.CallConnected{Offer: id})
	case "answered": // both, as on a good day
		s.step(acd.OfferAccepted{Offer: id})
		s.step(acd.CallConnected{Offer: id})
	case "dropped":
		s.step(acd.AgentDropped{Offer: id})
	case "refused":
		s.step(acd.OfferRefused{Offer: id, Result: acd.OfferResult(words[2])})
	default:
		return fmt.Errorf("unknown word %q", words[1])
	}
	return nil
}

func (s *script) join(call acd.CallID, words []string) error {
	ev := acd.CallQueued{Call: call, Queue: acd.QueueID(words[0])}
	for _, w := range words[1:] {
		if p, ok := strings.CutPrefix(w, "priority="); ok {
			n, err := strconv.Atoi(p)
			if err != nil {
				return err
			}
			ev.Priority = n
			continue
		}
		need, err := parseNeed(w)
		if err != nil {
			return err
		}
		ev.Needs = append(ev.Needs, need)
	}
	s.step(ev)
	return nil
}

func parseNeed(w string) (acd.Need, error) {
	skill, level, ok := strings.Cut(w, ">=")
	n, err := strconv.Atoi(level)
	if !ok || err != nil {
		return acd.Need{}, fmt.Errorf("%q is no need such as vi>=2", w)
	}
	return acd.Need{Skill: skill, AtLeast: n}, nil
}

func (s *script) addQueue(words []string) error {
	q := acd.Queue{ID: acd.QueueID(words[0])}
	for _, w := range words[1:] {
		if strings.Contains(w, ">=") {
			need, err := parseNeed(w)
			if err != nil {
				return err
			}
			q.Needs = append(q.Needs, need)
			continue
		}
		key, value, _ := strings.Cut(w, "=")
		d, notTime := time.ParseDuration(value)
		n, notNumber := strconv.Atoi(value)
		err := notTime
		switch key {
		case "ring":
			q.RingFor = d
		case "wrap-up":
			q.WrapUp = d
		case "max-wait":
			q.MaxWait = d
		case "head-start":
			q.HeadStart = d
		case "max-length":
			q.MaxLength, err = n, notNumber
		case "weight":
			q.Weight, err = n, notNumber
		case "missed-to-pause":
			q.MissedToPause, err = n, notNumber
		default:
			err = fmt.Errorf("unknown key %q", key)
		}
		if err != nil {
			return err
		}
	}
	i := slices.IndexFunc(s.config.Queues, func(old acd.Queue) bool { return old.ID == q.ID })
	if i >= 0 {
		s.config.Queues[i] = q
	} else {
		s.config.Queues = append(s.config.Queues, q)
	}
	return nil
}

func (s *script) addAgent(words []string) error {
	a := acd.Agent{ID: acd.AgentID(words[0])}
	for _, w := range words[1:] {
		skill, level, _ := strings.Cut(w, "=")
		n, err := strconv.Atoi(level)
		if err != nil {
			return err
		}
		a.Skills = append(a.Skills, acd.Skill{Name: skill, Level: n})
	}
	i := slices.IndexFunc(s.config.Agents, func(old acd.Agent) bool { return old.ID == a.ID })
	if i >= 0 {
		s.config.Agents[i] = a
	} else {
		s.config.Agents = append(s.config.Agents, a)
	}
	return nil
}

// describe says a command as a supervisor would.
func (s *script) describe(c acd.Command) string {
	switch c := c.(type) {
	case acd.Offer:
		return fmt.Sprintf("offer %d: ring %s for %s of %s until %s", c.Offer, c.Agent, c.Call, c.Queue, s.clock(c.Until))
	case acd.Withdraw:
		return fmt.Sprintf("offer %d: withdraw %s from %s: %s", c.Offer, c.Call, c.Agent, c.Result)
	case acd.Connect:
		return fmt.Sprintf("offer %d: connect %s of %s with %s", c.Offer, c.Call, c.Queue, c.Agent)
	case acd.OfferEnded:
		return fmt.Sprintf("offer %d of %s (%s) to %s ended: %s", c.Offer, c.Call, c.Queue, c.Agent, c.Result)
	case acd.LeaveQueue:
		return fmt.Sprintf("%s must leave %s: %s", c.Call, c.Queue, c.Result)
	case acd.VisitEnded:
		text := fmt.Sprintf("%s left %s after %s: %s", c.Call, c.Queue, c.Waited, c.Result)
		if c.Agent != "" {
			text += " by " + string(c.Agent)
		}
		return text
	case acd.AgentChanged:
		return fmt.Sprintf("%s is %s", c.Agent, s.state(c))
	}
	return fmt.Sprintf("%#v", c)
}

func (s *script) state(c acd.AgentChanged) string {
	text := string(c.Presence)
	if c.Reason != "" {
		text += "(" + c.Reason + ")"
	}
	text += ", " + string(c.Work)
	if c.Call != "" {
		text += fmt.Sprintf(" %s of %s", c.Call, c.Queue)
	}
	if !c.Until.IsZero() {
		text += " until " + s.clock(c.Until)
		if c.Work == acd.Idle {
			text = strings.Replace(text, "Idle until", "Idle, rests until", 1)
		}
	}
	if !c.Reachable {
		text += ", unreachable"
	}
	if c.Private {
		text += ", in a private call"
	}
	return text
}
