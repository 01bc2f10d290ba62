package media

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func TestReceptionKeepsTheBooks(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 2))
		start := uint16(rng.Uint32())
		n := 2 + rng.IntN(70000) // wraps
		if seed > 20 {
			n = 2 + rng.IntN(500)
		}
		type packet struct{ index, place int }
		var trace []packet
		lost := 0
		for i := range n {
			if i > 0 && i < n-1 && rng.IntN(100) < 10 {
				lost++
				continue
			}
			trace = append(trace, packet{i, len(trace)})
		}
		for i := 1; i < len(trace)-5; i++ { // neighbours overtake each other
			if rng.IntN(100) < 5 {
				j := i + 1 + rng.IntN(4)
				trace[i], trace[j] = trace[j], trace[i]
			}
		}
		var r reception
		duplicates, late, high := 0, 0, -1
		for _, p := range trace {
			h := header{seq: start + uint16(p.index), ssrc: 5}
			got := r.packet(h, true, 0)
			switch {
			case p.index < high:
				late++
				if got != arrivedLate {
					t.Fatalf("seed %d: late packet %d: %d", seed, p.index, got)
				}
			case high >= 0 && got != arrivedNext:
				t.Fatalf("seed %d: packet %d: %d", seed, p.index, got)
			}
			high = max(high, p.index)
			if rng.IntN(100) < 5 {
				duplicates++
				if got := r.packet(h, true, 0); got != arrivedTwice {
					t.Fatalf("seed %d: packet %d again: %d", seed, p.index, got)
				}
			}
		}
		if r.lost() != uint64(lost) || r.received != uint64(len(trace)) || r.duplicate != uint64(duplicates) || r.late != uint64(late) {
			t.Fatalf("seed %d: lost %d received %d duplicate %d late %d, expected %d %d %d %d", seed,
				r.lost(), r.received, r.duplicate, r.late, lost, len(trace), duplicates, late)
		}
		if _, l, highest, _ := r.report(); l != uint32(lost) || highest != uint32(start)+uint32(n-1) {
			t.Fatalf("seed %d: reports %d lost, highest %d", seed, l, highest)
		}
	}
}

func TestReceptionOfAnotherCount(t *testing.T) {
	var r reception
	seqs := func(ssrc uint32, expect arrival, seqs ...uint16) {
		t.Helper()
		for _, seq := range seqs {
			if got := r.packet(header{seq: seq, ssrc: ssrc}, true, 0); got != expect {
				t.Errorf("%d: %d, expected %d", seq, got, expect)
			}
		}
	}
	seqs(1, arrivedFirst, 100)
	seqs(1, arrivedNext, 101, 103)
	seqs(1, arrivedWild, 30000) // alone
	seqs(1, arrivedNext, 104)
	seqs(1, arrivedWild, 20000)
	seqs(1, arrivedFirst, 20001)
	seqs(1, arrivedNext, 20002)
	seqs(2, arrivedFirst, 7)
	seqs(2, arrivedNext, 8, 10)
	if r.lost() != 2 || r.received != 9 {
		t.Errorf("lost %d of %d over three counts", r.lost(), r.received)
	}
}

func TestLossInAnInterval(t *testing.T) {
	var r reception
	for i := range 100 {
		if i%4 != 1 {
			r.packet(header{seq: uint16(i)}, true, 0)
		}
	}
	if fraction, lost, _, _ := r.report(); fraction != 64 || lost != 25 {
		t.Errorf("%d/256 lost, %d in all", fraction, lost)
	}
	for i := 100; i < 200; i++ {
		r.packet(header{seq: uint16(i)}, true, 0)
	}
	if fraction, lost, _, _ := r.report(); fraction != 0 || lost != 25 {
		t.Errorf("%d/256 lost, %d in all", fraction, lost)
	}
}

func TestJitter(t *testing.T) {
	var r reception
	for i := range 2000 {
		at := time.Duration(i) * frame
		if i%2 == 1 {
			at += 10 * time.Millisecond
		}
		r.packet(header{seq: uint16(i), ts: uint32(i * frameSize)}, true, at)
	}
	// Each transit differs from the one before by 10 ms.
	if j := r.jitterTime(); j < 9*time.Millisecond || j > 10*time.Millisecond {
		t.Errorf("jitter %v", j)
	}
	// A key's timestamp does not move, and a new timestamp base is no jitter.
	before := r.jitterTime()
	r.packet(header{seq: 2000, ts: 17}, false, 50*time.Second)
	r.packet(header{seq: 2001, ts: 1 << 30}, true, 50*time.Second)
	if r.jitterTime() != before {
		t.Errorf("jitter went from %v to %v", before, r.jitterTime())
	}
}

