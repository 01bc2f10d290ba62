package media

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

func listenAgain(addr string) (*net.UDPConn, error) {
	return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
}

func newTestLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// start opens a stream beside another and agrees with the phone.
func start(t testing.TB, e *Engine, beside *Stream, p *phone) *Stream {
	t.Helper()
	s := open(t, e, beside)
	if err := s.Start(p.params()); err != nil {
		t.Fatal(err)
	}
	p.calls(s)
	return s
}

func TestACall(t *testing.T) {
	e := newTestEngine(t)
	anna, bert := newPhone(t, PCMU), newPhone(t, PCMU)
	a := start(t, e, nil, anna)
	if a.Local().Port()%2 != 0 || a.Local().Addr() != loopback || !a.LastHeard().IsZero() {
		t.Errorf("opened on %v, heard %v", a.Local(), a.LastHeard())
	}
	greeting := NewClip(tone(10 * frameSize))
	began := time.Now()
	if err := a.Say(t.Context(), greeting, greeting); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*greeting.Duration() {
		t.Errorf("said 400 ms in %v", took)
	}
	var heard []byte
	first := anna.hears()
	heard = append(heard, first.Payload...)
	for i := range 19 {
		p := anna.hears()
		if p.Timestamp != first.Timestamp+uint32(i+1)*frameSize || p.SequenceNumber != first.SequenceNumber+uint16(i+1) || p.Marker {
			// A shard that was held up pauses instead of sending a burst.
			if !p.Marker {
				t.Errorf("packet %d: %v", i+1, p.Header)
			}
			first.Timestamp = p.Timestamp - uint32(i+1)*frameSize
		}
		heard = append(heard, p.Payload...)
	}
	if !bytes.Equal(heard, append(bytes.Clone(greeting.Bytes(PCMU)), greeting.Bytes(PCMU)...)) {
		t.Error("the greeting was not said as it is")
	}

	anna.presses('4')
	if d := <-a.Digits(); d.Key != '4' || d.At.Before(began) {
		t.Errorf("pressed %+v", d)
	}
	a.Press('9')
	a.Press('x')
	if d := <-a.Digits(); d.Key != '9' {
		t.Errorf("pressed %+v", d)
	}

	a.Loop(greeting, -5)
	anna.hears()
	b := start(t, e, a, bert)
	var rec recorder
	a.SetTap(&rec)
	if err := Join(a, b); err != nil {
		t.Fatal(err)
	}
	if err := a.Say(t.Context(), greeting); !errors.Is(err, ErrBridged) {
		t.Errorf("saying into a bridge: %v", err)
	}
	sound := toneIn(PCMU, 20*frameSize)
	for i := range 20 {
		anna.says(sound[i*frameSize : (i+1)*frameSize])
	}
	heard = nil
	for range 20 {
		heard = append(heard, bert.hears().Payload...)
	}
	if !bytes.Equal(heard, sound) {
		t.Error("the bridge changed the sound")
	}
	a.SetTap(nil)
	if !bytes.Equal(rec.sound, sound) || rec.codec != PCMU {
		t.Errorf("the tap heard %d bytes", len(rec.sound))
	}
	Part(a, b)
	Part(a, b)
	if err := a.Say(t.Context(), NewClip(tone(1))); err != nil {
		t.Errorf("saying after the bridge: %v", err)
	}
	if a.LastHeard().Before(began) {
		t.Errorf("last heard %v", a.LastHeard())
	}

	st := a.Close()
	if st.Received != 24 || st.Sent < 21 || st.Remote != localAddr(anna.rtp) || st != a.Close() || st != a.Stats() {
		t.Errorf("%+v", st)
	}
	for {
		packets, err := rtcp.Unmarshal(receiveFrom(t, anna.rtcp))
		if err != nil {
			t.Fatal(err)
		}
		if bye, ok := packets[len(packets)-1].(*rtcp.Goodbye); ok {
			if bye.Sources[0] != a.out.ssrc {
				t.Errorf("%v", bye)
			}
			break
		}
	}
	if err := a.Say(t.Context(), greeting); !errors.Is(err, ErrClosed) {
		t.Errorf("saying after Close: %v", err)
	}
	if err := a.Start(anna.params()); !errors.Is(err, ErrClosed) {
		t.Errorf("starting after Close: %v", err)
	}
	if err := Join(a, b); !errors.Is(err, ErrClosed) {
		t.Errorf("joining after Close: %v", err)
	}
	a.SetTap(&rec)
	a.KeepEarly()
	a.Silence()
}

