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
	pad := netip.MustParseAddrPort("10.0.0.1:4711")
	raw := netip.MustParseAddrPort("10.0.0.1:0")
	thief := netip.MustParseAddrPort("198.51.100.66:5000")
	type step struct {
		from   netip.AddrPort
		seq    uint16
		ok     bool
		moved  bool
		peer   netip.AddrPort
		silent bool // before

		hushed bool // before, but not for long
		key    bool
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"the SDP is right", []step{
			{from: sdp, seq: 1, ok: true, moved: true, peer: sdp, silent: false}, {from: thief, seq: 2, ok: false, moved: false, peer: sdp, silent: false}, {from: sdp, seq: 2, ok: true, moved: false, peer: sdp, silent: false}}},
		{"NAT: taken at the second packet, nothing is lost", []step{
			{from: nat, seq: 1, ok: true, moved: false, peer: sdp, silent: false}, {from: nat, seq: 2, ok: true, moved: true, peer: nat, silent: false}, {from: sdp, seq: 3, ok: false, moved: false, peer: nat, silent: false}, {from: thief, seq: 3, ok: false, moved: false, peer: nat, silent: false}}},
		{"one stray packet does not take a call", []step{
			{from: thief, seq: 77, ok: true, moved: false, peer: sdp, silent: false}, {from: sdp, seq: 1, ok: true, moved: true, peer: sdp, silent: false}, {from: thief, seq: 78, ok: false, moved: false, peer: sdp, silent: false}}},
		{"strangers in turns: none is in sequence", []step{
			{from: thief, seq: 77, ok: true, moved: false, peer: sdp, silent: false}, {from: nat, seq: 1, ok: true, moved: false, peer: sdp, silent: false}, {from: thief, seq: 78, ok: true, moved: false, peer: sdp, silent: false}, {from: thief, seq: 79, ok: true, moved: true, peer: thief, silent: false}}},
		{"loss between the first two", []step{{from: nat, seq: 1, ok: true, moved: false, peer: sdp, silent: false}, {from: nat, seq: 4, ok: true, moved: true, peer: nat, silent: false}}},
		{"silence: another port of the same address", []step{
			{from: nat, seq: 1, ok: true, moved: false, peer: sdp, silent: false}, {from: nat, seq: 2, ok: true, moved: true, peer: nat, silent: false},
			{from: natAgain, seq: 9, ok: false, moved: false, peer: nat, silent: false},
			{from: thief, seq: 9, ok: false, moved: false, peer: nat, silent: true}, {from: natAgain, seq: 10, ok: true, moved: false, peer: nat, silent: true}, {from: natAgain, seq: 11, ok: true, moved: true, peer: natAgain, silent: true},
			{from: nat, seq: 12, ok: false, moved: false, peer: natAgain, silent: false}}},
		{"silence, and the same port again", []step{
			{from: sdp, seq: 1, ok: true, moved: true, peer: sdp, silent: false}, {from: sdp, seq: 2, ok: true, moved: true, peer: sdp, silent: true}, {from: thief, seq: 3, ok: false, moved: false, peer: sdp, silent: false}}},
		{"a short silence: keys from another port are heard, sound is not", []step{
			{from: sdp, seq: 1, ok: true, moved: true, peer: sdp, silent: false}, {from: pad, seq: 7, peer: sdp},
			{from: pad, seq: 8, ok: true, peer: sdp, hushed: true, key: true}, {from: pad, seq: 9, peer: sdp},
			{from: thief, seq: 9, peer: sdp, key: true}, {from: sdp, seq: 2, ok: true, moved: true, peer: sdp},
			{from: pad, seq: 10, peer: sdp, key: true}}},
		{"silence: a raw socket (port 0) is heard and never answered", []step{
			{from: sdp, seq: 1, ok: true, moved: true, peer: sdp, silent: false}, {from: raw, seq: 7, ok: false, moved: false, peer: sdp, silent: false},
			{from: raw, seq: 8, ok: true, moved: false, peer: sdp, silent: true}, {from: raw, seq: 9, ok: true, moved: false, peer: sdp, silent: true}, {from: sdp, seq: 2, ok: true, moved: true, peer: sdp, silent: true}, {from: raw, seq: 10, ok: false, moved: false, peer: sdp, silent: false}}},
	} {
		var l latch
		l.propose(sdp)
		for i, s := range c.steps {
			if s.silent && !l.silent {
				l.quiet()
			}
			if s.hushed {
				l.hush()
			}
			ok, moved := l.admit(s.from, header{seq: s.seq, ssrc: 1}, s.key)
			if ok != s.ok || moved != s.moved || l.peer != s.peer {
				t.Errorf("%s, packet %d: %v %v, peer %v", c.name, i, ok, moved, l.peer)
			}
		}
	}
	var l latch
	l.propose(sdp)
	l.admit(sdp, header{}, false)
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
