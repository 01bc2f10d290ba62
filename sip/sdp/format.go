package sdp

import (
	"bytes"
	"fmt"
	"net/netip"
)

// Bytes writes the session with CRLF line ends, in the order of RFC 8866 §5.
func (s *Session) Bytes() []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	user := s.User
	if user == "" {
		user = "-"
	}
	origin := s.Origin.Addr
	if !origin.IsValid() {
		origin = netip.IPv4Unspecified()
	}
	line("v=0")
	line("o=%s %d %d %s", user, s.SessionID, s.Version, network(origin))
	line("s=-")
	if s.Connection.IsValid() {
		line("c=%s", network(s.Connection))
	}
	if s.Time == "" {
		line("t=0 0")
	} else {
		line("t=%s", s.Time)
	}
	for _, m := range s.Media() {
		b.WriteString("m=" + m.Kind)
		fmt.Fprintf(&b, " %d %s", m.Port, m.Proto)
		for _, f := range m.Formats {
			b.WriteString(" " + f)
		}
		b.WriteString("\r\n")
		if m.Connection.IsValid() && m.Connection != s.Connection {
			line("c=%s", network(m.Connection))
		}
		for _, e := range m.Maps {
			switch {
			case e.Name == "":
			case e.Channels == 0:
				line("a=rtpmap:%d %s/%d", e.PT, e.Name, e.Rate)
			default:
				line("a=rtpmap:%d %s/%d/%d", e.PT, e.Name, e.Rate, e.Channels)
			}
			if e.Params != "" {
				line("a=fmtp:%d %s", e.PT, e.Params)
			}
		}
		if m.RTCP.Port() != 0 {
			if a := m.RTCP.Addr(); a.IsValid() && a != m.Connection {
				line("a=rtcp:%d %s", m.RTCP.Port(), network(a))
			} else {
				line("a=rtcp:%d", m.RTCP.Port())
			}
		}
		if m.Ptime != 0 {
			line("a=ptime:%d", m.Ptime)
		}
		if m.MaxPtime != 0 {
			line("a=maxptime:%d", m.MaxPtime)
		}
		if m.Port != 0 || m.Direction != SendRecv { // a refused line needs none
			line("a=%s", m.Direction)
		}
	}
	return b.Bytes()
}

func network(a netip.Addr) string {
	if a.Is4() {
		return "IN IP4 " + a.String()
	}
	return "IN IP6 " + a.String()
}
