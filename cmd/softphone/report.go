package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"hotline/sip/media"
)

// result says in one word how a call went.
type result string

// The results.
const (
	answered  result = "answered"  // there was a talk
	busy      result = "busy"      // 486, 600
	rejected  result = "rejected"  // any other refusal, also of our number or password
	noAnswer  result = "no_answer" // 480, 408, 487
	cancelled result = "cancelled" // the caller gave up while it rang
	failed    result = "failed"    // no connection, no response, 5xx, no common codec
)

// resultOf a final response to our INVITE.
func resultOf(code int) result {
	switch {
	case code/100 == 2:
		return answered
	case code == 486, code == 600:
		return busy
	case code == 480, code == 408, code == 487:
		return noAnswer
	case code == 488, code == 606, code/100 == 5:
		return failed
	}
	return rejected
}

// report is what happened, printed as the last line on standard output. Times are
// absent where the thing did not happen.
type report struct {
	Result     result    `json:"result"`
	Code       int       `json:"code,omitempty"` // last SIP status
	Reason     string    `json:"reason,omitempty"`
	Direction  string    `json:"direction,omitempty"` // "out" or "in"
	Peer       string    `json:"peer,omitempty"`      // who called, or whom we called
	PeerName   string    `json:"peer_name,omitempty"` // the display name of a caller
	CallID     string    `json:"call_id,omitempty"`
	DialedAt   time.Time `json:"dialed_at,omitzero"`  // INVITE sent
	ArrivedAt  time.Time `json:"arrived_at,omitzero"` // INVITE received
	RingingAt  time.Time `json:"ringing_at,omitzero"`
	AnsweredAt time.Time `json:"answered_at,omitzero"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	HungUpBy   string    `json:"hung_up_by,omitempty"` // "local" or "remote"
	RTP        *rtp      `json:"rtp,omitempty"`
	Codec      string    `json:"codec,omitempty"`
	Sent       string    `json:"digits_sent"`
	Received   string    `json:"digits_received"`
	Held       int       `json:"held,omitempty"` // how often the peer put us on hold
	Recorded   string    `json:"recorded,omitempty"`
	Error      string    `json:"error,omitempty"` // what was not in order
	Calls      []*report `json:"calls,omitempty"` // of an agent
}

// rtp are the figures of one stream.
type rtp struct {
	Sent     uint64  `json:"sent"` // packets
	Received uint64  `json:"received"`
	Lost     uint64  `json:"lost"`
	Late     uint64  `json:"late,omitempty"`
	Dropped  uint64  `json:"dropped,omitempty"` // junk, or not from the peer
	Jitter   float64 `json:"jitter_ms"`
}

func rtpOf(s media.Stats) *rtp {
	return &rtp{Sent: s.Sent, Received: s.Received, Lost: s.Lost, Late: s.Late, Dropped: s.Dropped, Jitter: float64(s.Jitter.Microseconds()) / 1000}
}

// fail notes the first thing that was not in order.
func (r *report) fail(err error) {
	if err != nil && r.Error == "" {
		r.Error = err.Error()
	}
}

// fine: answered, and ended in order.
func (r *report) fine() bool { return r.Result == answered && r.Error == "" }

// print writes the report as one line.
func (r *report) print(w io.Writer) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if _, err = fmt.Fprintf(w, "%s\n", b); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
