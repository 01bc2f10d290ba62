//go:build e2e

package main_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
)

// sippCaller is sipp with one of our scenarios, as somebody outside.
type sippCaller struct {
	*program
	media netip.AddrPort // where it wants to hear
}

// sipp calls by a scenario of testdata/e2e, which may say a tone. options are those
// of sipp.
func (c *centre) sipp(scenario, from, number string, hz int, options ...string) *sippCaller {
	c.t.Helper()
	needs(c.t, "sipp")
	dir := c.t.TempDir()
	put := func(name, from string) {
		b, err := os.ReadFile(from)
		if err != nil {
			c.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
	put("scenario.xml", filepath.Join("testdata", "e2e", scenario))
	put("tone.ul", toneRaw(c.t, hz))
	for _, key := range "12" {
		// Debian keeps the recorded keys here.
		pcap := fmt.Sprintf("dtmf_2833_%c.pcap", key)
		put(pcap, filepath.Join("/usr/share/sip-tester", pcap))
	}
	port := freePort(c.t)
	rtp := 30000 + freePort(c.t)
	words := []string{"-sf", "scenario.xml", "-s", number, "-key", "caller", from,
		"-i", "127.0.0.1", "-mi", "127.0.0.1", "-p", fmt.Sprint(port), "-mp", fmt.Sprint(rtp),
		"-nostdin", "-trace_err", "-error_file", "errors.log", "-f", "60", "-timeout", "90s"}
	cmd := exec.Command("sipp", append(append(words, options...), netip.AddrPortFrom(c.ip, sipPort).String())...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TERM=dumb")
	s := &sippCaller{program: starts(c.t, "sipp "+from, cmd), media: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(rtp))}
	c.t.Cleanup(func() {
		if b, err := os.ReadFile(filepath.Join(dir, "errors.log")); err == nil && c.t.Failed() {
			c.t.Logf("sipp complains:\n%s", b)
		}
	})
	return s
}

// endsWell waits for the end of the scenario as it is written.
func (s *sippCaller) endsWell() {
	s.t.Helper()
	if status := s.ends(patience); status != 0 {
		s.t.Errorf("sipp's scenario did not go through: status %d", status)
	}
}
