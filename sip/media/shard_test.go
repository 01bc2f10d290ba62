package media

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// The tests of this file tick the shard themselves, with real sockets.

func TestDirections(t *testing.T) {
	l := newLab(t)
	anna, bert := newPhone(t, PCMU), newPhone(t, PCMU)
	a, b := l.open(anna), l.open(bert)
	l.joins(a, b)
	p := bert.params()
	p.Send, p.Receive = false, false // on hold
	l.does(b, func() { b.start(p) })
	var rec recorder
	b.tap = &rec
	anna.says(toneIn(PCMU, frameSize))
	bert.says(toneIn(PCMU, frameSize))
	l.until("both", func() bool { return a.in.received == 1 && b.in.received == 1 })
	anna.hearsNothing()
	bert.hearsNothing()
	if len(rec.ts) != 0 || b.LastHeard().IsZero() {
		t.Error("a held phone is noticed, but not heard")
	}
	l.does(b, func() { b.start(bert.params()) })
	anna.says(toneIn(PCMU, frameSize))
	l.until("sound", func() bool { return b.sent == 1 })
	if got := bert.hears(); !got.Marker || got.SSRC != b.out.ssrc {
		t.Errorf("taken off hold: %v", got)
	}
}

func TestJunkAndStrangersAreDropped(t *testing.T) {
	l := newLab(t)
	anna, mallory := newPhone(t, PCMU), newPhone(t, PCMU)
	s := l.open(anna)
	mallory.calls(s)
	var rec recorder
	s.tap = &rec
	sound := toneIn(PCMU, frameSize)
	anna.says(sound)
	l.until("sound", func() bool { return s.in.received == 1 })
	if s.latch.peer != localAddr(anna.rtp) || !s.latch.locked {
		t.Errorf("latched to %v", s.latch.peer)
	}
	before := s.dropped
	anna.sendRaw([]byte("\r\n\r\n"))
	anna.sendRaw(make([]byte, 20))
	anna.sendRaw(rtpPacket(header{pt: 34, seq: anna.seq, ssrc: anna.ssrc}, sound))
	anna.sendRaw(rtpPacket(header{pt: 101, seq: anna.seq, ssrc: anna.ssrc}, []byte{1, 2, 3})) // no event
	anna.says(sound)
	l.until("sound after junk", func() bool { return s.in.received == 2 })
	if s.dropped != before+4 {
		t.Errorf("%d dropped", s.dropped-before)
	}
	for range 5 {
		mallory.says(sound) // refused by the kernel or by the latch
	}
	anna.sendRaw(rtpPacket(header{seq: anna.seq - 1, ssrc: anna.ssrc}, sound)) // again
	anna.says(sound)
	l.until("sound", func() bool { return s.in.received == 3 })
	if st := s.stats(); len(rec.ts) != 3 || st.Duplicate != 1 || st.Remote != localAddr(anna.rtp) {
		t.Errorf("heard %d, %+v", len(rec.ts), st)
	}
}

func TestQueuedBeforeTheLatchLocked(t *testing.T) {
	l := newLab(t)
	anna, mallory := newPhone(t, PCMU), newPhone(t, PCMU)
	s := l.open(anna)
	mallory.calls(s)
	var rec recorder
	s.tap = &rec
	// All of this lies in the socket's queue when it is connected.
	anna.says(toneIn(PCMU, frameSize))
	for range 3 {
		mallory.says(bytes.Repeat([]byte{42}, frameSize))
	}
	anna.says(toneIn(PCMU, frameSize))
	l.until("sound", func() bool { return s.in.received == 2 })
	l.until("strangers", func() bool { return s.dropped == 3 })
	if len(rec.ts) != 2 || bytes.Contains(rec.sound, []byte{42, 42, 42}) {
		t.Error("a stranger was heard")
	}
}

