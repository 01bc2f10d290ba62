package acd_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"hotline/acd"
)

// FuzzFloor reads bytes as a day in a small centre, in which anything may
// happen at any time, and holds every Step against the rules.
//
//	go test ./acd -fuzz FuzzFloor -fuzztime 1m
func FuzzFloor(f *testing.F) {
	for seed := range uint64(3) {
		f.Add(randomBytes(seed, 120))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		playDay(newLedger(t), b[:min(len(b), 2000)])
	})
}

var (
	seedFlag = flag.Uint64("seed", 0, "repeat TestRandomDays with this seed only")
	daysFlag = flag.Int("days", 20, "how many days TestRandomDays plays")
)

// TestRandomDays plays days at random, each with its own seed.
func TestRandomDays(t *testing.T) {
	first, days := uint64(time.Now().UnixNano()), *daysFlag
	if *seedFlag != 0 {
		first, days = *seedFlag, 1
	}
	for i := range days {
		seed := first + uint64(i)
		ok := t.Run("", func(t *testing.T) { playDay(newLedger(t), randomBytes(seed, 3000)) })
		if !ok {
			t.Fatalf("repeat with: go test ./acd -run TestRandomDays -seed=%d", seed)
		}
	}
}

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// dice turns bytes into choices; after the last byte every choice is the first.
type dice struct{ b []byte }

func (d *dice) of(n int) int {
	if len(d.b) == 0 {
		return 0
	}
	v := int(d.b[0]) % n
	d.b = d.b[1:]
	return v
}

func (d *dice) agent() acd.AgentID {
	return acd.AgentID([]string{"anna", "ben", "chi", "dung", "emil"}[d.of(5)])
}
func (d *dice) call() acd.CallID { return acd.CallID(fmt.Sprint("c", d.of(9))) }
func (d *dice) queue() acd.QueueID {
	return acd.QueueID([]string{"support", "payments", "vip", "sales"}[d.of(4)])
}

func (d *dice) needs() []acd.Need {
	var needs []acd.Need
	for range []int{0, 0, 0, 1, 1, 2}[d.of(6)] {
		needs = append(needs, acd.Need{Skill: []string{"vi", "en"}[d.of(2)], AtLeast: d.of(4)})
	}
	return needs
}

func (d *dice) config() acd.Config {
	var c acd.Config
	for _, id := range []acd.QueueID{"support", "payments", "vip", "sales"} {
		if d.of(5) == 0 {
			continue
		}
		q := acd.Queue{ID: id, Weight: d.of(2), Needs: d.needs()}
		q.RingFor = []time.Duration{0, 5 * time.Second, 20 * time.Second, -1}[d.of(4)]
		q.WrapUp = []time.Duration{0, 5 * time.Second, 30 * time.Second}[d.of(3)]
		q.MaxWait = []time.Duration{0, 20 * time.Second, time.Minute}[d.of(3)]
		q.MaxLength = []int{0, 0, 2, 4}[d.of(4)]
		q.HeadStart = []time.Duration{0, time.Second}[d.of(2)]
		q.MissedToPause = d.of(3)
		c.Queues = append(c.Queues, q)
	}
	for _, id := range []acd.AgentID{"emil", "anna", "chi", "ben", "dung"} {
		if d.of(6) == 0 {
			continue
		}
		a := acd.Agent{ID: id}
		for _, skill := range []string{"vi", "en"} {
			if level := d.of(5); level > 0 {
				a.Skills = append(a.Skills, acd.Skill{Name: skill, Level: level})
			}
		}
		c.Agents = append(c.Agents, a)
	}
	return c
}

// offer is mostly one of the last ones, which may be open, ended or not made.
func (d *dice) offer(l *ledger) acd.OfferID {
	return max(l.lastOffer+1, acd.OfferID(d.of(7))) - acd.OfferID(d.of(7))
}

func playDay(l *ledger, b []byte) {
	l.t.Helper()
	d := &dice{b}
	l.step(l.now, acd.Configured{Config: d.config()})
	for _, a := range []acd.AgentID{"anna", "ben", "chi"} {
		l.step(l.now, acd.AgentReachable{Agent: a, Reachable: true})
		l.step(l.now, acd.AgentSignedIn{Agent: a})
	}
	for len(d.b) > 0 {
		at := l.now.Add([]time.Duration{0, time.Millisecond, time.Second, 4 * time.Second, -time.Second}[d.of(5)])
		var ev acd.Event
		switch d.of(26) {
		case 0: // the clock goes on, ticking at each deadline
			end := l.now.Add(time.Duration(d.of(60)) * time.Second)
			for {
				due, ok := l.floor.Deadline()
				if !ok || due.After(end) {
					break
				}
				l.step(due, acd.Tick{})
			}
			ev, at = acd.Tick{}, end
		case 1: // the clock jumps, to a deadline or anywhere
			at = l.now.Add(time.Duration(d.of(100)) * time.Second)
			if due, ok := l.floor.Deadline(); ok && d.of(2) == 0 {
				at = due
			}
			ev = acd.Tick{}
			if d.of(2) == 0 {
				ev = acd.OfferAccepted{Offer: d.offer(l)}
			}
		case 2:
			if d.of(4) == 0 {
				ev = acd.Configured{Config: d.config()}
			} else {
				l.restart()
				continue
			}
		case 3:
			ev = acd.AgentPaused{Agent: d.agent(), Reason: "tea"}
		case 4:
			ev = acd.AgentSignedOut{Agent: d.agent()}
		case 5, 6, 7:
			ev = acd.AgentSignedIn{Agent: d.agent()}
		case 8, 9:
			ev = acd.AgentReachable{Agent: d.agent(), Reachable: d.of(4) > 0}
		case 10:
			ev = acd.PrivateCallStarted{Agent: d.agent()}
		case 11:
			ev = acd.PrivateCallEnded{Agent: d.agent()}
		case 12:
			ev = acd.WrapUpEnded{Agent: d.agent()}
		case 13, 14, 15, 16:
			ev = acd.CallQueued{Call: d.call(), Queue: d.queue(), Needs: d.needs(), Priority: d.of(14) - 2}
		case 17:
			ev = acd.CallerHungUp{Call: d.call()}
		case 18:
			ev = acd.CallLeftQueue{Call: d.call(), Result: []acd.VisitResult{acd.VisitKey, acd.VisitAnswered, ""}[d.of(3)]}
		case 19, 20:
			ev = acd.OfferAccepted{Offer: d.offer(l)}
		case 21, 22:
			ev = acd.CallConnected{Offer: d.offer(l)}
		case 23:
			ev = acd.OfferRefused{Offer: d.offer(l), Result: []acd.OfferResult{
				acd.OfferBusy, acd.OfferRejected, acd.OfferUnreachable, acd.OfferNoAnswer, acd.OfferFailed, "shaken",
			}[d.of(6)]}
		case 24:
			ev = acd.AgentDropped{Offer: d.offer(l)}
		case 25:
			ev = acd.TalkEnded{Call: d.call(), Agent: d.agent()}
		}
		l.step(at, ev)
	}
}
