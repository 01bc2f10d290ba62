//go:build e2e

package main_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestE2ERefusals(t *testing.T) {
	t.Parallel()
	c := opens(t, demonstration)
	phone := c.plainPhone("127.0.0.1")
	defer phone.close()

	t.Run("AFeatureCodeWithoutPasswordIsChallenged", func(t *testing.T) {
		for _, code := range []string{"*11", "*12", "*13", "*14", "1001"} {
			a := phone.answers(phone.invite(c.address(code)))
			if a.code != 401 {
				t.Errorf("INVITE %s from the trunk: %d, want 401", code, a.code)
			}
			if !strings.Contains(a.text, "algorithm=SHA-256") || !strings.Contains(a.text, "algorithm=MD5") {
				t.Errorf("want challenges for SHA-256 and MD5:\n%s", a.text)
			}
		}
	})
	t.Run("AWrongPasswordIsForbidden", func(t *testing.T) {
		for _, user := range []string{"1001", "9999"} { // nobody learns which extensions exist
			phone.user = user
			uri := c.address("*11")
			challenge := phone.answers(phone.invite(uri))
			a := phone.answers(phone.invite(uri, phone.credentials(challenge, "INVITE", uri, user, "guessed")))
			if challenge.code != 401 || a.code != 403 {
				t.Errorf("INVITE *11 as %s: %d, then %d with a wrong password; want 401 and 403", user, challenge.code, a.code)
			}
			uri = "sip:" + c.ip.String()
			self := fmt.Sprintf("To: <sip:%s@%s>", user, c.ip)
			challenge = phone.answers(phone.request("REGISTER", uri, self))
			a = phone.answers(phone.request("REGISTER", uri, self, phone.credentials(challenge, "REGISTER", uri, user, "guessed")))
			if challenge.code != 401 || a.code != 403 {
				t.Errorf("REGISTER %s: %d, then %d with a wrong password; want 401 and 403", user, challenge.code, a.code)
			}
		}
		phone.user = "0900000000"
	})
	t.Run("AnUnknownNumberIsNotFound", func(t *testing.T) {
		if a := phone.answers(phone.invite(c.address("5555"))); a.code != 404 {
			t.Errorf("INVITE 5555 from the trunk: %d, want 404", a.code)
		}
	})
	t.Run("AMalformedInviteIsABadRequest", func(t *testing.T) {
		for what, spoil := range map[string]func(string) string{
			"no Call-ID":     func(m string) string { return without(m, "Call-ID") },
			"no From":        func(m string) string { return without(m, "From") },
			"no CSeq":        func(m string) string { return without(m, "CSeq") },
			"another method": func(m string) string { return strings.Replace(m, " INVITE\r\n", " OPTIONS\r\n", 1) },
			"a body too long": func(m string) string {
				return strings.Replace(m, "Content-Length: ", "Content-Length: 9", 1)
			},
			"no SDP at all": func(m string) string { return strings.Replace(m, "v=0", "vvv", 1) },
		} {
			a, ok := phone.asks(spoil(phone.invite(c.address("1901"))), patience)
			if !ok || a.code != 400 {
				t.Errorf("INVITE with %s: %d, want 400\n%s", what, a.code, a.text)
			}
		}
	})
	t.Run("AStrangerHearsNothing", func(t *testing.T) {
		stranger := c.plainPhone("127.9.9.9")
		defer stranger.close()
		c.silence(stranger, stranger.request("OPTIONS", c.address("1901")))
		c.silence(stranger, "GET / HTTP/1.1\r\n\r\n")
		if a := stranger.answers(stranger.invite(c.address("1901"))); a.code != 401 {
			t.Errorf("a stranger's INVITE: %d, want 401", a.code)
		}
	})
	t.Run("JunkOverTCP", func(t *testing.T) {
		for _, junk := range []string{"\x00\xff\x16\x03\x01", "INVITE\r\n\r\n", strings.Repeat("A", 100_000), "SIP/2.0 200 OK\r\n\r\n", "\r\n\r\n"} {
			conn, err := net.Dial("tcp", netip.AddrPortFrom(c.ip, sipPort).String())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write([]byte(junk)) // it may be refused at once
			_ = conn.Close()
		}
	})
	t.Run("TheServiceLivesOn", func(t *testing.T) {
		if a := phone.answers(phone.request("OPTIONS", c.address("1901"))); a.code != 200 {
			t.Errorf("OPTIONS: %d, want 200", a.code)
		}
		if n := log[int](c, "select count(*) from call_log"); n != 0 {
			t.Errorf("%d calls in the log, want none", n)
		}
	})
}

// without takes a header out of a message.
func without(msg, header string) string {
	var lines []string
	for line := range strings.Lines(msg) {
		if !strings.HasPrefix(line, header+":") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