func TestLatch(t *testing.T) {
	sdp := netip.MustParseAddrPort("10.0.0.1:4000")
	nat := netip.MustParseAddrPort("203.0.113.5:61000")
	natAgain := netip.MustParseAddrPort("203.0.113.5:62000")
	raw := netip.MustParseAddrPort("10.0.0.1:0")
	thief := netip.MustParseAddrPort("198.51.100.66:5000")
	type step struct {
		from   netip.AddrPort
		seq    uint16
		ok     bool
		moved  bool
		peer   netip.AddrPort
		silent bool // before
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"the SDP is right", []step{
			{sdp, 1, true, true, sdp, false}, {thief, 2, false, false, sdp, false}, {sdp, 2, true, false, sdp, false}}},
		{"NAT: taken at the second packet, nothing is lost", []step{
			{nat, 1, true, false, sdp, false}, {nat, 2, true, true, nat, false}, {sdp, 3, false, false, nat, false}, {thief, 3, false, false, nat, false}}},
		{"one stray packet does not take a call", []step{
			{thief, 77, true, false, sdp, false}, {sdp, 1, true, true, sdp, false}, {thief, 78, false, false, sdp, false}}},
		{"strangers in turns: none is in sequence", []step{
			{thief, 77, true, false, sdp, false}, {nat, 1, true, false, sdp, false}, {thief, 78, true, false, sdp, false}, {thief, 79, true, true, thief, false}}},
		{"loss between the first two", []step{{nat, 1, true, false, sdp, false}, {nat, 4, true, true, nat, false}}},
		{"silence: another port of the same address", []step{
			{nat, 1, true, false, sdp, false}, {nat, 2, true, true, nat, false},
			{natAgain, 9, false, false, nat, false},
			{thief, 9, false, false, nat, true}, {natAgain, 10, true, false, nat, true}, {natAgain, 11, true, true, natAgain, true},
			{nat, 12, false, false, natAgain, false}}},
		{"silence, and the same port again", []step{
			{sdp, 1, true, true, sdp, false}, {sdp, 2, true, true, sdp, true}, {thief, 3, false, false, sdp, false}}},
		{"silence: a raw socket (port 0) is heard and never answered", []step{
			{sdp, 1, true, true, sdp, false}, {raw, 7, false, false, sdp, false},
			{raw, 8, true, false, sdp, true}, {raw, 9, true, false, sdp, true}, {sdp, 2, true, true, sdp, true}, {raw, 10, false, false, sdp, false}}},
	} {
		var l latch
		l.propose(sdp)
		for i, s := range c.steps {
			if s.silent && !l.silent {
				l.quiet()
			}
			ok, moved := l.admit(s.from, header{seq: s.seq, ssrc: 1})
			if ok != s.ok || moved != s.moved || l.peer != s.peer {
				t.Errorf("%s, packet %d: %v %v, peer %v", c.name, i, ok, moved, l.peer)
			}
		}
	}
	var l latch
	l.propose(sdp)
	l.admit(sdp, header{})
	if l.propose(sdp) || !l.locked {
		t.Error("the same proposal opened the latch")
	}
	if !l.propose(nat) || l.locked || l.peer != nat {
		t.Error("another proposal did not open the latch")
	}
	l.propose(netip.MustParseAddrPort("0.0.0.0:4000"))
	if l.sendable() {
		t.Error("0.0.0.0 is no address to send to")
	}
}

func TestEarlyPacketsKeepTheNewest(t *testing.T) {
	var e earlyPackets
	for i := range byte(25) {
		e.keep([]byte{i}, netip.AddrPort{}, time.Duration(i))
	}
	e.keep(make([]byte, earlySize+1), netip.AddrPort{}, 0)
	if e.n != earlyKept {
		t.Errorf("%d kept", e.n)
	}
	for i := range e.n {
		if p := e.packet(i); p.n != 1 || p.b[0] != byte(25-earlyKept+i) || p.at != time.Duration(p.b[0]) {
			t.Errorf("packet %d is %d", i, p.b[0])
		}
	}
}