func TestSayEndsForAReason(t *testing.T) {
	e := newTestEngine(t)
	anna := newPhone(t, PCMU)
	s := start(t, e, nil, anna)
	long := NewClip(make([]int16, 8000*60))
	hangup := errors.New("caller hung up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(hangup)
	if err := s.Say(ctx, long); err != hangup {
		t.Errorf("before it began: %v", err)
	}
	say := func(ctx context.Context) <-chan error {
		ended := make(chan error, 1)
		go func() { ended <- s.Say(ctx, long) }() // ends with Say
		anna.hears()
		return ended
	}
	ctx, cancel = context.WithCancelCause(t.Context())
	ended := say(ctx)
	cancel(hangup)
	if err := <-ended; err != hangup {
		t.Errorf("cancelled: %v", err)
	}
	ended = say(t.Context())
	s.Silence()
	if err := <-ended; !errors.Is(err, ErrReplaced) {
		t.Errorf("silenced: %v", err)
	}
	ended = say(t.Context())
	if err := s.Say(t.Context(), NewClip(tone(1))); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, ErrReplaced) {
		t.Errorf("replaced: %v", err)
	}
	if err := s.Say(t.Context()); err != nil {
		t.Errorf("saying nothing: %v", err)
	}
	s.Loop(nil, 3)
	ended = say(t.Context())
	s.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestKeysAreSent(t *testing.T) {
	e := newTestEngine(t)
	anna, bert := newPhone(t, PCMU), newPhone(t, PCMU)
	a := start(t, e, nil, anna)
	if err := a.SendDigit('E', time.Second); err == nil {
		t.Error("E is no key")
	}
	// A second stream of ours is the far end.
	b := open(t, e, nil)
	p := anna.params()
	p.Remote = b.Local()
	if err := a.Start(p); err != nil {
		t.Fatal(err)
	}
	p.Remote = a.Local()
	if err := b.Start(p); err != nil {
		t.Fatal(err)
	}
	for _, key := range []byte("19*") {
		if err := a.SendDigit(key, 50*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []byte("19*") {
		if d := <-b.Digits(); d.Key != key {
			t.Errorf("heard %q, expected %q", d.Key, key)
		}
	}
	for i := 0; ; i++ {
		err := a.SendDigit('1', time.Second)
		if errors.Is(err, ErrTooManyKeys) && i >= 31 {
			break
		}
		if err != nil || i > 40 {
			t.Fatalf("key %d: %v", i, err)
		}
	}
	mute := bert.params()
	mute.EventPT = 0
	c := open(t, e, nil)
	if err := c.SendDigit('1', 0); !errors.Is(err, ErrNoEvents) {
		t.Errorf("before Start: %v", err)
	}
	if err := c.Start(mute); err != nil {
		t.Fatal(err)
	}
	if err := c.SendDigit('1', 0); !errors.Is(err, ErrNoEvents) {
		t.Errorf("to a phone without keys: %v", err)
	}
	c.Close()
	if err := c.SendDigit('1', 0); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := c.Start(Params{Codec: 9}); err == nil {
		t.Error("G.722 was accepted")
	}
}

func TestFullDigitsDropTheNewest(t *testing.T) {
	e := newTestEngine(t)
	s := open(t, e, nil)
	for range digitBuffer {
		s.Press('1')
	}
	s.Press('2')
	if st := s.Stats(); st.KeysMissed != 1 {
		t.Errorf("%d missed", st.KeysMissed)
	}
	for range digitBuffer {
		if d := <-s.Digits(); d.Key != '1' {
			t.Errorf("%q", d.Key)
		}
	}
}

func TestPortsRunOutAndRest(t *testing.T) {
	e, err := NewEngine(Config{IP: loopback, Ports: PortRange{43001, 43006}, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	a, b := open(t, e, nil), open(t, e, nil)
	if _, err := e.Open(nil); !errors.Is(err, ErrNoPorts) {
		t.Errorf("a third pair: %v", err)
	}
	port := a.Local().Port()
	a.Close()
	if _, err := e.Open(nil); !errors.Is(err, ErrNoPorts) {
		t.Errorf("a pair that rests: %v", err)
	}
	e.mu.Lock()
	e.ports.give(port, 0) // its rest is over
	e.rest = 0
	e.mu.Unlock()
	c := open(t, e, nil)
	if c.Local().Port() != port {
		t.Errorf("got %v", c.Local())
	}
	b.Close()
	// A port that another program holds is passed over.
	e.mu.Lock()
	e.rest = time.Hour
	e.mu.Unlock()
	foreign, err := listenAgain(netip.AddrPortFrom(loopback, b.Local().Port()+1).String())
	if err != nil {
		t.Skip("the freed port was taken meanwhile: ", err)
	}
	defer foreign.Close()
	if _, err := e.Open(nil); !errors.Is(err, ErrNoPorts) {
		t.Errorf("a pair of which half is taken: %v", err)
	}
}

func TestEngineWithoutAnAddress(t *testing.T) {
	if _, err := NewEngine(Config{Ports: testPorts}); err == nil {
		t.Error("no address was accepted")
	}
	if _, err := NewEngine(Config{IP: loopback}); err == nil {
		t.Error("no ports were accepted")
	}
	e, err := NewEngine(Config{IP: netip.MustParseAddr("192.0.2.1"), Ports: testPorts})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Open(nil); err == nil || errors.Is(err, ErrNoPorts) {
		t.Errorf("binding an address that is not ours: %v", err)
	}
}

func TestIPv6(t *testing.T) {
	e, err := NewEngine(Config{IP: netip.IPv6Loopback(), Ports: testPorts, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	a, err := e.Open(nil)
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	b := open(t, e, a)
	for _, pair := range [][2]*Stream{{a, b}, {b, a}} {
		if err := pair[0].Start(Params{Remote: pair[1].Local(), Send: true, Receive: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Say(t.Context(), NewClip(tone(3*frameSize))); err != nil {
		t.Fatal(err)
	}
	if err := b.Say(t.Context(), NewClip(tone(3*frameSize))); err != nil {
		t.Fatal(err)
	}
	if x, y := a.Stats(), b.Stats(); x.Received == 0 || y.Received != 3 || y.Remote != a.Local() {
		t.Errorf("%+v %+v", x, y)
	}
}

func TestShardsShareTheStreams(t *testing.T) {
	e, err := NewEngine(Config{IP: loopback, Ports: testPorts, Shards: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	a := open(t, e, nil)
	b := open(t, e, nil)
	c := open(t, e, b)
	if a.shard == b.shard || b.shard != c.shard {
		t.Error("streams are on the wrong shards")
	}
	if err := Join(a, b); !errors.Is(err, ErrApart) {
		t.Errorf("joining across shards: %v", err)
	}
	if err := Join(a, a); !errors.Is(err, ErrApart) {
		t.Errorf("joining with itself: %v", err)
	}
}

func TestEngineCloseEndsAll(t *testing.T) {
	e := newTestEngine(t)
	anna := newPhone(t, PCMU)
	s := start(t, e, nil, anna)
	early := open(t, e, nil)
	early.KeepEarly()
	idle := open(t, e, nil)
	ended := make(chan error, 1)
	go func() { ended <- s.Say(t.Context(), NewClip(make([]int16, 80000))) }() // ends with the engine
	anna.hears()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("Say: %v", err)
	}
	if _, err := e.Open(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Open: %v", err)
	}
	// Nothing hangs afterwards.
	for _, s := range []*Stream{s, early, idle} {
		s.Stats()
		s.Close()
		s.SetTap(nil)
		s.Loop(NewClip(tone(1)), 0)
		if err := s.Say(t.Context(), NewClip(tone(1))); !errors.Is(err, ErrClosed) {
			t.Errorf("Say: %v", err)
		}
		if err := s.Start(anna.params()); !errors.Is(err, ErrClosed) {
			t.Errorf("Start: %v", err)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// Everything at once, for the race detector.
func TestManyHands(t *testing.T) {
	e := newTestEngine(t)
	anna, bert := newPhone(t, PCMU), newPhone(t, PCMA)
	a := start(t, e, nil, anna)
	b := start(t, e, a, bert)
	clip := NewClip(tone(2 * frameSize))
	var hands sync.WaitGroup
	for _, act := range []func(){
		func() { a.Say(t.Context(), clip) },
		func() { b.Loop(clip, 7) },
		func() { Join(a, b); Part(a, b) },
		func() { a.Stats(); b.LastHeard() },
		func() { a.SetTap(&recorder{}); a.SetTap(nil) },
		func() { b.SendDigit('1', 0); a.Press('1') },
		func() { b.Start(bert.params()) },
		func() { anna.says(clip.Bytes(PCMU)) },
		func() { bert.presses('1') },
		func() {
			if s, err := e.Open(b); err == nil {
				s.KeepEarly()
				s.Start(anna.params())
				Join(s, a)
				s.Close()
			}
		},
	} {
		hands.Go(func() {
			for range 20 {
				act()
				runtime.Gosched()
			}
		})
	}
	hands.Wait()
	if e.Faults() != 0 {
		t.Errorf("%d streams were dropped", e.Faults())
	}
}