func TestPhoneBehindNATComesBackFromAnotherPort(t *testing.T) {
	l := newLab(t)
	anna := newPhone(t, PCMU)
	moved := newPhone(t, PCMU)
	moved.ssrc = anna.ssrc
	s := l.open(nil)
	p := anna.params()
	p.Remote = netip.MustParseAddrPort("127.0.0.1:9") // what it believes
	p.RemoteRTCP = netip.AddrPort{}
	s.begin()
	l.does(s, func() { s.start(p) })
	anna.calls(s)
	moved.calls(s)
	sound := toneIn(PCMU, frameSize)
	anna.says(sound)
	anna.says(sound)
	l.until("sound", func() bool { return s.in.received == 2 })
	if s.latch.peer != localAddr(anna.rtp) {
		t.Fatalf("latched to %v", s.latch.peer)
	}
	moved.seq, moved.ts = anna.seq+1, anna.ts+frameSize
	moved.says(sound)
	anna.says(sound)
	l.until("sound", func() bool { return s.in.received == 3 })
	if s.latch.peer != localAddr(anna.rtp) || s.latch.stranger.IsValid() {
		t.Error("another port was heard while the phone was there")
	}
	l.later(latchSilence + time.Millisecond)
	moved.says(sound)
	moved.says(sound)
	l.until("sound", func() bool { return s.latch.peer == localAddr(moved.rtp) })
	if s.latch.silent || s.in.received != 5 {
		t.Errorf("received %d", s.in.received)
	}
	// It is heard where it is now.
	l.plays(s, NewClip(tone(10)))
	l.later(0)
	moved.hears()
}

func TestRefusedPacketsAreNoError(t *testing.T) {
	l := newLab(t)
	anna := newPhone(t, PCMU)
	s := l.open(anna)
	anna.says(toneIn(PCMU, frameSize))
	l.until("sound", func() bool { return s.in.received == 1 })
	addr := anna.rtp.LocalAddr()
	anna.rtp.Close() // its port now answers ICMP "unreachable"
	l.plays(s, NewClip(tone(20*frameSize)))
	for range 10 {
		l.later(frame)
	}
	again, err := listenAgain(addr.String())
	if err != nil {
		t.Skip("its port was taken meanwhile: ", err)
	}
	defer again.Close()
	anna.rtp = again
	l.later(frame)
	anna.hears()
	anna.says(toneIn(PCMU, frameSize))
	l.until("sound", func() bool { return s.in.received == 2 })
}

func TestReportsGoBothWays(t *testing.T) {
	l := newLab(t)
	anna := newPhone(t, PCMU)
	s := l.open(anna)
	l.plays(s, NewClip(tone(frameSize)))
	anna.says(toneIn(PCMU, frameSize))
	l.until("sound", func() bool { return s.in.received == 1 })
	l.later(4 * time.Second)
	packets, err := rtcp.Unmarshal(receiveFrom(t, anna.rtcp))
	if err != nil {
		t.Fatal(err)
	}
	sr, ok := packets[0].(*rtcp.SenderReport)
	if !ok || sr.SSRC != s.out.ssrc || sr.Reports[0].SSRC != anna.ssrc {
		t.Errorf("report %v", packets)
	}
	reply, _ := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: anna.ssrc, Reports: []rtcp.ReceptionReport{{
		SSRC: s.out.ssrc, TotalLost: 3, Jitter: 16, LastSenderReport: uint32(sr.NTPTime>>16) - 1<<16/5,
	}}}})
	control := netip.AddrPortFrom(s.local.Addr(), s.local.Port()+1)
	if _, err := anna.rtcp.WriteToUDPAddrPort(reply, control); err != nil {
		t.Fatal(err)
	}
	l.until("the report", func() bool { return s.report.remoteLost == 3 })
	st := s.stats()
	if st.RemoteJitter != 2*time.Millisecond || st.RoundTrip < 200*time.Millisecond || st.RoundTrip > 10*time.Second {
		t.Errorf("%+v", st)
	}
	// On the RTP port it is a report, too, not sound.
	reply[12+3]++ // no longer about us
	anna.sendRaw(reply)
	anna.says(toneIn(PCMU, frameSize))
	l.until("sound", func() bool { return s.in.received == 2 })
	if s.dropped != 0 {
		t.Errorf("%d dropped", s.dropped)
	}
	// From elsewhere it is nothing.
	stranger := newPhone(t, PCMU)
	if _, err := stranger.rtcp.WriteToUDPAddrPort([]byte{0x80, 201, 0, 0, 0, 0, 0, 1}, control); err != nil {
		t.Fatal(err)
	}
	l.until("junk", func() bool { return s.dropped == 1 })
}

