package sdp

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Bounds of what Parse reads. Real phones stay far below; a browser with video
// has about 8 KB and 200 lines.
const (
	MaxSize    = 64 << 10 // bytes of a session
	MaxLines   = 2000
	MaxMedia   = 32  // m= lines
	MaxFormats = 128 // on one m= line: RTP has no more payload types
	maxToken   = 64  // bytes of a media kind, protocol or format
)

// Parse reads a session. It takes what real phones send: lines in odd order,
// LF for CRLF, attributes and line types it doesn't know (left out). It refuses
// what it could only guess at, with an error that names the line. It never
// panics; its memory is bounded by MaxSize.
func Parse(b []byte) (*Session, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("sdp: %d bytes, want at most %d", len(b), MaxSize)
	}
	text := strings.TrimRight(string(b), "\x00\r\n\t ") // some phones end the body with a NUL
	if text == "" {
		return nil, fmt.Errorf("sdp: empty, want a session that begins with v=0")
	}
	p := parser{session: &Session{}}
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		p.line++
		if p.line > MaxLines {
			return nil, fmt.Errorf("sdp: more than %d lines", MaxLines)
		}
		line = strings.TrimRight(line, "\r\t ")
		if line == "" {
			continue
		}
		if err := p.take(line); err != nil {
			return nil, fmt.Errorf("sdp: line %d: %w", p.line, err)
		}
	}
	return p.finish()
}

type parser struct {
	session    *Session
	line       int
	begun      bool // v= was seen
	hasOrigin  bool
	direction  *Direction // session level
	media      []Media
	directions []*Direction // per m= line; nil: the session's
}

func (p *parser) take(line string) error {
	if len(line) < 2 || line[1] != '=' {
		return fmt.Errorf("%.40q is not a line of SDP, want a letter, then \"=\"", line)
	}
	kind, value := line[0], strings.TrimLeft(line[2:], " ")
	if !p.begun && kind != 'v' {
		return fmt.Errorf("%.40q comes first, want v=0", line)
	}
	switch kind {
	case 'v':
		if p.begun || value != "0" {
			return fmt.Errorf("version %.40q, want one line v=0", value)
		}
		p.begun = true
	case 'o':
		return p.origin(value)
	case 'c':
		addr, err := connection(value)
		if err != nil {
			return err
		}
		if m := p.current(); m != nil {
			// One line may carry several c= for layered multicast; the first one counts.
			if !m.Connection.IsValid() {
				m.Connection = addr
			}
		} else {
			p.session.Connection = addr
		}
	case 't':
		return p.time(value)
	case 'm':
		return p.mediaLine(value)
	case 'a':
		return p.attribute(value)
	}
	return nil
}

func (p *parser) current() *Media {
	if len(p.media) == 0 {
		return nil
	}
	return &p.media[len(p.media)-1]
}

func (p *parser) origin(value string) error {
	f := strings.Fields(value)
	if p.hasOrigin || len(p.media) > 0 || len(f) != 6 {
		return fmt.Errorf("origin %.80q, want one \"o=user id version IN IP4 address\" before the first m=", value)
	}
	p.hasOrigin = true
	o := Origin{User: f[0]}
	if !printable(o.User) || len(o.User) > maxToken {
		o.User = "-"
	}
	// Some phones write ids that no 64 bits hold. Nothing hangs on them.
	if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
		o.SessionID = n
	}
	if n, err := strconv.ParseUint(f[2], 10, 64); err == nil {
		o.Version = n
	}
	if addr, err := netip.ParseAddr(f[5]); err == nil && addr.Zone() == "" {
		o.Addr = addr.Unmap() // may be a host name: never used
	}
	p.session.Origin = o
	return nil
}

func connection(value string) (netip.Addr, error) {
	f := strings.Fields(value)
	if len(f) != 3 || f[0] != "IN" || f[1] != "IP4" && f[1] != "IP6" {
		return netip.Addr{}, fmt.Errorf("connection %.80q, want \"c=IN IP4 address\" or \"c=IN IP6 address\"", value)
	}
	host, _, _ := strings.Cut(f[2], "/") // multicast carries "/ttl"
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("connection address %.80q, want an IP address without a zone", f[2])
	}
	return addr.Unmap(), nil
}

