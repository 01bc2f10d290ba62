package sdp

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// ErrNoCommonCodec says that the two sides have no audio stream in common: no
// codec, no plain RTP, no usable address, or no audio at all; the wrapping error
// says which. A SIP UA answers it with 488.
var ErrNoCommonCodec = errors.New("no common codec")

// Local describes our side of a stream.
type Local struct {
	// Addr is where we receive RTP; RTCP is one port above.
	Addr netip.AddrPort
	// Codecs are the payload types that we take (PCMU, PCMA), by preference.
	Codecs []Codec
	// Events: we understand telephone-event (RFC 4733).
	Events bool
	// SessionID stays the same for the life of a dialog; Version grows by one
	// with each description that differs from the one before (RFC 3264 §8).
	// Follow counts it. Both stay below 1<<62 (RFC 3264 §5).
	SessionID, Version uint64
	// Direction is what we want, from our view; SendOnly puts the peer on hold.
	Direction Direction
}

// Agreed is what an offer and its answer come to, from our view.
type Agreed struct {
	// Remote is where to send RTP. It is the zero AddrPort when the peer gave the
	// unspecified address (hold as of RFC 2543); then nothing is to be sent, and
	// after the hold a new agreement says where.
	Remote netip.AddrPort
	// RemoteRTCP is where to send RTCP; zero: one port above Remote.
	RemoteRTCP netip.AddrPort
	// PayloadType is the codec of both ways: PCMU or PCMA.
	PayloadType Codec
	// EventPT is the payload type of telephone-event, 0 if the peer has none.
	EventPT uint8
	// Send and Receive say which ways are open.
	Send, Receive bool
	// Held: the peer has put us on hold: it doesn't want to hear us (sendonly,
	// inactive, or the unspecified address), and that isn't our own doing.
	Held bool
	// Ptime is how much sound the peer wants in a packet, in milliseconds.
	Ptime int
}

// Offer makes the session that offers our side: our codecs in order, telephone-event
// as DefaultEventPT if l has Events, 20 ms packets.
func Offer(l Local) *Session {
	m := l.audio(l.Codecs)
	if l.Events {
		m.addEvents(DefaultEventPT, "0-16")
	}
	m.Direction = l.Direction
	s := l.session()
	s.setMedia([]Media{m}, 0)
	return s
}

// Answer answers an offer and tells what is agreed with that answer. The first
// audio line is taken that is in use, over plain RTP, has a unicast address of our address family,
// and a codec that we have; all others are refused with port 0 (RFC 3264 §6).
//
// The codec is the offerer's first that we have, and the answer names it alone, so
// that neither side changes codec within a call. err wraps ErrNoCommonCodec; then
// there is no answer.
func Answer(l Local, offer *Session) (answer *Session, agreed Agreed, err error) {
	lines := offer.Media()
	at, codec := -1, Codec(0)
	var why []string
	for i := range lines {
		m := &lines[i]
		if m.Kind != "audio" {
			continue
		}
		c, err := l.takes(m)
		if err == nil {
			at, codec = i, c
			break
		}
		why = append(why, err.Error())
	}
	if at < 0 {
		if why == nil {
			why = []string{"the offer has no audio"}
		}
		return nil, Agreed{}, fmt.Errorf("%w: %s", ErrNoCommonCodec, strings.Join(why, "; "))
	}
	theirs := &lines[at]
	held := !theirs.Direction.Receives() || theirs.Connection.IsUnspecified()
	ours := theirs.Direction.Mirror().And(l.Direction)
	if held {
		ours = ours.And(RecvOnly)
	}
	answers := make([]Media, len(lines))
	for i, m := range lines {
		answers[i] = Media{Kind: m.Kind, Proto: m.Proto, Formats: slices.Clone(m.Formats), Connection: l.Addr.Addr().Unmap()}
	}
	m := l.audio([]Codec{codec})
	m.Proto, m.Direction = theirs.Proto, ours
	eventPT, events := theirs.events()
	if l.Events && eventPT != 0 {
		m.addEvents(eventPT, events)
	} else {
		eventPT = 0
	}
	answers[at] = m
	answer = l.session()
	answer.Time = offer.Time // RFC 3264 §6: equal to the offer's
	answer.setMedia(answers, at)

	agreed = theirs.agreed(codec, eventPT)
	agreed.Send, agreed.Receive, agreed.Held = ours.Sends(), ours.Receives(), held
	return answer, agreed, nil
}

// Accept reads the answer to our offer. err wraps ErrNoCommonCodec when the peer
// refused the stream or named no codec of the offer.
func Accept(l Local, offer, answer *Session) (Agreed, error) {
	lines := answer.Media()
	if offer.AudioAt >= len(lines) || lines[offer.AudioAt].Kind != "audio" {
		return Agreed{}, fmt.Errorf("%w: the answer has no audio where the offer had", ErrNoCommonCodec)
	}
	theirs, offered := &lines[offer.AudioAt], &offer.Audio
	codecs := make([]Codec, 0, 2)
	for _, c := range l.Codecs {
		if slices.Contains(offered.Formats, strconv.Itoa(int(c))) {
			codecs = append(codecs, c)
		}
	}
	l.Codecs = codecs
	codec, err := l.takes(theirs)
	if err != nil {
		return Agreed{}, fmt.Errorf("%w: %w", ErrNoCommonCodec, err)
	}
	eventPT := uint8(0)
	if ours, _ := offered.events(); l.Events && ours != 0 {
		eventPT, _ = theirs.events()
	}
	// An answer may narrow the offer but not widen it; some phones answer a hold with sendrecv.
	ours := theirs.Direction.Mirror().And(offered.Direction)
	agreed := theirs.agreed(codec, eventPT)
	agreed.Held = offered.Direction.Sends() && (!theirs.Direction.Receives() || theirs.Connection.IsUnspecified())
	agreed.Send = ours.Sends() && !agreed.Held
	agreed.Receive = ours.Receives()
	return agreed, nil
}

