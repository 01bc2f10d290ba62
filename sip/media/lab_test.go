package media

import (
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/pion/rtp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddr("127.0.0.1")

// testPorts keeps the tests of this package away from those of others that run
// at the same time.
var testPorts = PortRange{41000, 42999}

func newTestEngine(t testing.TB) *Engine {
	t.Helper()
	e, err := NewEngine(Config{IP: loopback, Ports: testPorts, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func open(t testing.TB, e *Engine, beside *Stream) *Stream {
	t.Helper()
	s, err := e.Open(beside)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lab is an engine whose only shard is ticked by the test, which also moves the
// clock.
type lab struct {
	t testing.TB
	*Engine
	sh *shard
}

func newLab(t testing.TB) *lab {
	t.Helper()
	ports, err := newPortPool(testPorts)
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{
		ip: loopback, epoch: time.Now(), log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		ports: ports, streams: map[*Stream]struct{}{}, rest: portRest,
	}
	sh, err := newShard(e)
	if err != nil {
		t.Fatal(err)
	}
	e.shards = []*shard{sh}
	t.Cleanup(func() {
		for s := range e.streams {
			s.hangUp()
		}
		sh.tick()
		sh.poll.close()
	})
	return &lab{t, e, sh}
}

// later lets time pass and ticks once.
func (l *lab) later(d time.Duration) {
	l.epoch = l.epoch.Add(-d)
	l.sh.tick()
}

// does performs a command for a stream at once, as a tick would.
func (l *lab) does(s *Stream, f func()) {
	l.sh.now = l.clock()
	l.sh.performOne(command{s, f, nil})
}

// plays begins to play and gives what Say would return.
func (l *lab) plays(s *Stream, clips ...*Clip) <-chan error {
	done := make(chan error, 1)
	l.does(s, func() { s.sound(&player{clips: clips, done: done}) })
	return done
}

func (l *lab) joins(a, b *Stream) { l.does(a, func() { join(a, b) }) }

// until ticks, with the clock as it is, until the sockets have brought what is
// waited for.
func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	for end := time.Now().Add(5 * time.Second); ; {
		l.sh.tick()
		if ok() {
			return
		}
		runtime.Gosched() // elsewhere than on Linux a goroutine reads the socket
		if time.Now().After(end) {
			l.t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func (l *lab) open(p *phone) *Stream {
	l.t.Helper()
	s := open(l.t, l.Engine, nil)
	if p != nil {
		s.begin()
		l.does(s, func() { s.start(p.params()) })
		p.calls(s)
	}
	return s
}

// phone is the far end of a stream: a pair of sockets.
type phone struct {
	t         testing.TB
	rtp, rtcp *net.UDPConn
	to        netip.AddrPort
	ssrc      uint32
	seq       uint16
	ts        uint32
	codec     Codec
	eventPT   uint8
}

func newPhone(t testing.TB, c Codec) *phone {
	t.Helper()
	listen := func() *net.UDPConn {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	return &phone{
		t: t, rtp: listen(), rtcp: listen(), codec: c, eventPT: 101,
		ssrc: 0xABCD0000 + uint32(c), seq: 65530, ts: math.MaxUint32 - 400, // both wrap soon
	}
}

func localAddr(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

func (p *phone) params() Params {
	return Params{
		Remote: localAddr(p.rtp), RemoteRTCP: localAddr(p.rtcp),
		Codec: p.codec, EventPT: p.eventPT, Send: true, Receive: true,
	}
}

func (p *phone) calls(s *Stream) { p.to = s.Local() }

func (p *phone) sendRaw(b []byte) {
	p.t.Helper()
	if _, err := p.rtp.WriteToUDPAddrPort(b, p.to); err != nil {
		p.t.Fatal(err)
	}
}

// says sends one audio packet.
func (p *phone) says(payload []byte) {
	p.t.Helper()
	p.sendRaw(rtpPacket(header{pt: uint8(p.codec), seq: p.seq, ts: p.ts, ssrc: p.ssrc}, payload))
	p.seq++
	p.ts += uint32(len(payload))
}

// loses a packet on the way.
func (p *phone) loses() {
	p.seq++
	p.ts += frameSize
}

// presses sends one whole press of a key.
func (p *phone) presses(key byte) {
	p.t.Helper()
	code, _ := eventCode(key)
	for i, e := range []event{
		{code: code, duration: 160}, {code: code, duration: 320},
		{code: code, duration: 400, end: true}, {code: code, duration: 400, end: true},
	} {
		var b [eventLength]byte
		e.put(b[:])
		p.sendRaw(rtpPacket(header{marker: i == 0, pt: p.eventPT, seq: p.seq, ts: p.ts, ssrc: p.ssrc}, b[:]))
		p.seq++
	}
	p.ts += 400
}

// hears gives the next RTP packet that arrives.
func (p *phone) hears() rtp.Packet {
	p.t.Helper()
	var got rtp.Packet
	if err := got.Unmarshal(receiveFrom(p.t, p.rtp)); err != nil {
		p.t.Fatal(err)
	}
	return got
}

func receiveFrom(t testing.TB, c *net.UDPConn) []byte {
	t.Helper()
	b := make([]byte, 2048)
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// hearsNothing fails if anything has arrived.
func (p *phone) hearsNothing() {
	p.t.Helper()
	b := make([]byte, 2048)
	p.rtp.SetReadDeadline(time.Now().Add(time.Millisecond))
	n, _, err := p.rtp.ReadFromUDPAddrPort(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("heard %x (%v), expected nothing", b[:n], err)
	}
}

func rtpPacket(h header, payload []byte) []byte {
	b := make([]byte, headerLength, headerLength+len(payload))
	h.put(b)
	return append(b, payload...)
}

// tone is a sound that is never the same in two packets: a rising sweep.
func tone(n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		x := float64(i)
		pcm[i] = int16(12000 * math.Sin(x*(0.1+x*1e-6)))
	}
	return pcm
}

func toneIn(c Codec, n int) []byte { return NewClip(tone(n)).Bytes(c) }

// recorder is a tap that keeps all.
type recorder struct {
	ts    []uint32
	sound []byte
	codec Codec
}

func (r *recorder) Heard(_ time.Time, ts uint32, c Codec, payload []byte) {
	r.ts = append(r.ts, ts)
	r.sound = append(r.sound, payload...)
	r.codec = c
}