func (p *parser) time(value string) error {
	f := strings.Fields(value)
	if len(f) != 2 || !digits(f[0]) || !digits(f[1]) {
		return fmt.Errorf("time %.80q, want \"t=0 0\"", value)
	}
	if p.session.Time == "" {
		p.session.Time = f[0] + " " + f[1]
	}
	return nil
}

func (p *parser) mediaLine(value string) error {
	if len(p.media) == MaxMedia {
		return fmt.Errorf("more than %d m= lines", MaxMedia)
	}
	f := strings.Fields(value)
	if len(f) < 4 {
		return fmt.Errorf("media %.80q, want \"m=audio port RTP/AVP payload types\"", value)
	}
	if len(f)-3 > MaxFormats {
		return fmt.Errorf("%d formats on one m= line, want at most %d", len(f)-3, MaxFormats)
	}
	for _, token := range f {
		if len(token) > maxToken || !printable(token) {
			return fmt.Errorf("media %.80q: %.40q is not a token", value, token)
		}
	}
	port, several, isRange := strings.Cut(f[1], "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || isRange && !digits(several) {
		return fmt.Errorf("media port %.40q, want a number from 0 to 65535", f[1])
	}
	p.media = append(p.media, Media{Kind: strings.ToLower(f[0]), Port: uint16(n), Proto: f[2], Formats: f[3:]})
	p.directions = append(p.directions, nil)
	return nil
}

func (p *parser) attribute(value string) error {
	name, value, _ := strings.Cut(value, ":")
	value = strings.TrimSpace(value)
	if d, ok := directionOf(name); ok {
		if len(p.media) == 0 {
			p.direction = &d
		} else {
			p.directions[len(p.directions)-1] = &d
		}
		return nil
	}
	m := p.current()
	if m == nil || !isRTP(m.Proto) {
		return nil
	}
	switch name {
	case "rtpmap":
		return m.rtpmap(value)
	case "fmtp":
		return m.fmtp(value)
	case "ptime":
		m.Ptime = milliseconds(value)
	case "maxptime":
		m.MaxPtime = milliseconds(value)
	case "rtcp":
		return m.rtcp(value)
	}
	return nil
}

func directionOf(name string) (Direction, bool) {
	for _, d := range []Direction{SendRecv, SendOnly, RecvOnly, Inactive} {
		if name == d.String() {
			return d, true
		}
	}
	return SendRecv, false
}

// rtpmap reads "PT name/rate[/channels]". A map of a payload type that the m=
// line doesn't list is left out.
func (m *Media) rtpmap(value string) error {
	pt, encoding, ok := strings.Cut(value, " ")
	n, err := strconv.ParseUint(pt, 10, 7)
	if !ok || err != nil {
		return fmt.Errorf("rtpmap %.80q, want \"a=rtpmap:0 PCMU/8000\"", value)
	}
	parts := strings.Split(strings.TrimSpace(encoding), "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || len(parts[0]) > maxToken || !printable(parts[0]) || strings.Contains(parts[0], " ") {
		return fmt.Errorf("rtpmap encoding %.80q, want name/rate or name/rate/channels", encoding)
	}
	rate, err := strconv.ParseUint(parts[1], 10, 31)
	if err != nil {
		return fmt.Errorf("rtpmap clock rate %.40q, want a number of Hz", parts[1])
	}
	channels := 0
	if len(parts) == 3 {
		// For audio this is the number of channels; what isn't a number is none we take.
		c, err := strconv.ParseUint(parts[2], 10, 8)
		if err != nil {
			return fmt.Errorf("rtpmap channels %.40q, want a number", parts[2])
		}
		channels = int(c)
	}
	if e := m.mapFor(uint8(n)); e != nil && e.Name == "" {
		e.Name, e.Rate, e.Channels = parts[0], int(rate), channels
	}
	return nil
}