// Follow gives s its version after prev, the description that we sent before in
// the same dialog (nil: none): the same one when nothing else differs, else
// the next (RFC 3264 §8).
func (s *Session) Follow(prev *Session) {
	if prev == nil {
		return
	}
	s.SessionID, s.Version = prev.SessionID, prev.Version
	if !reflect.DeepEqual(s, prev) {
		s.Version++
	}
}

// session makes the lines above the first m=.
func (l *Local) session() *Session {
	addr := l.Addr.Addr().Unmap()
	return &Session{
		Origin:     Origin{User: "-", SessionID: l.SessionID, Version: l.Version, Addr: addr},
		Connection: addr,
	}
}

func (l *Local) audio(codecs []Codec) Media {
	m := Media{
		Kind: "audio", Port: l.Addr.Port(), Proto: "RTP/AVP",
		Connection: l.Addr.Addr().Unmap(), Ptime: DefaultPtime,
	}
	for _, c := range codecs {
		m.Formats = append(m.Formats, strconv.Itoa(int(c)))
		m.Maps = append(m.Maps, Map{PT: c, Name: codecName(c), Rate: 8000})
	}
	return m
}

func (m *Media) addEvents(pt uint8, events string) {
	m.Formats = append(m.Formats, strconv.Itoa(int(pt)))
	m.Maps = append(m.Maps, Map{PT: pt, Name: "telephone-event", Rate: 8000, Params: events})
}

// takes tells the codec that we use on the peer's line m, or why we can't take it.
func (l *Local) takes(m *Media) (Codec, error) {
	switch addr := m.Connection; {
	case m.Port == 0:
		return 0, errors.New("the audio line is switched off (port 0)")
	case !isPlainRTP(m.Proto):
		return 0, fmt.Errorf("%s is not supported, want RTP/AVP", m.Proto)
	case !addr.IsValid():
		return 0, errors.New("the audio line has no address")
	case addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return 0, fmt.Errorf("%s is not the address of one phone", addr)
	case l.Addr.IsValid() && addr.Is4() != l.Addr.Addr().Unmap().Is4():
		return 0, fmt.Errorf("%s is not of the address family of %s", addr, l.Addr.Addr())
	}
	for _, f := range m.Formats {
		for _, c := range l.Codecs {
			if f == strconv.Itoa(int(c)) && m.is(c) {
				return c, nil
			}
		}
	}
	return 0, fmt.Errorf("payload types %s", strings.Join(m.Formats, " "))
}

// is tells whether payload type c means on this line what the static table
// says; a=rtpmap may be left out for it (RFC 3551 §6).
func (m *Media) is(c Codec) bool {
	for _, e := range m.Maps {
		if e.PT == c && e.Name != "" {
			return strings.EqualFold(e.Name, codecName(c)) && e.Rate == 8000 && e.Channels <= 1
		}
	}
	return codecName(c) != ""
}

func codecName(c Codec) string {
	switch c {
	case PCMU:
		return "PCMU"
	case PCMA:
		return "PCMA"
	}
	return ""
}

// events finds telephone-event at the clock rate of G.711 and the range of
// events to answer with; pt is 0 if there is none. Phones that also have
// wideband codecs list it once per clock rate.
func (m *Media) events() (pt uint8, events string) {
	for _, e := range m.Maps {
		if e.PT != PCMU && e.PT != PCMA && strings.EqualFold(e.Name, "telephone-event") && e.Rate == 8000 {
			if hasEvent16(e.Params) {
				return e.PT, "0-16"
			}
			return e.PT, "0-15" // also what a missing fmtp means (RFC 4733 §2.4.1)
		}
	}
	return 0, ""
}

// hasEvent16: whether a list like "0-15,66,70" has the hook flash, 16.
func hasEvent16(list string) bool {
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			high = low
		}
		a, err := strconv.ParseUint(low, 10, 8)
		b, err2 := strconv.ParseUint(high, 10, 8)
		if err == nil && err2 == nil && a <= 16 && 16 <= b {
			return true
		}
	}
	return false
}

// agreed fills in where and how the peer wants to receive.
func (m *Media) agreed(codec Codec, eventPT uint8) Agreed {
	a := Agreed{PayloadType: codec, EventPT: eventPT, Ptime: m.Ptime}
	if !m.Connection.IsUnspecified() {
		a.Remote = netip.AddrPortFrom(m.Connection, m.Port)
		if m.RTCP.Addr().IsValid() && !m.RTCP.Addr().IsUnspecified() && !m.RTCP.Addr().IsMulticast() {
			a.RemoteRTCP = m.RTCP
		}
	}
	if a.Ptime == 0 {
		a.Ptime = DefaultPtime
	}
	if m.MaxPtime != 0 && m.MaxPtime < a.Ptime {
		a.Ptime = m.MaxPtime
	}
	return a
}
