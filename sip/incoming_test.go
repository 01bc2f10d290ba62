package sip

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestIncomingCallAnsweredAndHungUpByCaller(t *testing.T) {
	var mu sync.Mutex
	var states []string
	e, legs := calls(t, func(c *Config) {
		c.OnDialog = func(id, call string, state json.RawMessage) {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, id+" "+call+" "+map[bool]string{true: "over", false: "on"}[state == nil])
		}
	})
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	l.SetCall("visit-1")
	if inv := l.Invite(); inv.Number != "1900" || inv.Caller != "anna" || inv.Trunk != "carrier" || inv.Account != "" || inv.Source.String() != anna.local {
		t.Errorf("Invite() = %+v", inv)
	}
	if err := l.Ringing(); err != nil {
		t.Fatal(err)
	}
	trying := anna.want("SIP/2.0 100")
	ringing := anna.want("SIP/2.0 180")
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	ok := c.answered()
	if trying.tag("To") != "" && trying.tag("To") != ok.tag("To") || ringing.tag("To") != ok.tag("To") || ok.tag("To") == "" {
		t.Errorf("To tags differ: 100 %q, 180 %q, 200 %q", trying.tag("To"), ringing.tag("To"), ok.tag("To"))
	}
	if !strings.Contains(ok.body, "m=audio ") || ok.header("Content-Type") != "application/sdp" {
		t.Errorf("200 without session description: %q", ok.body)
	}
	if via := ok.header("Via"); !strings.Contains(via, "received=127.0.0.1") || !strings.Contains(via, "rport=") {
		t.Errorf("Via of the response lacks received and rport: %s", via)
	}
	c.request("BYE", "")
	anna.wantFor(200, "BYE")
	mustBeOver(t, l, true, "BYE")
	mu.Lock()
	defer mu.Unlock()
	if want := []string{c.callID + " visit-1 on", c.callID + " visit-1 over"}; strings.Join(states, ",") != strings.Join(want, ",") {
		t.Errorf("OnDialog: %q, want %q", states, want)
	}
}

func TestIncomingCallHungUpByUs(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	c.answered()
	l.Hangup()
	bye := anna.want("BYE")
	if bye.tag("From") == "" || bye.tag("To") != strings.TrimPrefix(strings.SplitN(c.from, ";tag=", 2)[1], "") || bye.header("Call-ID") != c.callID {
		t.Errorf("BYE of another dialog: %v", bye.headers)
	}
	anna.reply(bye, 200, "", "")
	mustBeOver(t, l, false, "hung up")
}

func TestHangupBeforeACKWaitsWithBYE(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	res := anna.wantFor(200, "INVITE")
	l.Hangup()
	get(t, "the end", l.Done())
	anna.wantFor(200, "INVITE") // repeated, no BYE yet: RFC 3261 §15
	if anna.count("BYE") > 0 {
		t.Error("BYE before the ACK")
	}
	c.joins(res)
	c.ack(res, "")
	anna.reply(anna.want("BYE"), 200, "", "")
}

func TestMissingACKEndsInBYE(t *testing.T) {
	e, legs := calls(t, func(c *Config) { c.timers = timers{t1: 8 * time.Millisecond} })
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	bye := anna.want("BYE") // trap: sipgo alone would send nothing
	anna.reply(bye, 200, "", "")
	mustBeOver(t, l, false, "no ACK")
	if n := anna.count("SIP/2.0 200"); n < 5 {
		t.Errorf("the 200 was sent %d times only", n)
	}
}

func TestCancelWhileRinging(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	if err := l.Ringing(); err != nil {
		t.Fatal(err)
	}
	ringing := anna.want("SIP/2.0 180")
	c.cancel(`Reason: SIP;cause=487;text="gone"`)
	okTag, terminated := "", message{}
	for okTag == "" || terminated.start == "" {
		switch m := anna.want("SIP/2.0 200", "SIP/2.0 487"); {
		case strings.HasSuffix(m.header("CSeq"), "CANCEL"):
			okTag = m.tag("To")
		default:
			terminated = m
		}
	}
	if terminated.tag("To") != ringing.tag("To") || okTag != ringing.tag("To") { // trap 5
		t.Errorf("To tags differ: 180 %q, 200 to CANCEL %q, 487 %q", ringing.tag("To"), okTag, terminated.tag("To"))
	}
	c.ack(terminated, "")
	mustBeOver(t, l, true, "CANCEL")
	if err := l.Answer(within(t)); !errors.Is(err, ErrOver) {
		t.Errorf("Answer after CANCEL: %v", err)
	}
	c.cancel() // the phone may not have heard our 200
	anna.wantFor(200, "CANCEL")
}

func TestCancelCrossing200(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	c.cancel()
	anna.wantFor(200, "CANCEL")
	res := anna.wantFor(200, "INVITE") // a repetition: the call stands, no 487 may come
	c.joins(res)
	c.ack(res, "")
	c.request("BYE", "")
	anna.wantFor(200, "BYE")
	mustBeOver(t, l, true, "BYE")
	if anna.count("SIP/2.0 487") > 0 {
		t.Error("487 after 200")
	}
}

