package media

import (
	"testing"
	"time"
)

// counter is a tap that does nothing with what it hears.
type counter struct{ heard int }

func (c *counter) Heard(_ time.Time, _ uint32, _ Codec, payload []byte) { c.heard += len(payload) }

// path is a bridge whose packets are handed to the shard without a first socket;
// what it sends goes to real ones.
type path struct {
	l    *lab
	a, b *Stream
	from *phone
	h    header
	pkt  []byte
}

func newPath(t testing.TB, from, to Codec) *path {
	l := newLab(t)
	anna, bert := newPhone(t, from), newPhone(t, to)
	p := &path{l: l, a: l.open(anna), b: l.open(bert), from: anna}
	l.joins(p.a, p.b)
	p.h = header{pt: uint8(from), ssrc: 7}
	p.pkt = rtpPacket(p.h, toneIn(from, frameSize))
	return p
}

func (p *path) packet() {
	p.h.seq++
	p.h.ts += frameSize
	p.h.put(p.pkt)
	p.l.sh.now += frame
	p.l.sh.receive(p.a, p.pkt, p.a.latch.peer)
}

func TestPacketPathAllocatesNothing(t *testing.T) {
	none := func(what string, f func()) {
		t.Helper()
		for range 10 {
			f()
		}
		if n := testing.AllocsPerRun(500, f); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
	p := newPath(t, PCMU, PCMU)
	none("forward", p.packet)
	p = newPath(t, PCMU, PCMA)
	none("transcode", p.packet)
	var c counter
	p.a.tap = &c
	none("tap", p.packet)
	if c.heard < 500*frameSize || p.b.sent < 1000 {
		t.Errorf("tapped %d bytes, sent %d packets", c.heard, p.b.sent)
	}
	key := rtpPacket(header{pt: 101, ssrc: 7}, []byte{1, 10, 0, 160})
	none("key", func() {
		p.h.seq++
		h := p.h
		h.pt, h.ts = 101, h.ts+uint32(h.seq)*1000
		h.put(key)
		p.l.sh.receive(p.a, key, p.a.latch.peer)
	})
	none("junk", func() { p.l.sh.receive(p.a, p.pkt[:5], p.a.latch.peer) })
	none("report", func() { p.l.sh.sendReport(p.a, false) })
	l := newLab(t)
	s := l.open(newPhone(t, PCMU))
	clip := NewClip(tone(12345))
	l.does(s, func() { s.sound(&player{clips: []*Clip{clip}, loop: true}) })
	none("play", func() { l.later(frame) })
	if s.sent < 500 {
		t.Errorf("played %d packets", s.sent)
	}
	phone := newPhone(t, PCMU)
	l.does(s, func() { s.presser = new(keyPresser) })
	none("press", func() {
		s.presser.press(1, 40*time.Millisecond)
		l.later(frame)
	})
	quiet := l.open(phone)
	sound := rtpPacket(header{ssrc: 1, pt: 0}, make([]byte, frameSize))
	seq := uint16(0)
	none("read", func() {
		seq++
		header{ssrc: 1, seq: seq, ts: uint32(seq) * frameSize}.put(sound)
		phone.sendRaw(sound)
		l.until("sound", func() bool { return quiet.in.high == seq })
	})
}

func TestTickFollowsTheLoad(t *testing.T) {
	var sh shard
	for _, c := range []struct {
		streams int
		tick    time.Duration
	}{{1, quickTick}, {fewStreams, quickTick}, {fewStreams + 1, slowTick}} {
		sh.streams = make([]*Stream, c.streams)
		if got := sh.tickLength(); got != c.tick {
			t.Errorf("%d streams: %v", c.streams, got)
		}
	}
}

func benchmarkPath(b *testing.B, p *path) {
	b.ReportAllocs()
	for b.Loop() {
		p.packet()
	}
	if p.b.sent < uint64(b.N) {
		b.Fatalf("%d of %d packets were sent", p.b.sent, b.N)
	}
}

// Forwarding, from the bytes of a packet to the far phone's socket; most of it
// is the kernel's sendto. Relay is the rewriting alone.

func BenchmarkForward(b *testing.B)   { benchmarkPath(b, newPath(b, PCMU, PCMU)) }
func BenchmarkTranscode(b *testing.B) { benchmarkPath(b, newPath(b, PCMU, PCMA)) }

func BenchmarkForwardTapped(b *testing.B) {
	p := newPath(b, PCMU, PCMU)
	p.a.tap = &counter{}
	benchmarkPath(b, p)
}

func BenchmarkReceive(b *testing.B) {
	p := newPath(b, PCMU, PCMU)
	p.a.part()
	b.ReportAllocs()
	for b.Loop() {
		p.packet()
	}
}

func BenchmarkRelay(b *testing.B) {
	var r relay
	var s sender
	h := header{ssrc: 1}
	b.ReportAllocs()
	for b.Loop() {
		h.seq++
		h.ts += frameSize
		r.pass(&s, h, frameSize, false, 0)
	}
}

func BenchmarkConvertLaw(b *testing.B) {
	sound := toneIn(PCMU, frameSize)
	b.SetBytes(frameSize)
	for b.Loop() {
		ULawsToALaws(sound, sound)
	}
}

// BenchmarkPlay is one tick of a shard on which one stream plays, with its packet.
func BenchmarkPlay(b *testing.B) {
	l := newLab(b)
	s := l.open(newPhone(b, PCMU))
	l.does(s, func() { s.sound(&player{clips: []*Clip{NewClip(tone(80000))}, loop: true}) })
	b.ReportAllocs()
	for b.Loop() {
		l.later(frame)
	}
}

// BenchmarkIdleTick is one tick of a shard with 200 streams that do nothing.
func BenchmarkIdleTick(b *testing.B) {
	l := newLab(b)
	for range 200 {
		s := open(b, l.Engine, nil)
		s.begin()
		l.does(s, func() { s.start(Params{}) })
	}
	l.sh.tick()
	b.ReportAllocs()
	for b.Loop() {
		l.sh.tick()
	}
}
