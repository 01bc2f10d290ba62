package acd_test

import (
	"strings"
	"testing"
	"time"

	"hotline/acd"
)

func TestRestoreRefusesContradictions(t *testing.T) {
	const now = `"format":1,"now":"2026-03-02T08:00:00Z","last_offer":1,"last_arrival":1,`
	const queues = `"queues":[{"id":"support"}],`
	const call = `"visits":[{"call":"c1","queue":"support","since":"2026-03-02T07:59:00Z","arrival":1`
	tests := []struct{ name, snapshot, says string }{
		{"no JSON", `floor`, "invalid character"},
		{"another format", `{"format":2}`, "format 2"},
		{"queue twice", `{` + now + `"queues":[{"id":"a"},{"id":"a"}]}`, `queue "a" twice`},
		{"agent twice", `{` + now + `"agents":[{"id":"a","presence":"Ready","work":"Idle"},{"id":"a","presence":"Ready","work":"Idle"}]}`, `agent "a" twice`},
		{"presence", `{` + now + `"agents":[{"id":"a","presence":"Asleep","work":"Idle"}]}`, "Asleep"},
		{"work", `{` + now + `"agents":[{"id":"a","presence":"Ready","work":"Dreaming"}]}`, "Dreaming"},
		{"offered without offer", `{` + now + `"agents":[{"id":"a","presence":"Ready","work":"Offered"}]}`, "without an offer"},
		{"talk in no queue", `{` + now + `"agents":[{"id":"a","presence":"Ready","work":"Talking","call":"c1","queue":"support"}]}`, "unknown queue"},
		{"two talk", `{` + now + queues + `"agents":[
			{"id":"a","presence":"Ready","work":"Talking","call":"c1","queue":"support"},
			{"id":"b","presence":"Ready","work":"Talking","call":"c1","queue":"support"}]}`, "two agents"},
		{"wrap-up without end", `{` + now + queues + `"agents":[{"id":"a","presence":"Ready","work":"WrapUp","queue":"support"}]}`, "without end"},
		{"removed and idle", `{` + now + `"agents":[{"id":"a","presence":"Ready","work":"Idle","removed":true}]}`, "removed"},
		{"waits nowhere", `{` + now + call + `}]}`, "unknown queue"},
		{"waits where it talks", `{` + now + queues + `"agents":[{"id":"a","presence":"Ready","work":"Talking","call":"c1","queue":"support"}],` + call + `}]}`, "twice"},
		{"offer to nobody", `{` + now + queues + call + `,"offers":[{"offer":1,"agent":"a"}]}]}`, "not Offered"},
		{"offer not made", `{` + now + queues + `"agents":[{"id":"a","presence":"Ready","work":"Offered"}],` + call + `,"offers":[{"offer":9,"agent":"a"}]}]}`, "not made"},
		{"waits where nobody can", `{` + now + `"queues":[{"id":"support","removed":true}],` + call + `}]}`, "removed queue"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := acd.Restore([]byte(test.snapshot))
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want an error with %q", err, test.says)
			}
		})
	}
}

// FuzzRestore: bytes from anywhere either are refused or give a floor that
// works and can be written again.
func FuzzRestore(f *testing.F) {
	l := newLedger(f)
	playDay(l, randomBytes(2, 400))
	b, err := l.floor.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1,"agents":[{"id":"a","presence":"Ready","work":"Idle","reachable":true}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		floor, err := acd.Restore(b)
		if err != nil {
			return
		}
		floor.Agents()
		floor.Waiting()
		at, _ := floor.Deadline()
		for _, ev := range []acd.Event{
			acd.Tick{}, acd.OfferAccepted{Offer: 1}, acd.CallerHungUp{Call: "c1"}, acd.Configured{},
		} {
			floor.Step(at, ev)
			at = at.Add(time.Minute)
		}
		if b, err = floor.Snapshot(); err != nil {
			return // a year that JSON can't say
		}
		if _, err = acd.Restore(b); err != nil {
			t.Errorf("own snapshot refused: %v\n%s", err, b)
		}
	})
}

// TestAnyEventIsLegal: nothing at all, pointers and wild values do no harm.
func TestAnyEventIsLegal(t *testing.T) {
	f := acd.New()
	far := time.Unix(1<<60, 0)
	wild := acd.Config{
		Queues: []acd.Queue{{RingFor: 1<<63 - 1, WrapUp: 1<<63 - 1, MaxWait: 1<<63 - 1, HeadStart: 1<<63 - 1, MaxLength: -1}, {}},
		Agents: []acd.Agent{{}, {}},
	}
	for _, at := range []time.Time{{}, opening, far, opening} {
		for _, ev := range []acd.Event{
			nil, &acd.Tick{}, acd.Configured{Config: wild}, acd.AgentReachable{Reachable: true}, acd.AgentSignedIn{},
			acd.CallQueued{Priority: 1 << 62}, acd.OfferAccepted{Offer: 1}, acd.CallConnected{Offer: 1}, acd.TalkEnded{},
			acd.CallQueued{Call: "c1", Priority: -1 << 62}, acd.WrapUpEnded{}, acd.Tick{}, acd.Configured{},
		} {
			f.Step(at, ev)
		}
	}
}