func TestSendingKeysLeavesOutOtherSound(t *testing.T) {
	l := newLab(t)
	anna, bert := newPhone(t, PCMU), newPhone(t, PCMU)
	a, b := l.open(anna), l.open(bert)
	heard := newPhone(t, PCMU)
	listener := l.open(heard)
	l.plays(a, NewClip(tone(8000)))
	l.later(0)
	l.does(a, func() {
		a.presser = new(keyPresser)
		a.presser.press(5, 100*time.Millisecond)
		a.presser.press(11, 100*time.Millisecond)
	})
	for range 40 {
		l.later(frame)
	}
	var events, audio int
	last := anna.hears()
	heard.sendRaw(mustMarshal(t, &last))
	for range int(a.sent) - 1 {
		p := anna.hears()
		if p.SequenceNumber != last.SequenceNumber+1 || int32(p.Timestamp-last.Timestamp) < 0 {
			t.Errorf("%v follows %v", p.Header, last.Header)
		}
		if last.PayloadType == 101 && p.PayloadType == 0 && !p.Marker {
			t.Error("no marker after a key")
		}
		if p.PayloadType == 101 {
			events++
		} else {
			audio++
		}
		heard.sendRaw(mustMarshal(t, &p))
		last = p
	}
	if events < 2*(starts+ends) || audio == 0 {
		t.Errorf("%d key packets, %d of sound", events, audio)
	}
	// Our own ear understands it.
	l.until("the keys", func() bool { return len(listener.digits) == 2 })
	if one, two := <-listener.Digits(), <-listener.Digits(); one.Key != '5' || two.Key != '#' {
		t.Errorf("heard %c%c", one.Key, two.Key)
	}
	// While a key is sent into a bridge, the other side is left out.
	l.joins(a, b)
	l.does(a, func() { a.presser.press(1, 60*time.Millisecond) })
	l.later(frame)
	n := a.sent
	bert.says(toneIn(PCMU, frameSize))
	l.until("sound", func() bool { return b.in.received == 1 })
	if !a.presser.busy() || a.sent != n {
		t.Error("sound was sent during a key")
	}
}

func mustMarshal(t *testing.T, p interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	b, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFirstWordIsNotClipped(t *testing.T) {
	sound := toneIn(PCMU, 3*frameSize)
	for _, c := range []struct {
		name       string
		tap, joins bool // before the agreement
	}{{"listeners come after Start", false, false}, {"a tap is there", true, false}, {"joined already", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			caller, agent := newPhone(t, PCMU), newPhone(t, PCMU)
			a, b := l.open(caller), l.open(nil)
			agent.calls(b)
			b.KeepEarly()
			l.later(0)
			agent.sendRaw([]byte("junk"))
			agent.says(sound[:frameSize])
			agent.says(sound[frameSize : 2*frameSize])
			l.until("early sound", func() bool { return b.early.n == 3 })
			var rec recorder
			tap := func() { l.does(b, func() { b.tap = &rec; l.sh.early(b) }) }
			if c.tap {
				tap()
			}
			if c.joins {
				l.joins(a, b)
			}
			l.does(b, func() { b.start(agent.params()) })
			agent.says(sound[2*frameSize:])
			l.until("sound", func() bool { return b.in.received == 3 })
			if !c.tap {
				tap()
			}
			l.joins(a, b)
			tap() // again
			var heard []byte
			for range 3 {
				heard = append(heard, caller.hears().Payload...)
			}
			caller.hearsNothing()
			if !bytes.Equal(heard, sound) || !bytes.Equal(rec.sound, sound) {
				t.Errorf("%d bytes were forwarded, %d tapped, of %d", len(heard), len(rec.sound), len(sound))
			}
			if b.early != nil {
				t.Error("early packets are still kept")
			}
			if b.dropped != 1 {
				t.Errorf("%d dropped", b.dropped)
			}
		})
	}
}