// Answer and CANCEL at the same moment must leave one final response, and a leg that agrees with it.
func TestCancelRacingAnswer(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	for range 30 {
		c := anna.dials("1900")
		c.invite()
		l := get(t, "the call", legs)
		anna.want("SIP/2.0 100")
		answered := make(chan error, 1)
		go func() { answered <- l.Answer(context.Background()) }()
		c.cancel()
		var final message
		for !strings.HasSuffix(final.header("CSeq"), "INVITE") || final.header("Call-ID") != c.callID {
			final = anna.want("SIP/2.0 200", "SIP/2.0 487")
		}
		err := get(t, "Answer", answered)
		if won := strings.HasPrefix(final.start, "SIP/2.0 200"); won != (err == nil) {
			t.Fatalf("the caller got %s, Answer returned %v", final.start, err)
		} else if won {
			c.joins(final)
			c.ack(final, "")
			c.request("BYE", "")
			anna.wantFor(200, "BYE")
		} else {
			c.ack(final, "")
		}
		get(t, "the end", l.Done())
	}
}

func TestRejectMapsToStatus(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	for reason, status := range map[Reason]string{ReasonBusy: "486", ReasonNotFound: "404", ReasonUnavailable: "503", ReasonDeclined: "603", ReasonNotAcceptable: "488", ReasonFailed: "500"} {
		c := anna.dials("1900")
		c.invite()
		l := get(t, "the call", legs)
		l.Reject(reason)
		res := anna.want("SIP/2.0 " + status)
		if status == "503" && res.header("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		c.ack(res, "")
		get(t, "the end", l.Done())
	}
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	l.Hangup()
	c.ack(anna.want("SIP/2.0 480"), "")
	mustBeOver(t, l, false, "hung up")
}

func TestByeBeforeAnswer(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	if err := l.Ringing(); err != nil {
		t.Fatal(err)
	}
	c.joins(anna.want("SIP/2.0 180"))
	c.request("BYE", "")
	anna.want("SIP/2.0 200", "SIP/2.0 487")
	anna.want("SIP/2.0 200", "SIP/2.0 487")
	if anna.count("SIP/2.0 200") != 1 || anna.count("SIP/2.0 487") != 1 {
		t.Error("want one 200 to the BYE and one 487 to the INVITE")
	}
	mustBeOver(t, l, true, "BYE")
}

func TestLateOfferIsAnsweredInTheACK(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.request("INVITE", "")
	l := get(t, "the call", legs)
	answered := make(chan error, 1)
	go func() { answered <- l.Answer(context.Background()) }()
	res := anna.wantFor(200, "INVITE")
	if !strings.Contains(res.body, "RTP/AVP 0 8 101") {
		t.Errorf("the 200 has no offer: %q", res.body)
	}
	c.joins(res)
	c.ack(res, someSDP(1, "sendrecv"))
	if err := get(t, "Answer", answered); err != nil {
		t.Fatal(err)
	}
	if st := l.Audio().Stats(); st.Remote.Port() != 9 {
		t.Errorf("audio goes to %v", st.Remote)
	}
	l.Hangup()
	anna.reply(anna.want("BYE"), 200, "", "")
}

func TestLateOfferWithoutAnswerEndsInBYE(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.request("INVITE", "")
	l := get(t, "the call", legs)
	answered := make(chan error, 1)
	go func() { answered <- l.Answer(context.Background()) }()
	res := anna.wantFor(200, "INVITE")
	c.joins(res)
	c.ack(res, "")
	anna.reply(anna.want("BYE"), 200, "", "")
	if err := get(t, "Answer", answered); err == nil {
		t.Error("Answer succeeded without an answer in the ACK")
	}
	mustBeOver(t, l, false, "no answer in the ACK")
}

func TestPanicInOnCall(t *testing.T) {
	e := serve(t, func(c *Config) { c.OnCall = func(*Leg) { panic("the flow is broken") } })
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	c.ack(anna.want("SIP/2.0 500"), "")
	d := anna.dials("1900") // the endpoint lives
	d.invite()
	d.ack(anna.want("SIP/2.0 500"), "")
}

func TestCloseHangsUp(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	c.answered()
	closed := make(chan error, 1)
	go func() { closed <- e.Close(within(t)) }()
	anna.reply(anna.want("BYE"), 200, "", "")
	if err := get(t, "Close", closed); err != nil {
		t.Error(err)
	}
	mustBeOver(t, l, false, "hung up")
}

func TestAnswerTwice(t *testing.T) {
	e, legs := calls(t, nil)
	anna := newPhone(t, e, "127.0.0.1", "anna")
	c := anna.dials("1900")
	c.invite()
	l := get(t, "the call", legs)
	if err := l.Answer(within(t)); err != nil {
		t.Fatal(err)
	}
	c.answered()
	if err := l.Answer(within(t)); err == nil {
		t.Error("a second Answer succeeded")
	}
	l.Reject(ReasonBusy) // too late: nothing happens
	c.request("OPTIONS", "")
	anna.wantFor(200, "OPTIONS")
	select {
	case <-l.Done():
		t.Error("Reject ended an answered call")
	default:
	}
}
