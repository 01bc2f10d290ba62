package sip

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	sipmsg "github.com/emiago/sipgo/sip"
)

// crashSeq is how far ahead of the last CSeq that was written down a later run's BYE is. The dead process may have sent requests since.
const crashSeq = 1000

// ByeAfterCrash sends one BYE for a dialog of an earlier run, as OnDialog gave its state, so that the peer does not stay in a call with
// nobody. It waits for the peer's final response; any is good, 481 as well. The endpoint must be serving.
func (e *Endpoint) ByeAfterCrash(ctx context.Context, state json.RawMessage) error {
	var d dialog
	dec := json.NewDecoder(bytes.NewReader(state))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return fmt.Errorf("dialog of an earlier run: %w", err)
	}
	if d.CallID == "" || d.LocalTag == "" || d.Target == "" {
		return fmt.Errorf("dialog of an earlier run: Call-ID, tag or target is missing")
	}
	if d.Transport != "udp" && d.Transport != "tcp" {
		return fmt.Errorf("dialog of an earlier run: unknown transport %q", d.Transport)
	}
	d.LocalSeq += crashSeq
	req := d.next(e, sipmsg.BYE)
	if _, err := e.exchange(ctx, req); err != nil {
		return fmt.Errorf("BYE to %s: %w", short(d.Target), err)
	}
	return nil
}