func (m *Media) fmtp(value string) error {
	pt, params, _ := strings.Cut(value, " ")
	n, err := strconv.ParseUint(pt, 10, 7)
	if err != nil {
		return nil // "a=fmtp:*" and the like: not for us
	}
	params = strings.TrimSpace(params)
	if e := m.mapFor(uint8(n)); e != nil && e.Params == "" && printable(params) {
		e.Params = params
	}
	return nil
}

// mapFor finds or makes the entry of a payload type; nil if the m= line
// doesn't list it.
func (m *Media) mapFor(pt uint8) *Map {
	if !slices.Contains(m.Formats, strconv.Itoa(int(pt))) {
		return nil
	}
	for i := range m.Maps {
		if m.Maps[i].PT == pt {
			return &m.Maps[i]
		}
	}
	m.Maps = append(m.Maps, Map{PT: pt})
	return &m.Maps[len(m.Maps)-1]
}

// rtcp reads RFC 3605's "port [IN IP4 address]".
func (m *Media) rtcp(value string) error {
	port, rest, _ := strings.Cut(value, " ")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("rtcp %.80q, want a port", value)
	}
	var addr netip.Addr
	if rest != "" {
		if addr, err = connection(rest); err != nil {
			return fmt.Errorf("rtcp: %w", err)
		}
	}
	m.RTCP = netip.AddrPortFrom(addr, uint16(n)) // finish fills the address in
	return nil
}

func (p *parser) finish() (*Session, error) {
	s := p.session
	if !p.hasOrigin {
		return nil, fmt.Errorf("sdp: no o= line")
	}
	at := -1
	for i := range p.media {
		m := &p.media[i]
		if !m.Connection.IsValid() {
			m.Connection = s.Connection
		}
		if d := p.directions[i]; d != nil {
			m.Direction = *d
		} else if p.direction != nil {
			m.Direction = *p.direction
		}
		if m.RTCP.Port() == 0 {
			m.RTCP = netip.AddrPort{}
		} else if !m.RTCP.Addr().IsValid() {
			m.RTCP = netip.AddrPortFrom(m.Connection, m.RTCP.Port())
		}
		slices.SortStableFunc(m.Maps, func(a, b Map) int {
			return slices.Index(m.Formats, strconv.Itoa(int(a.PT))) - slices.Index(m.Formats, strconv.Itoa(int(b.PT)))
		})
		if m.Port != 0 && !m.Connection.IsValid() {
			return nil, fmt.Errorf("sdp: %s on port %d has no address, want a c= line for it or for the session", m.Kind, m.Port)
		}
		switch {
		case m.Kind != "audio":
		case at < 0, !p.media[at].usable() && m.usable():
			at = i
		}
	}
	s.setMedia(p.media, at)
	return s, nil
}

// usable: in use and over plain RTP.
func (m *Media) usable() bool { return m.Port != 0 && isPlainRTP(m.Proto) }

// isRTP recognises every RTP profile; payload types mean the same in all.
func isRTP(proto string) bool { return strings.Contains(strings.ToUpper(proto), "RTP/") }

// isPlainRTP tells the profiles that we take. RTP/AVPF allows feedback and asks for
// none (RFC 4585 §3.1), so it is plain RTP to us; RTP/SAVP, UDP/TLS/RTP/SAVPF and
// the like are encrypted.
func isPlainRTP(proto string) bool {
	return strings.EqualFold(proto, "RTP/AVP") || strings.EqualFold(proto, "RTP/AVPF")
}

// milliseconds reads a packet time; some phones write "20.0". 0: nothing usable.
func milliseconds(value string) int {
	whole, _, _ := strings.Cut(value, ".")
	n, err := strconv.ParseUint(whole, 10, 16)
	if err != nil || n > 1000 {
		return 0
	}
	return int(n)
}

func digits(s string) bool {
	return s != "" && len(s) <= 20 && strings.Trim(s, "0123456789") == ""
}

// printable: ASCII without control characters, safe to write back into a line.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
