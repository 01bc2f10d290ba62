// Package sdp agrees with a peer on one audio stream: it reads and writes
// session descriptions (RFC 8866) and does the offer/answer of RFC 3264 for
// G.711 and telephone-event over plain RTP.
//
// It decides which m= line carries the talk, which codec, where to send, who
// sends, and whether the peer has put us on hold. It never opens a socket,
// knows no call and no clock, keeps no state and starts no goroutine: every
// function is pure and may be called from anywhere.
//
// What the package does not understand it leaves out: a parsed session holds
// what one audio stream needs and the bare m= lines of everything else, since
// an answer must refuse those one by one, in order.
package sdp

import "net/netip"

// Codec is an RTP payload type of the static table of RFC 3551 §6.
type Codec = uint8

// The two codecs, both at 8 kHz with one channel.
const (
	PCMU Codec = 0 // G.711 µ-law
	PCMA Codec = 8 // G.711 A-law
)

// DefaultEventPT is the payload type that offers give to telephone-event.
const DefaultEventPT uint8 = 101

// DefaultPtime is the packet time that we write and that holds where a peer
// says none, in milliseconds (RFC 3551 §4.5).
const DefaultPtime = 20

// Session is a session description, reduced to what one audio stream needs.
type Session struct {
	Origin
	// Connection is the session-level c= address; the zero Addr if there is none.
	Connection netip.Addr
	// Time is the text of t=, "" for "0 0". An answer repeats the offer's
	// (RFC 3264 §6).
	Time string
	// Audio is the stream that carries the talk. In a parsed session it is the
	// first audio line over plain RTP whose port isn't 0, else the first audio
	// line. Without any audio line it is the zero Media (Kind "").
	Audio Media
	// AudioAt is the place of Audio among the m= lines, from 0.
	AudioAt int
	// Others are the other m= lines, in order.
	Others []Media
}

// Origin is the o= line: who made the session and which version of it this is.
type Origin struct {
	User      string // "-" when empty
	SessionID uint64 // 0 when the peer wrote something that is not such a number
	Version   uint64 // likewise
	Addr      netip.Addr
}

// Media is one m= line with the attributes below it.
type Media struct {
	Kind  string // "audio", "video", …
	Port  uint16 // of RTP; 0: refused, or not in use
	Proto string // "RTP/AVP" for what we take
	// Formats are the payload types as written, most wanted first.
	Formats []string
	// Connection is where the peer wants the stream: its own c= line or else
	// the session's. The unspecified address is the old way to say hold.
	Connection netip.Addr
	// RTCP is where the peer wants RTCP (RFC 3605). Zero: not said, so it is
	// the port after Port.
	RTCP netip.AddrPort
	// Direction is seen from whoever wrote the session.
	Direction Direction
	Maps      []Map // of a=rtpmap and a=fmtp, in order of Formats
	Ptime     int   // in milliseconds; 0: not said
	MaxPtime  int   // in milliseconds; 0: not said
}

// Map says what a payload type stands for (a=rtpmap) and its parameters
// (a=fmtp).
type Map struct {
	PT       uint8
	Name     string // as written; compare without regard to case. "" if only fmtp was given
	Rate     int    // in Hz
	Channels int    // 0: not said, which means 1
	Params   string // of a=fmtp
}

// Media returns all m= lines in their order.
func (s *Session) Media() []Media {
	if s.Audio.Kind == "" {
		return s.Others
	}
	at := min(max(s.AudioAt, 0), len(s.Others))
	all := make([]Media, 0, len(s.Others)+1)
	all = append(all, s.Others[:at]...)
	all = append(all, s.Audio)
	return append(all, s.Others[at:]...)
}

// setMedia stores the lines with the one at place `at` as Audio; at < 0: none.
func (s *Session) setMedia(all []Media, at int) {
	s.Audio, s.AudioAt, s.Others = Media{}, 0, nil
	for i, m := range all {
		if i == at {
			s.Audio, s.AudioAt = m, at
		} else {
			s.Others = append(s.Others, m)
		}
	}
}

// Direction says which way media flows, from the view of whoever says it. The
// zero value is SendRecv, the default of RFC 3264 §5.1.
type Direction uint8

// The four directions.
const (
	SendRecv Direction = iota
	SendOnly
	RecvOnly
	Inactive
)

// String gives the attribute of RFC 8866 §6.7.
func (d Direction) String() string {
	switch d {
	case SendOnly:
		return "sendonly"
	case RecvOnly:
		return "recvonly"
	case Inactive:
		return "inactive"
	}
	return "sendrecv"
}

// Sends tells whether the one who says d sends.
func (d Direction) Sends() bool { return d == SendRecv || d == SendOnly }

// Receives tells whether the one who says d wants to receive.
func (d Direction) Receives() bool { return d == SendRecv || d == RecvOnly }

// Mirror is d seen from the other end.
func (d Direction) Mirror() Direction { return direction(d.Receives(), d.Sends()) }

// And is what is left when both d and other must be content, each seen from the
// same end.
func (d Direction) And(other Direction) Direction {
	return direction(d.Sends() && other.Sends(), d.Receives() && other.Receives())
}

func direction(sends, receives bool) Direction {
	switch {
	case sends && receives:
		return SendRecv
	case sends:
		return SendOnly
	case receives:
		return RecvOnly
	}
	return Inactive
}