func TestEarlyPacketsAreGivenUp(t *testing.T) {
	l := newLab(t)
	agent := newPhone(t, PCMU)
	s := l.open(nil)
	agent.calls(s)
	s.KeepEarly()
	l.later(0)
	l.does(s, func() { s.start(agent.params()) })
	l.later(earlyTime + time.Millisecond)
	if s.early != nil {
		t.Error("nobody came, and early packets are still kept")
	}
}

func TestBeforeStartIsDropped(t *testing.T) {
	l := newLab(t)
	anna := newPhone(t, PCMU)
	s := l.open(nil)
	anna.calls(s)
	anna.says(toneIn(PCMU, frameSize))
	anna.says(toneIn(PCMU, frameSize))
	n, _ := s.begin()
	l.does(s, func() { s.start(anna.params()) })
	anna.says(toneIn(PCMU, frameSize))
	l.until("sound", func() bool { return s.in.received > 0 })
	if n != 2 || s.in.received != 1 {
		t.Errorf("%d dropped, %d received", n, s.in.received)
	}
}

type bomb struct{}

func (bomb) Heard(time.Time, uint32, Codec, []byte) { panic("boom") }

func TestPanicEndsOnlyItsStream(t *testing.T) {
	l := newLab(t)
	var log strings.Builder
	l.log = newTestLog(&log)
	anna, bert := newPhone(t, PCMU), newPhone(t, PCMU)
	a, b := l.open(anna), l.open(bert)
	l.joins(a, b)
	a.tap = bomb{}
	anna.says(toneIn(PCMU, frameSize))
	l.until("the panic", func() bool { return l.Faults() == 1 })
	if !a.over || b.peer != nil || len(l.sh.streams) != 1 || l.sh.streams[b.index] != b {
		t.Error("the stream was not dropped")
	}
	if err := <-l.plays(a, NewClip(tone(10))); err != ErrClosed {
		t.Errorf("playing on it: %v", err)
	}
	if a.start(anna.params()) {
		t.Error("it started again")
	}
	l.plays(b, NewClip(tone(10)))
	l.later(0)
	bert.hears()
	a.hangUp()
	l.later(0)
	a.Close()
	if !strings.Contains(log.String(), "boom") {
		t.Errorf("the log says %q", log.String())
	}
}

func TestFloodDoesNotHoldUpOthers(t *testing.T) {
	l := newLab(t)
	anna, bert := newPhone(t, PCMU), newPhone(t, PCMU)
	a, b := l.open(anna), l.open(bert)
	for range 3 * maxRounds {
		anna.says(toneIn(PCMU, 8))
	}
	bert.says(toneIn(PCMU, frameSize))
	l.until("the other one", func() bool { return b.in.received == 1 })
	l.until("the flood", func() bool { return a.in.received > 0 })
}

// Whatever arrives, a bridged and tapped stream survives it, and the far phone
// is only sent RTP that is numbered as before.
func FuzzReceive(f *testing.F) {
	f.Add(rtpPacket(header{marker: true, pt: 101, seq: 7, ts: 8, ssrc: 9}, []byte{1, 10, 0, 160}))
	f.Add(append(rtpPacket(header{seq: 7}, make([]byte, 160)), rtpPacket(header{pt: 8, seq: 8}, make([]byte, 160))...))
	f.Add(rtpPacket(header{pt: 13, seq: 7}, []byte{60}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newPath(t, PCMU, PCMA)
		p.a.tap = &counter{}
		before := p.b.out.seq
		const size = headerLength + 160
		for range 3 {
			for rest := b; len(rest) > 0; rest = rest[min(size, len(rest)):] {
				p.l.sh.now += time.Millisecond
				p.l.sh.receive(p.a, rest[:min(size, len(rest))], p.a.latch.peer)
			}
		}
		if sent := p.b.out.seq - before; uint64(sent) < p.b.sent {
			t.Errorf("%d packets have %d numbers", p.b.sent, sent)
		}
		if p.l.Faults() != 0 || p.a.over {
			t.Error("the stream was dropped")
		}
	})
}
