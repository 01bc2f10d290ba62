package sip

import (
	"net/netip"
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"
)

// sameURI compares two SIP URIs by the rules of RFC 3261 §19.1.4. URIs of other schemes are equal when they are the same text.
func sameURI(a, b *sipmsg.Uri) bool {
	if uriScheme(a) != uriScheme(b) {
		return false
	}
	if a.Raw() != "" || b.Raw() != "" {
		return a.Raw() == b.Raw()
	}
	// The user part is case-sensitive, the rest is not. A port left out is not the same as the default port spelled out.
	if unescape(a.User) != unescape(b.User) || unescape(a.Password) != unescape(b.Password) ||
		!sameHost(a.Host, b.Host) || a.Port != b.Port {
		return false
	}
	// A parameter that both have must agree. One that only one has is ignored, but for these: with them the
	// request would go elsewhere. (transport is not in the RFC's sentence, it is in its examples.)
	for _, name := range []string{"user", "ttl", "method", "maddr", "transport"} {
		_, inA := uriParam(a.UriParams, name)
		_, inB := uriParam(b.UriParams, name)
		if inA != inB {
			return false
		}
	}
	for _, p := range a.UriParams {
		if v, ok := uriParam(b.UriParams, p.K); ok && !strings.EqualFold(unescape(p.V), unescape(v)) {
			return false
		}
	}
	// Headers are never ignored.
	if len(a.Headers) != len(b.Headers) {
		return false
	}
	for _, h := range a.Headers {
		if v, ok := uriParam(b.Headers, h.K); !ok || unescape(h.V) != unescape(v) {
			return false
		}
	}
	return true
}

func uriScheme(u *sipmsg.Uri) string {
	if u.Scheme == "" {
		return "sip"
	}
	return strings.ToLower(u.Scheme)
}

// sameHost compares host names without regard to case, and IP addresses by value (RFC 5954 §4.2).
func sameHost(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	x, err := netip.ParseAddr(strings.Trim(a, "[]"))
	if err != nil {
		return false
	}
	y, err := netip.ParseAddr(strings.Trim(b, "[]"))
	return err == nil && x == y
}

// uriParam finds a parameter by its name, whatever its case and the blanks around it (sipgo keeps both).
func uriParam(params sipmsg.HeaderParams, name string) (value string, ok bool) {
	name = strings.TrimSpace(name)
	for _, p := range params {
		if strings.EqualFold(strings.TrimSpace(p.K), name) {
			return strings.TrimSpace(p.V), true
		}
	}
	return "", false
}

// unescape turns %HH into the character it stands for. What is no such escape stays as it is.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := fromHex(s[i+1]), fromHex(s[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func fromHex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
