//go:build e2e

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestE2EReadme does what the README says, with its own words.
func TestE2EReadme(t *testing.T) {
	t.Parallel()
	needs(t, "psql")
	b, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	line := func(pattern string) string {
		t.Helper()
		found := regexp.MustCompile(`(?m)` + pattern).FindStringSubmatch(string(b))
		if found == nil {
			t.Fatalf("the README has no %q", pattern)
		}
		return found[1]
	}
	c := opensDemonstration(t) // as `make run` does
	if err := os.Symlink(filepath.Dir(ours(t, "hotline")), filepath.Join(c.dir, "bin")); err != nil {
		t.Fatal(err)
	}
	shell := func(name, line string) *softphone {
		t.Helper()
		cmd := exec.Command("sh", "-c", "exec "+line)
		cmd.Dir = c.dir
		return &softphone{starts(t, name, cmd), c}
	}

	agent := shell("the README's agent", line(`^    (bin/softphone agent .*)$`))
	c.agent("1001", "Idle")
	caller := shell("the README's caller", line(`^    (bin/softphone call .*)$`))
	await(t, "the talk is recorded", func() bool {
		files, _ := filepath.Glob(filepath.Join(c.dir, "var", "recordings", "*", "*", "*", "*.wav"))
		if len(files) == 0 {
			return false
		}
		info, err := os.Stat(files[0])
		return err == nil && info.Size() > 2*16000
	})
	caller.hangsUp()
	if report := caller.report(); report.Result != "answered" || report.Error != "" {
		t.Errorf("the caller's phone says %+v", report)
	}
	await(t, "the agent is free", func() bool {
		n, err := tryLog[int](c, `select count(*) from call_log where outcome = 'answered' and language = 'en' and queue = 'support' and agent = '1001'`)
		return err == nil && n == 1
	})
	c.agent("1001", "WrapUp")
	heard := readSound(t, filepath.Join(c.dir, "heard.wav"))[0]
	isTone(t, "what the caller heard at last", middle(heard[max(0, len(heard)-3*soundRate/2):]), 800)
	recording := log[string](c, `select recording from call_log`)
	left, right := readRecording(t, recording)
	isTone(t, "the recording's left channel", middle(left), 440)
	isTone(t, "the recording's right channel", middle(right), 800)

	for _, command := range []string{line(`^    (bin/hotline calls)$`), line(`^    (psql .*)$`)} {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = c.dir
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "answered") || !strings.Contains(string(out), "1900") {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	agent.hangsUp()
	if report := agent.report(); report.Error != "" || len(report.Calls) != 2 {
		t.Errorf("the agent's phone says %+v", report)
	}

	// The phones of one's own, one after the other: they share the extension.
	baresip := c.baresipWith(line(`^    (<sip:.*auth_pass.*)$`), "1001", 800)
	baresip.dials(line("`d (.11)`"))
	baresip.hears("CALL_CLOSED")
	baresip.quits()
	linphone := c.linphoneWith(line("`(register sip:.*? .*? .*?)`"), "1001", 800)
	linphone.types(line("`(call .11)`"))
	linphone.tells(`Call \d+ with .* connected`)
	linphone.tells(`Call \d+ with .* ended`)
	if n := log[int](c, `select count(*) from call_log`); n != 1 {
		t.Errorf("%d calls in the log, want the one", n)
	}
}
