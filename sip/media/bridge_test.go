package media

import (
	"bytes"
	"testing"
	"time"
)

func TestBridgeCarriesEachByte(t *testing.T) {
	l := newLab(t)
	anna, bert := newPhone(t, PCMU), newPhone(t, PCMU)
	a, b := l.open(anna), l.open(bert)
	l.joins(a, b)
	sound := toneIn(PCMU, 50*frameSize)
	var heard []byte
	for i := range 50 {
		anna.says(sound[i*frameSize : (i+1)*frameSize])
		l.until("the packet", func() bool { return b.sent == uint64(i+1) })
		p := bert.hears()
		if p.Marker != (i == 0) || p.SSRC != b.out.ssrc || p.PayloadType != 0 {
			t.Fatalf("packet %d: %v", i, p)
		}
		heard = append(heard, p.Payload...)
		l.later(frame)
	}
	if !bytes.Equal(heard, sound) {
		t.Error("what came out is not what went in")
	}
	if st := b.stats(); st.Sent != 50 || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
	if st := a.stats(); st.Received != 50 || st.Lost != 0 || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
}

func TestBridgeBetweenTheLaws(t *testing.T) {
	l := newLab(t)
	anna, bert := newPhone(t, PCMU), newPhone(t, PCMA)
	a, b := l.open(anna), l.open(bert)
	l.joins(a, b)
	u, inA := toneIn(PCMU, frameSize), make([]byte, frameSize)
	ULawsToALaws(inA, u)
	anna.says(u)
	l.until("the packet", func() bool { return b.sent == 1 })
	if p := bert.hears(); p.PayloadType != 8 || !bytes.Equal(p.Payload, inA) {
		t.Errorf("µ-law arrived as %v", p)
	}
	al, inU := toneIn(PCMA, frameSize), make([]byte, frameSize)
	ALawsToULaws(inU, al)
	bert.says(al)
	l.until("the packet", func() bool { return a.sent == 1 })
	if p := anna.hears(); p.PayloadType != 0 || !bytes.Equal(p.Payload, inU) {
		t.Errorf("A-law arrived as %v", p)
	}
	// A phone that changes its law unasked is understood all the same.
	anna.codec = PCMA
	anna.says(al)
	l.until("the packet", func() bool { return b.sent == 2 })
	if p := bert.hears(); p.PayloadType != 8 || !bytes.Equal(p.Payload, al) {
		t.Errorf("A-law arrived as %v", p)
	}
}

func TestBridgeDoesNotHideLoss(t *testing.T) {
	l := newLab(t)
	anna, bert := newPhone(t, PCMU), newPhone(t, PCMU)
	a, b := l.open(anna), l.open(bert)
	l.joins(a, b)
	sound := toneIn(PCMU, frameSize)
	next := func(n uint64) (uint16, uint32) {
		l.until("the packet", func() bool { return b.sent == n })
		p := bert.hears()
		return p.SequenceNumber, p.Timestamp
	}
	anna.says(sound)
	seq, ts := next(1)
	anna.loses()
	anna.loses()
	anna.says(sound)
	if s, x := next(2); s != seq+3 || x != ts+3*frameSize {
		t.Errorf("after two lost packets: %d, %d follow %d, %d", s, x, seq, ts)
	}
	// Comfort noise stays here and leaves no gap.
	anna.sendRaw(rtpPacket(header{pt: ptComfortNoise, seq: anna.seq, ts: anna.ts, ssrc: anna.ssrc}, []byte{60}))
	anna.loses()
	anna.says(sound)
	if s, x := next(3); s != seq+4 || x != ts+5*frameSize {
		t.Errorf("after comfort noise: %d, %d follow %d, %d", s, x, seq, ts)
	}
	if st := a.stats(); st.Lost != 2 || st.Received != 4 {
		t.Errorf("%+v", st)
	}
}

