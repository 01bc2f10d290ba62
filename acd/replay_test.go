package acd_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"hotline/acd"
)

// TestReplay: the same events at the same times give the same commands, byte
// for byte, in this process and in every other one.
func TestReplay(t *testing.T) {
	type input struct {
		at time.Time
		ev acd.Event
	}
	var recorded []input
	l := newLedger(t)
	l.told = func(at time.Time, ev acd.Event) { recorded = append(recorded, input{at, ev}) }
	playDay(l, randomBytes(1, 6000))

	digest := func(restoring bool) string {
		f, h := acd.New(), sha256.New()
		for i, r := range recorded {
			if restoring && i%7 == 0 {
				b, err := f.Snapshot()
				if err != nil {
					t.Fatal(err)
				}
				if f, err = acd.Restore(b); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range f.Step(r.at, r.ev) {
				b, err := json.Marshal(c)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(h, "%T%s\n", c, b)
			}
		}
		return hex.EncodeToString(h.Sum(nil))
	}
	got := digest(false)
	if again := digest(false); again != got {
		t.Errorf("the replay decides otherwise: %s, then %s", got, again)
	}
	if restored := digest(true); restored != got {
		t.Errorf("restored on the way it decides otherwise: %s, then %s", got, restored)
	}

	const file = "testdata/replay.sha256"
	if *update {
		if err := os.WriteFile(file, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(want)) != got {
		t.Errorf("the day of %d events gives other decisions than before.\nIf they are right: go test ./acd -run TestReplay -update", len(recorded))
	}
}
