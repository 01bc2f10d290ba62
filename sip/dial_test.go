package sip

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// rings serves with static phones under the given users' names.
func rings(t *testing.T, change func(*Config), users ...string) (*Endpoint, map[string]*phone) {
	t.Helper()
	accounts := make(map[string]Account)
	e := serve(t, func(c *Config) {
		c.Accounts = func(u string) (Account, bool) { a, ok := accounts[u]; return a, ok }
		if change != nil {
			change(c)
		}
	})
	phones := make(map[string]*phone)
	for _, u := range users {
		phones[u] = newPhone(t, e, "127.0.0.1", u)
		accounts[u] = Account{User: u, Contact: "sip:" + u + "@" + phones[u].local}
	}
	return e, phones
}

type dialDone struct {
	leg *Leg
	err error
}

func dial(e *Endpoint, ctx context.Context, user string, ringing func()) <-chan dialDone {
	done := make(chan dialDone, 1)
	go func() {
		l, err := e.Dial(ctx, Dial{User: user, Call: "visit-7", Display: `Support "VIP"` + "\r\nX: y", From: "0901 234"}, ringing)
		done <- dialDone{l, err}
	}()
	return done
}

func TestDialAnsweredAndHungUpByPhone(t *testing.T) {
	e, ph := rings(t, nil, "anna")
	anna := ph["anna"]
	rang := make(chan bool, 5)
	done := dial(e, within(t), "anna", func() { rang <- true })
	inv := anna.want("INVITE")
	if from := inv.header("From"); !strings.HasPrefix(from, `"Support \"VIP\"  X: y" <sip:0901%20234@127.0.0.1>;tag=`) {
		t.Errorf("From: %s", from)
	}
	if !strings.HasPrefix(inv.start, "INVITE sip:anna@"+anna.local) || !strings.Contains(inv.body, "RTP/AVP 0 8 101") {
		t.Errorf("%s\n%s", inv.start, inv.body)
	}
	anna.reply(inv, 100, "", "")
	anna.reply(inv, 180, "a1", "")
	get(t, "ringing", rang)
	anna.reply(inv, 180, "a1", "")
	anna.reply(inv, 200, "a1", someSDP(1, "sendrecv"))
	ack := anna.want("ACK")
	if ack.seq() != inv.seq() || ack.tag("To") != "a1" || ack.branch() == inv.branch() {
		t.Errorf("ACK: %v", ack.headers)
	}
	d := get(t, "Dial", done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	anna.reply(inv, 200, "a1", someSDP(1, "sendrecv")) // our ACK was lost
	anna.want("ACK")
	c := anna.takes(inv, "a1")
	c.request("BYE", "")
	anna.wantFor(200, "BYE")
	mustBeOver(t, d.leg, true, "BYE")
	anna.reply(inv, 200, "a1", someSDP(1, "sendrecv")) // still answered after the end
	anna.want("ACK")
	if len(rang) > 0 {
		t.Error("onRinging was called twice")
	}
}

func TestDialHungUpByUs(t *testing.T) {
	e, ph := rings(t, nil, "anna")
	anna := ph["anna"]
	done := dial(e, within(t), "anna", nil)
	inv := anna.want("INVITE")
	anna.reply(inv, 200, "a1", someSDP(1, "sendrecv"))
	d := get(t, "Dial", done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	d.leg.Hangup()
	d.leg.Hangup()
	bye := anna.want("BYE")
	if bye.seq() != inv.seq()+1 || bye.tag("To") != "a1" {
		t.Errorf("BYE: %v", bye.headers)
	}
	anna.reply(bye, 200, "", "")
	mustBeOver(t, d.leg, false, "hung up")
}

func TestDialCancelled(t *testing.T) {
	for _, cause := range []error{ErrElsewhere, errors.New("the caller left")} {
		e, ph := rings(t, nil, "anna")
		anna := ph["anna"]
		ctx, cancel := context.WithCancelCause(context.Background())
		done := dial(e, ctx, "anna", nil)
		inv := anna.want("INVITE")
		anna.reply(inv, 180, "a1", "")
		cancel(cause)
		if d := get(t, "Dial", done); !errors.Is(d.err, cause) {
			t.Errorf("Dial: %v, want %v", d.err, cause)
		}
		c := anna.want("CANCEL")
		if c.branch() != inv.branch() || c.seq() != inv.seq() || c.header("To") != inv.header("To") {
			t.Errorf("CANCEL does not match its INVITE: %v", c.headers)
		}
		if elsewhere := strings.Contains(c.header("Reason"), `cause=200;text="Call completed elsewhere"`); elsewhere != (cause == ErrElsewhere) {
			t.Errorf("Reason: %q for %v", c.header("Reason"), cause)
		}
		anna.reply(c, 200, "a1", "")
		anna.reply(inv, 487, "a1", "")
		anna.want("ACK")
	}
}

// RFC 3261 §9.1: no CANCEL before a response; a phone that wakes up late gets it then.
func TestCancelWaitsForAProvisional(t *testing.T) {
	e, ph := rings(t, nil, "anna")
	anna := ph["anna"]
	ctx, cancel := context.WithCancel(context.Background())
	done := dial(e, ctx, "anna", nil)
	anna.want("INVITE")
	cancel()
	get(t, "Dial", done)
	inv := anna.want("INVITE") // repeated: still nothing was heard from the phone
	if anna.count("CANCEL") > 0 {
		t.Error("CANCEL before any response")
	}
	anna.reply(inv, 180, "a1", "")
	c := anna.want("CANCEL")
	anna.reply(c, 200, "a1", "")
	anna.reply(inv, 487, "a1", "")
	anna.want("ACK")
}

// Trap 3: sipgo's own dialogs leave a ghost here.
func TestCancelCrossing200OfThePhone(t *testing.T) {
	e, ph := rings(t, nil, "anna")
	anna := ph["anna"]
	ctx, cancel := context.WithCancelCause(context.Background())
	done := dial(e, ctx, "anna", nil)
	inv := anna.want("INVITE")
	anna.reply(inv, 180, "a1", "")
	cancel(ErrElsewhere)
	get(t, "Dial", done)
	c := anna.want("CANCEL")
	anna.reply(inv, 200, "a1", someSDP(1, "sendrecv"))
	anna.reply(c, 200, "a1", "")
	anna.want("ACK")
	bye := anna.want("BYE")
	if bye.tag("To") != "a1" {
		t.Errorf("BYE: %v", bye.headers)
	}
	anna.reply(bye, 200, "", "")
}

func TestDialResults(t *testing.T) {
	e, ph := rings(t, nil, "anna")
	anna := ph["anna"]
	for status, want := range map[int]DialResult{
		486: DialBusy, 600: DialBusy, 603: DialRejected, 403: DialRejected, 480: DialNoAnswer, 487: DialNoAnswer, 404: DialUnreachable,
		408: DialUnreachable, 503: DialUnreachable, 302: DialFailed, 401: DialFailed, 488: DialFailed, 500: DialFailed,
	} {
		done := dial(e, within(t), "anna", nil)
		inv := anna.want("INVITE")
		anna.reply(inv, status, "a1", "")
		anna.want("ACK")
		var de *DialError
		if d := get(t, "Dial", done); !errors.As(d.err, &de) || de.Result != want || de.Code != status {
			t.Errorf("%d became %v", status, d.err)
		}
	}
	if !e.Reachable("anna") {
		t.Error("a phone that answers counts as down")
	}
	var de *DialError
	if _, err := e.Dial(within(t), Dial{User: "nobody"}, nil); !errors.As(err, &de) || de.Result != DialUnreachable {
		t.Errorf("unknown account: %v", err)
	}
}

func TestSilentStaticContactIsProbedUntilItAnswers(t *testing.T) {
	changes := make(chan string, 8)
	e, ph := rings(t, func(c *Config) {
		c.timers = testTimers
		c.timers.noResponse = 300 * time.Millisecond
		c.OnReachable = func(user string, up bool) { changes <- user + map[bool]string{true: " up", false: " down"}[up] }
	}, "anna")
	anna := ph["anna"]
	done := dial(e, within(t), "anna", nil)
	var de *DialError
	if d := get(t, "Dial", done); !errors.As(d.err, &de) || de.Result != DialUnreachable || de.Code != 0 {
		t.Fatalf("Dial: %v", d.err)
	}
	if s := get(t, "the news", changes); s != "anna down" || e.Reachable("anna") {
		t.Errorf("news %q, reachable %v", s, e.Reachable("anna"))
	}
	inv := anna.want("INVITE")
	anna.reply(anna.want("OPTIONS"), 200, "o1", "")
	if s := get(t, "the news", changes); s != "anna up" || !e.Reachable("anna") {
		t.Errorf("news %q, reachable %v", s, e.Reachable("anna"))
	}
	// The phone wakes up and answers the old INVITE: nobody may be left in silence.
	anna.reply(inv, 200, "a1", someSDP(1, "sendrecv"))
	anna.want("ACK")
	anna.reply(anna.want("BYE"), 200, "", "")
}

// A BYE right after the 200 may be handled first, since sipgo hands messages over without order.
func TestByeThatOvertakesThe200(t *testing.T) {
	e, ph := rings(t, nil, "anna")
	anna := ph["anna"]
	done := dial(e, within(t), "anna", nil)
	inv := anna.want("INVITE")
	anna.reply(inv, 180, "a1", "")
	c := anna.takes(inv, "a1")
	c.request("BYE", "")
	anna.reply(inv, 200, "a1", someSDP(1, "sendrecv"))
	anna.want("ACK")
	anna.wantFor(200, "BYE")
	if d := get(t, "Dial", done); d.err == nil {
		mustBeOver(t, d.leg, true, "BYE")
	}
}

func TestSecond2xxOfAForkedInvite(t *testing.T) {
	e, ph := rings(t, nil, "anna")
	anna := ph["anna"]
	done := dial(e, within(t), "anna", nil)
	inv := anna.want("INVITE")
	anna.reply(inv, 200, "first", someSDP(1, "sendrecv"))
	anna.want("ACK")
	d := get(t, "Dial", done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	anna.reply(inv, 200, "second", someSDP(1, "sendrecv"))
	if ack := anna.want("ACK"); ack.tag("To") != "second" { // trap 8
		t.Errorf("ACK to %q", ack.tag("To"))
	}
	bye := anna.want("BYE")
	if bye.tag("To") != "second" {
		t.Errorf("BYE to %q", bye.tag("To"))
	}
	anna.reply(bye, 200, "", "")
	c := anna.takes(inv, "first")
	c.request("OPTIONS", "")
	anna.wantFor(200, "OPTIONS") // the first one lives
	d.leg.Hangup()
	if bye := anna.want("BYE"); bye.tag("To") != "first" {
		t.Errorf("BYE to %q", bye.tag("To"))
	} else {
		anna.reply(bye, 200, "", "")
	}
}

func TestUnusableAnswerEndsInBYE(t *testing.T) {
	e, ph := rings(t, nil, "anna")
	anna := ph["anna"]
	for _, body := range []string{"", strings.Replace(someSDP(1, "sendrecv"), "m=audio 9", "m=audio 0", 1)} {
		done := dial(e, within(t), "anna", nil)
		anna.reply(anna.want("INVITE"), 200, "a1", body)
		anna.want("ACK")
		anna.reply(anna.want("BYE"), 200, "", "")
		var de *DialError
		if d := get(t, "Dial", done); !errors.As(d.err, &de) || de.Result != DialFailed {
			t.Errorf("Dial: %v", d.err)
		}
	}
}

func TestRefusalWhileAnotherDeviceRings(t *testing.T) {
	e := serve(t, nil)
	desk, soft := newPhone(t, e, "127.0.0.2", "1001"), newPhone(t, e, "127.0.0.3", "1001")
	desk.registers("demo-1001")
	soft.registers("demo-1001")
	// 486 ends one device only: domain.md §10.
	done := dial(e, within(t), "1001", nil)
	a, b := desk.want("INVITE"), soft.want("INVITE")
	if a.header("Call-ID") == b.header("Call-ID") || sdpLine(a.body, "m=") == sdpLine(b.body, "m=") {
		t.Error("two contacts share a dialog or a port")
	}
	desk.reply(a, 486, "d", "")
	desk.want("ACK")
	soft.reply(b, 200, "s", someSDP(1, "sendrecv"))
	soft.want("ACK")
	d := get(t, "Dial", done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	d.leg.Hangup()
	soft.reply(soft.want("BYE"), 200, "", "")
	// 603 ends all.
	done = dial(e, within(t), "1001", nil)
	a, b = desk.want("INVITE"), soft.want("INVITE")
	soft.reply(b, 180, "s", "")
	desk.reply(a, 603, "d", "")
	var de *DialError
	if d := get(t, "Dial", done); !errors.As(d.err, &de) || de.Result != DialRejected {
		t.Errorf("Dial: %v", d.err)
	}
	soft.reply(soft.want("CANCEL"), 200, "s", "")
	soft.reply(b, 487, "s", "")
	soft.want("ACK")
}

// One winner: domain.md §3.1.
func TestTwoDevicesAnswer(t *testing.T) {
	e := serve(t, nil)
	desk, soft := newPhone(t, e, "127.0.0.2", "1001"), newPhone(t, e, "127.0.0.3", "1001")
	desk.registers("demo-1001")
	soft.registers("demo-1001")
	done := dial(e, within(t), "1001", nil)
	a, b := desk.want("INVITE"), soft.want("INVITE")
	desk.reply(a, 200, "d", someSDP(1, "sendrecv"))
	soft.reply(b, 200, "s", someSDP(1, "sendrecv"))
	desk.want("ACK")
	soft.want("ACK")
	d := get(t, "Dial", done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	winner, loser := desk, soft
	if d.leg.ID() == b.header("Call-ID") {
		winner, loser = soft, desk
	}
	loser.reply(loser.want("BYE"), 200, "", "")
	d.leg.Hangup()
	winner.reply(winner.want("BYE"), 200, "", "")
}

func TestLosingDeviceIsTold(t *testing.T) {
	e := serve(t, nil)
	desk, soft := newPhone(t, e, "127.0.0.2", "1001"), newPhone(t, e, "127.0.0.3", "1001")
	desk.registers("demo-1001")
	soft.registers("demo-1001")
	done := dial(e, within(t), "1001", nil)
	a, b := desk.want("INVITE"), soft.want("INVITE")
	soft.reply(b, 180, "s", "")
	desk.reply(a, 200, "d", someSDP(1, "sendrecv"))
	c := soft.want("CANCEL")
	if !strings.Contains(c.header("Reason"), "cause=200") {
		t.Errorf("Reason %q", c.header("Reason"))
	}
	soft.reply(c, 200, "s", "")
	soft.reply(b, 487, "s", "")
	soft.want("ACK")
	d := get(t, "Dial", done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	d.leg.Hangup()
	desk.reply(desk.want("BYE"), 200, "", "")
}

// A phone behind NAT: its Contact is an address that we can't reach; requests go to where it registered from.
func TestPhoneBehindNAT(t *testing.T) {
	e := serve(t, nil)
	anna := newPhone(t, e, "127.0.0.2", "1001")
	anna.registersAs("demo-1001", "<sip:1001@10.99.99.99:5099>")
	done := dial(e, within(t), "1001", nil)
	inv := anna.want("INVITE")
	if !strings.HasPrefix(inv.start, "INVITE sip:1001@10.99.99.99:5099") {
		t.Errorf("Request-URI: %s", inv.start)
	}
	anna.reply(inv, 200, "a", someSDP(1, "sendrecv"))
	anna.want("ACK")
	d := get(t, "Dial", done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	d.leg.Hangup()
	anna.reply(anna.want("BYE"), 200, "", "")
}
