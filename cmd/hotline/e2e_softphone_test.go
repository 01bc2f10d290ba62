//go:build e2e

package main_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// softphone is a run of our own headless phone, as a caller or an agent.
type softphone struct {
	*program
	c *centre
}

// whatHappened is the softphone's line of JSON, as far as the tests read it.
type whatHappened struct {
	Result     string
	Code       int
	Peer       string
	PeerName   string    `json:"peer_name"`
	DialedAt   time.Time `json:"dialed_at"`
	RingingAt  time.Time `json:"ringing_at"`
	AnsweredAt time.Time `json:"answered_at"`
	EndedAt    time.Time `json:"ended_at"`
	HungUpBy   string    `json:"hung_up_by"`
	Codec      string
	Received   string `json:"digits_received"`
	Held       int
	Error      string
	RTP        struct{ Sent, Received, Lost int }
	Calls      []whatHappened
}

// calls dials a number from a number. options are those of `softphone call`.
func (c *centre) calls(from, number string, options ...string) *softphone {
	c.t.Helper()
	args := append([]string{"call", c.address(number), "--from", from}, options...)
	return &softphone{starts(c.t, "softphone of "+from, ourCommand(c.t, "softphone", args...)), c}
}

// softphoneAgent registers and signs in. options are those of `softphone agent`.
func (c *centre) softphoneAgent(extension string, options ...string) *softphone {
	c.t.Helper()
	args := append([]string{
		"agent", "--registrar", "sip:" + fmt.Sprint(c.ip), "--user", extension, "--password", "demo-" + extension, "--dial", "*11",
	}, options...)
	s := &softphone{starts(c.t, "softphone "+extension, ourCommand(c.t, "softphone", args...)), c}
	c.agent("a"+extension, "Idle")
	return s
}

// hangsUp is how a person ends the softphone's call, or the agent's day.
func (s *softphone) hangsUp() {
	s.t.Helper()
	s.signals(syscall.SIGTERM)
}

// report waits for the softphone's end and reads what happened.
func (s *softphone) report() whatHappened {
	s.t.Helper()
	status := s.ends(patience)
	lines := strings.Split(strings.TrimSpace(s.said.from(0)), "\n")
	var r whatHappened
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(lines[i], "{") {
			if err := json.Unmarshal([]byte(lines[i]), &r); err != nil {
				s.t.Fatalf("%s: %v in %s", s.name, err, lines[i])
			}
			return r
		}
	}
	s.t.Fatalf("%s ended with status %d and no report", s.name, status)
	return r
}
