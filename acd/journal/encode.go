package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"hotline/acd"
)

// kinds is every fact that the journal can hold, by its type.
var kinds = []Fact{
	// events
	acd.Configured{}, acd.AgentSignedIn{}, acd.AgentPaused{}, acd.AgentSignedOut{}, acd.AgentReachable{},
	acd.PrivateCallStarted{}, acd.PrivateCallEnded{}, acd.WrapUpEnded{}, acd.CallQueued{}, acd.CallerHungUp{},
	acd.CallLeftQueue{}, acd.OfferAccepted{}, acd.OfferRefused{}, acd.AgentDropped{}, acd.CallConnected{},
	acd.TalkEnded{}, acd.Tick{},
	// commands
	acd.Offer{}, acd.Withdraw{}, acd.Connect{}, acd.LeaveQueue{}, acd.OfferEnded{}, acd.VisitEnded{}, acd.AgentChanged{},
	// the journal's own
	ServiceStarted{}, ServiceStopped{}, Heartbeat{}, Gap{}, AgentsNamed{},
	CallArrived{}, CallAnswered{}, StepEntered{}, DigitPressed{}, LanguageChosen{}, PhoneRang{}, HoldStarted{}, HoldEnded{},
	RecordingStarted{}, RecordingClosed{}, LegEnded{}, CallEnded{},
	DialogOpened{}, DialogClosed{}, FloorSnapshot{}, Alarm{},
}

var (
	kindOf = map[reflect.Type]string{}
	typeOf = func() map[string]reflect.Type {
		m := make(map[string]reflect.Type, len(kinds))
		for _, f := range kinds {
			t := reflect.TypeOf(f)
			m[t.Name()] = t
			kindOf[t] = t.Name()
		}
		return m
	}()
)

// Undecodable stands in a reader's hands for an entry that is damaged or of a
// kind that this program does not know. It is never written.
type Undecodable struct {
	Raw []byte // as stored; empty when the batch itself is missing
	Err string
}

// Kind is the name of a fact's type, e.g. "CallQueued"; empty if the journal
// does not know it.
func Kind(f Fact) string {
	return kindOf[reflect.TypeOf(f)]
}

// Encode makes the stored form of an entry: one line of JSON without the line
// end, {"at":…,"is":"CallQueued","fact":{…}}. It fails for a fact of unknown
// type (a pointer, for one) and for one that JSON can't hold.
func Encode(e Entry) ([]byte, error) {
	return appendEntry(nil, e)
}

const stampLayout = "2006-01-02T15:04:05.000000Z"

func appendEntry(b []byte, e Entry) ([]byte, error) {
	kind := Kind(e.Fact)
	if kind == "" {
		return nil, fmt.Errorf("encode entry: %T is not a fact", e.Fact)
	}
	at := e.At.UTC()
	if y := at.Year(); y < 0 || y > 9999 {
		return nil, fmt.Errorf("encode %s: its year is %d", kind, y)
	}
	fact, err := json.Marshal(e.Fact)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	b = append(b, `{"at":"`...)
	b = at.AppendFormat(b, stampLayout)
	b = append(b, `","is":"`...)
	b = append(b, kind...)
	b = append(b, `","fact":`...)
	b = append(b, fact...)
	return append(b, '}'), nil
}

// Decode reads what Encode made. Members that it does not know are ignored, so
// that an older program can read a newer one's facts.
func Decode(b []byte) (Entry, error) {
	var line struct {
		At   time.Time       `json:"at"`
		Is   string          `json:"is"`
		Fact json.RawMessage `json:"fact"`
	}
	if err := json.Unmarshal(b, &line); err != nil {
		return Entry{}, fmt.Errorf("decode entry: %w", err)
	}
	t, ok := typeOf[line.Is]
	if !ok {
		return Entry{}, fmt.Errorf("decode entry: unknown kind %q", line.Is)
	}
	if line.At.IsZero() {
		return Entry{}, fmt.Errorf("decode %s: no stamp", line.Is)
	}
	v := reflect.New(t)
	if len(line.Fact) == 0 || bytes.Equal(line.Fact, []byte("null")) {
		return Entry{}, fmt.Errorf("decode %s: no fact", line.Is)
	}
	if err := json.Unmarshal(line.Fact, v.Interface()); err != nil {
		return Entry{}, fmt.Errorf("decode %s: %w", line.Is, err)
	}
	return Entry{At: line.At.UTC(), Fact: v.Elem().Interface()}, nil
}
