//go:build e2e

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// linphone is a real softphone, driven by its standard input. It has files in
// the place of a sound card.
type linphone struct {
	*program
	c    *centre
	user string
	dir  string
	tone string // the file that it plays
	read int    // of what it printed
	n    int    // recordings
}

// linphone starts a phone and registers it.
func (c *centre) linphone(user, password string, hz int) *linphone {
	c.t.Helper()
	return c.linphoneWith(fmt.Sprintf("register sip:%s@%s sip:%s:%d %s", user, c.ip, c.ip, sipPort, password), user, hz)
}

// linphoneWith registers by a line that a person types.
func (c *centre) linphoneWith(register, user string, hz int) *linphone {
	c.t.Helper()
	needs(c.t, "linphonec", "stdbuf")
	l := &linphone{c: c, user: user, dir: c.t.TempDir(), tone: toneFile(c.t, hz)}
	for _, dir := range []string{".local/share/linphone", ".config/linphone"} {
		if err := os.MkdirAll(filepath.Join(l.dir, dir), 0o755); err != nil {
			c.t.Fatal(err)
		}
	}
	rc := fmt.Sprintf("[sip]\nsip_port=%d\nsip_tcp_port=-1\nsip_tls_port=-1\n[rtp]\naudio_rtp_port=%d\n", freePort(c.t), 30000+freePort(c.t))
	if err := os.WriteFile(filepath.Join(l.dir, "rc"), []byte(rc), 0o600); err != nil {
		c.t.Fatal(err)
	}
	// Into a pipe it would print nothing before its end.
	cmd := exec.Command("stdbuf", "-oL", "linphonec", "-c", filepath.Join(l.dir, "rc"))
	cmd.Env = append(os.Environ(), "HOME="+l.dir)
	cmd.Dir = l.dir
	l.program = starts(c.t, "linphone "+user, cmd)
	heard := c.service.said.length()
	l.types("soundcard use files")
	l.types(register)
	said(c.t, c.service, heard, `msg=registered user=`+user)
	c.t.Cleanup(func() {
		if !c.t.Failed() {
			l.types("quit") // takes the registration back
			l.ends(patience)
		}
	})
	return l
}

// tells waits for the next thing that the phone prints of this kind.
func (l *linphone) tells(pattern string) []string {
	l.t.Helper()
	var found []string
	found, l.read = l.says(l.read, pattern)
	return found
}

// feature dials a feature code, hears the confirmation out, and waits until the
// agent is in a state.
func (l *linphone) feature(code, state string) {
	l.t.Helper()
	l.types("call " + l.c.address(code))
	l.tells(`Call \d+ with .* connected`)
	l.tells(`Call \d+ with .* ended`)
	l.c.agent("a"+l.user, state)
}

// rings waits for a call and gives what the display shows.
func (l *linphone) rings() string {
	l.t.Helper()
	return l.tells(`Receiving new incoming call from "([^"]*)"`)[1]
}

// answers takes the call, says the tone, and gives the file that it records.
func (l *linphone) answers() (recording string) {
	l.t.Helper()
	l.n++
	recording = filepath.Join(l.dir, fmt.Sprintf("heard-%d.wav", l.n))
	l.types("answer")
	l.tells(`Media streams established`)
	l.types("play " + l.tone)
	l.types("record " + recording)
	return recording
}

func (l *linphone) hangsUp() { l.t.Helper(); l.types("terminate") }

// isOver waits for the end of the call.
func (l *linphone) isOver() { l.t.Helper(); l.tells(`Call \d+ with .* ended`) }