func TestBridgeCarriesKeys(t *testing.T) {
	l := newLab(t)
	anna, bert, carl := newPhone(t, PCMU), newPhone(t, PCMU), newPhone(t, PCMU)
	bert.eventPT, carl.eventPT = 96, 0
	a, b, c := l.open(anna), l.open(bert), l.open(carl)
	l.joins(a, b)
	anna.says(toneIn(PCMU, frameSize))
	anna.presses('7')
	anna.says(toneIn(PCMU, frameSize))
	l.until("sound and key", func() bool { return b.sent == 6 })
	first := bert.hears()
	for i := range 4 {
		p := bert.hears()
		if p.PayloadType != 96 || p.Payload[0] != 7 || p.Timestamp != first.Timestamp+frameSize || p.SequenceNumber != first.SequenceNumber+1+uint16(i) || p.Marker != (i == 0) {
			t.Errorf("key packet %d: %v", i, p)
		}
	}
	if p := bert.hears(); p.Timestamp != first.Timestamp+frameSize+400 || p.SequenceNumber != first.SequenceNumber+5 {
		t.Errorf("after the key: %v", p)
	}
	if d := <-a.Digits(); d.Key != '7' {
		t.Errorf("heard %q", d.Key)
	}
	// To a phone that does not understand keys they are not sent.
	l.joins(a, c)
	if b.peer != nil || a.peer != c {
		t.Error("joined to a third, still joined to the second")
	}
	anna.says(toneIn(PCMU, frameSize))
	anna.presses('8')
	anna.says(toneIn(PCMU, frameSize))
	l.until("sound", func() bool { return c.sent == 2 })
	one, two := carl.hears(), carl.hears()
	if two.SequenceNumber != one.SequenceNumber+1 || two.Timestamp != one.Timestamp+frameSize+400 {
		t.Errorf("%v follows %v", two, one)
	}
}

func TestPromptMusicBridgeAreOneSource(t *testing.T) {
	l := newLab(t)
	anna, bert := newPhone(t, PCMA), newPhone(t, PCMA)
	a, b := l.open(anna), l.open(bert)
	greeting, music := NewClipG711(PCMA, toneIn(PCMA, 5*frameSize)), NewClip(tone(3000))
	done := l.plays(a, greeting)
	var ts []uint32
	var seq []uint16
	var markers []bool
	hear := func() []byte {
		p := anna.hears()
		if p.SSRC != a.out.ssrc || p.PayloadType != 8 {
			t.Errorf("%v", p)
		}
		ts, seq, markers = append(ts, p.Timestamp), append(seq, p.SequenceNumber), append(markers, p.Marker)
		return p.Payload
	}
	l.later(0)
	var heard []byte
	for range 5 {
		select {
		case <-done:
			t.Error("Say ended before the last packet was heard")
		default:
		}
		heard = append(heard, hear()...)
		l.later(frame)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !bytes.Equal(heard, greeting.Bytes(PCMA)) {
		t.Error("the greeting was not played as it is")
	}
	l.later(time.Second)
	anna.hearsNothing()
	l.does(a, func() { a.sound(&player{clips: []*Clip{music}, loop: true, at: 1500}) })
	l.later(0)
	if got := hear(); !bytes.Equal(got, music.Bytes(PCMA)[1500:1660]) {
		t.Error("music does not begin where it was asked to")
	}
	l.later(frame)
	hear()
	l.joins(a, b)
	l.later(frame)
	anna.hearsNothing()
	l.later(frame)
	bert.says(toneIn(PCMA, frameSize))
	l.until("the bridge", func() bool { return a.sent == 8 })
	hear()
	for i := 1; i < len(seq); i++ {
		gap := ts[i] - ts[i-1]
		talk := i != 5 && i != 7
		if seq[i] != seq[i-1]+1 || talk && gap != frameSize || markers[i] != !talk || gap < frameSize || gap > 8000+200+frameSize*3 {
			t.Errorf("packet %d: sequence +%d, timestamp +%d, marker %v", i, seq[i]-seq[i-1], gap, markers[i])
		}
	}
	if gap := ts[5] - ts[4]; gap < 8000 {
		t.Errorf("a second of silence is %d samples", gap)
	}
	// What plays does not disturb a bridge.
	if err := <-l.plays(a, greeting); err != ErrBridged {
		t.Errorf("playing into a bridge: %v", err)
	}
	a.part()
	bert.says(toneIn(PCMA, frameSize))
	l.until("the packet", func() bool { return b.in.received == 2 })
	anna.hearsNothing()
}
