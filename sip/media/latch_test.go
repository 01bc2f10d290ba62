package media

import (
	"net/netip"
	"testing"
)

func TestLatch(t *testing.T) {
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	sdp, nat, raw, mallory := at("192.0.2.1:4000"), at("192.0.2.1:4711"), at("192.0.2.1:0"), at("198.51.100.9:4000")
	type packet struct {
		from  netip.AddrPort
		seq   uint16
		quiet bool // the peer fell silent before it
		ok    bool
		peer  netip.AddrPort // where our sound goes afterwards
	}
	for _, c := range []struct {
		name    string
		packets []packet
	}{
		{"the address of the SDP is believed at once and locked", []packet{
			{from: sdp, seq: 1, ok: true, peer: sdp}, {from: nat, seq: 2, peer: sdp}, {from: mallory, seq: 3, peer: sdp}}},
		{"another address at its second packet", []packet{
			{from: nat, seq: 1, ok: true, peer: sdp}, {from: nat, seq: 2, ok: true, peer: nat}, {from: sdp, seq: 3, peer: nat}}},
		{"after a silence another port of the same address takes over", []packet{
			{from: sdp, seq: 1, ok: true, peer: sdp},
			{from: mallory, seq: 2, quiet: true, peer: sdp}, {from: mallory, seq: 3, peer: sdp},
			{from: nat, seq: 9, ok: true, peer: sdp}, {from: nat, seq: 10, ok: true, peer: nat}, {from: sdp, seq: 2, peer: nat}}},
		{"a raw socket is heard in a silence and never answered", []packet{
			{from: sdp, seq: 1, ok: true, peer: sdp}, {from: raw, seq: 7, peer: sdp},
			{from: raw, seq: 8, quiet: true, ok: true, peer: sdp}, {from: raw, seq: 9, ok: true, peer: sdp},
			{from: sdp, seq: 2, ok: true, peer: sdp}, {from: raw, seq: 10, peer: sdp}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l latch
			l.propose(sdp)
			for i, p := range c.packets {
				if p.quiet {
					l.quiet()
				}
				if ok, _ := l.admit(p.from, header{ssrc: uint32(p.from.Port()), seq: p.seq}); ok != p.ok || l.peer != p.peer {
					t.Fatalf("packet %d from %v: taken %v, want %v; sound goes to %v, want %v", i, p.from, ok, p.ok, l.peer, p.peer)
				}
			}
		})
	}
}
