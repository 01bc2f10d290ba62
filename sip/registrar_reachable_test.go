package sip

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRegistrarTellsWhoIsReachable(t *testing.T) {
	d := newDesk(t)
	n := 0
	registers := func(contact string) {
		t.Helper()
		n++
		if got := d.registers(t, fmt.Sprintf("CSeq: %d REGISTER", n), "Contact: "+contact); !strings.HasPrefix(got, "200") {
			t.Fatal(got)
		}
	}
	step := func(what, want string, reachable bool) {
		t.Helper()
		if got := d.said(); got != want {
			t.Errorf("%s: heard %q, want %q", what, got, want)
		}
		if d.reachable("1001") != reachable {
			t.Errorf("%s: reachable is %v", what, !reachable)
		}
	}
	step("at first", "", false)
	registers("<sip:1001@a>;expires=60")
	step("first phone", "1001 true", true)
	registers("<sip:1001@b>;expires=90")
	step("second phone", "", true)
	registers("<sip:1001@a>;expires=0")
	step("one of two gone", "", true)
	registers("<sip:1001@b>;expires=0")
	step("both gone", "1001 false", false)

	registers("<sip:1001@a>;expires=60")
	step("back", "1001 true", true)
	d.unreachable("1001")
	step("nobody there", "1001 false", false)
	if d.uris("1001") != "sip:1001@a" {
		t.Error("the binding went with it")
	}
	d.unreachable("1001")
	step("nobody there, again", "", false)
	d.register(parseRegister(t), "1001", home, "udp")
	step("a query is no sign of life", "", false)
	registers("<sip:1001@a>;expires=60")
	step("refreshed", "1001 true", true)

	d.unreachable("1001")
	registers("<sip:1001@a>;expires=0")
	step("gone while unreachable", "1001 false", false)
	d.unreachable("1001")
	d.unreachable("1009")
	step("nobody registered", "", false)
	registers("<sip:1001@a>;expires=60")
	step("back again", "1001 true", true)

	// The time is over, though nobody has noticed yet.
	d.clock.passes(time.Minute)
	if d.reachable("1001") || d.uris("1001") != "" {
		t.Error("reachable after its time")
	}
	registers("<sip:1001@a>;expires=60")
	step("lapsed and back", "1001 false, 1001 true", true)

	// A phone moves while its old address is being dialled.
	began := d.clock.now()
	d.clock.passes(time.Second)
	registers("<sip:1001@a>;expires=60")
	d.unreachableSince("1001", began)
	step("moved during the dial", "", true)
	d.clock.passes(time.Second)
	d.unreachableSince("1001", d.clock.now())
	step("not there any more", "1001 false", false)
	d.checks(t)
}

// A listener that asks back, and one that panics, leave the registrar usable.
func TestRegistrarListenerMayAskBack(t *testing.T) {
	d := newDesk(t)
	var heard []bool
	d.onReachable = func(user string, reachable bool) {
		heard = append(heard, reachable)
		if reachable && len(heard) == 1 {
			d.unreachable(user) // told after this returns
			if len(heard) != 1 {
				t.Error("told inside of the telling")
			}
		}
		if !reachable {
			panic("listener")
		}
	}
	func() {
		defer func() { recover() }()
		d.registers(t, "Contact: <sip:1001@a>;expires=60")
	}()
	d.registers(t, "CSeq: 2 REGISTER", "Contact: <sip:1001@a>;expires=60")
	if fmt.Sprint(heard) != "[true false true]" {
		t.Errorf("heard %v", heard)
	}
}

func TestRegistrarLapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var heard []string
		r := newRegistrar(registrarOptions{accounts: deskAccounts, onReachable: func(user string, reachable bool) {
			heard = append(heard, fmt.Sprintf("%v %s %v", time.Since(start), user, reachable))
		}})
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { defer close(over); r.run(ctx) }()
		register := func(user, cseq, contact string) {
			t.Helper()
			req := parseRegister(t, "To: <sip:"+user+"@hotline>", "Call-ID: "+user, "CSeq: "+cseq+" REGISTER", "Contact: "+contact)
			if res := r.register(req, user, home, "udp"); res.StatusCode != 200 {
				t.Fatal(res.StatusCode)
			}
		}
		register("1001", "1", "<sip:1001@a>;expires=60, <sip:1001@b>;expires=300")
		synctest.Wait()
		register("1002", "1", "<sip:1002@a>;expires=30") // sooner than what run waits for
		time.Sleep(29 * time.Second)
		register("1002", "2", "<sip:1002@a>;expires=40")
		time.Sleep(time.Hour)
		synctest.Wait()
		want := "0s 1001 true, 0s 1002 true, 1m9s 1002 false, 5m0s 1001 false"
		if got := strings.Join(heard, ", "); got != want {
			t.Errorf("heard %s\nwant  %s", got, want)
		}
		if len(r.aors) != 0 || len(r.sources) != 0 || !r.next.IsZero() {
			t.Errorf("left: %v %v %v", r.aors, r.sources, r.next)
		}
		cancel()
		<-over
	})
}

// Many phones of few users at once: what a user's listener heard alternates and ends with the truth.
func TestRegistrarOrderOfNews(t *testing.T) {
	var mu sync.Mutex
	heard := map[string][]bool{}
	r := newRegistrar(registrarOptions{accounts: deskAccounts, onReachable: func(user string, reachable bool) {
		mu.Lock()
		defer mu.Unlock()
		heard[user] = append(heard[user], reachable)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	var running, wg sync.WaitGroup
	running.Go(func() { r.run(ctx) })
	for phone := range 8 {
		user := []string{"1001", "1002"}[phone%2]
		wg.Go(func() {
			for i := range 50 {
				expires := 60 * (1 - i%2)
				req := parseRegister(t, "To: <sip:"+user+"@hotline>", fmt.Sprintf("Call-ID: %d", phone),
					fmt.Sprintf("CSeq: %d REGISTER", i+1), fmt.Sprintf("Contact: <sip:%s@p%d>;expires=%d", user, phone, expires))
				source := netip.AddrPortFrom(home.Addr(), uint16(1000+phone))
				if res := r.register(req, user, source, "udp"); res.StatusCode != 200 {
					t.Errorf("phone %d: %d", phone, res.StatusCode)
				}
				if i%7 == 0 {
					r.unreachable(user)
				}
				r.known(home.Addr())
				r.contacts(user)
			}
		})
	}
	wg.Wait()
	cancel()
	running.Wait()
	r.tell()
	mu.Lock()
	defer mu.Unlock()
	for user, list := range heard {
		for i, reachable := range list {
			if reachable != (i%2 == 0) {
				t.Fatalf("%s: news %d is %v", user, i, reachable)
			}
		}
		if len(list)%2 != 0 || r.reachable(user) {
			t.Fatalf("%s: all phones are gone, the last news says otherwise", user)
		}
	}
}
