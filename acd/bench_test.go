package acd_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"hotline/acd"
)

// BenchmarkStep plays a busy hour: every agent has a call and callers wait. In
// each round a talk ends, its wrap-up is ended, the agent is offered the next
// caller, answers and is connected, and a new caller joins: 5 events. Reported
// are the time per event and the 99th percentile of one Step.
func BenchmarkStep(b *testing.B) {
	for _, size := range []struct{ agents, waiting, queues, skills int }{
		{100, 1_000, 20, 10},
		{1_000, 10_000, 200, 50},
	} {
		b.Run(fmt.Sprintf("%d_agents_%d_waiting", size.agents, size.waiting), func(b *testing.B) {
			benchmarkStep(b, size.agents, size.waiting, size.queues, size.skills)
		})
	}
}

func benchmarkStep(b *testing.B, agents, waiting, queues, skills int) {
	skill := func(n int) string { return fmt.Sprint("skill", n%skills) }
	languages := []string{"vi", "en", "zh"}
	var config acd.Config
	for i := range queues {
		config.Queues = append(config.Queues, acd.Queue{
			ID: queueName(i), Weight: i % 3, WrapUp: time.Minute,
			Needs: []acd.Need{{Skill: skill(i), AtLeast: 1 + i%3}},
		})
	}
	for i := range agents {
		a := acd.Agent{ID: acd.AgentID(fmt.Sprint("agent", i))}
		for k := range 5 {
			a.Skills = append(a.Skills, acd.Skill{Name: skill(i + k*7), Level: 3 + (i+k)%8})
		}
		for k, language := range languages {
			if (i+k)%3 != 0 {
				a.Skills = append(a.Skills, acd.Skill{Name: language, Level: 5})
			}
		}
		config.Agents = append(config.Agents, a)
	}
	now := opening
	f := acd.New()
	f.Step(now, acd.Configured{Config: config})
	for _, a := range config.Agents {
		f.Step(now, acd.AgentReachable{Agent: a.ID, Reachable: true})
		f.Step(now, acd.AgentSignedIn{Agent: a.ID})
	}
	type talk struct {
		call  acd.CallID
		agent acd.AgentID
	}
	var talks []talk
	calls := make([]acd.CallID, 1<<18) // names, made before the clock runs
	for i := range calls {
		calls[i] = acd.CallID(fmt.Sprint("call", i))
	}
	queueNames := make([]acd.QueueID, queues)
	for i := range queueNames {
		queueNames[i] = queueName(i)
	}
	needs := make([][]acd.Need, len(languages))
	for i, language := range languages {
		needs[i] = []acd.Need{{Skill: language, AtLeast: 1}}
	}

	took := make([]time.Duration, 0, b.N+8)
	counting := false
	step := func(ev acd.Event) []acd.Command {
		start := time.Now()
		commands := f.Step(now, ev)
		if counting {
			took = append(took, time.Since(start))
		}
		return commands
	}
	serve := func(commands []acd.Command) {
		for _, c := range slices.Clone(commands) {
			if o, ok := c.(acd.Offer); ok {
				step(acd.OfferAccepted{Offer: o.Offer})
				step(acd.CallConnected{Offer: o.Offer})
				talks = append(talks, talk{o.Call, o.Agent})
			}
		}
	}
	arrived := 0
	arrive := func() {
		i := arrived
		arrived++
		serve(step(acd.CallQueued{
			Call: calls[i%len(calls)], Queue: queueNames[i*31%queues], Needs: needs[i/queues%3], Priority: i % 7 / 6,
		}))
	}
	for len(f.Waiting()) < waiting {
		for range 1 + waiting/20 {
			now = now.Add(time.Millisecond)
			arrive()
		}
	}

	b.ReportAllocs()
	b.ResetTimer()
	counting = true
	for len(took) < b.N {
		now = now.Add(10 * time.Millisecond)
		over := talks[0]
		talks = talks[1:]
		step(acd.TalkEnded{Call: over.call, Agent: over.agent})
		serve(step(acd.WrapUpEnded{Agent: over.agent}))
		arrive()
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "p99-µs")
	b.ReportMetric(float64(len(f.Waiting())), "waiting")
}

func queueName(i int) acd.QueueID { return acd.QueueID(fmt.Sprint("queue", i)) }
