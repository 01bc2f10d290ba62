//go:build e2e

package main_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that should happen at once. It is
// long because the machine may be busy; no test passes by it running out.
const patience = 30 * time.Second

// await looks until holds is true, and fails the test when that takes too long.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	awaitFor(t, patience, what, holds)
}

func awaitFor(t *testing.T, bound time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(bound)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", bound, what)
		}
		<-look.C
	}
}

// needs skips the test when a program is missing, and fails it in CI.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			cannotRun(t, p+" is not installed")
		}
	}
}

// needsPostgres is needs for the server, which Debian keeps off the PATH.
func needsPostgres(t *testing.T) {
	t.Helper()
	if kept, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres"); len(kept) == 0 {
		needs(t, "postgres")
	}
}

// cannotRun ends a test that this machine can't run. The reason goes into the
// list that `make e2e` shows at its end.
func cannotRun(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("can't run: %s", why)
	}
	if name := os.Getenv("HOTLINE_E2E_SKIPS"); name != "" {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err == nil {
			fmt.Fprintf(f, "%s: %s\n", t.Name(), why)
			err = f.Close()
		}
		if err != nil {
			t.Errorf("note the skip: %v", err)
		}
	}
	t.Skip(why)
}

// ours is the path of one of our own programs.
func ours(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("HOTLINE_BIN")
	if dir == "" {
		dir = filepath.Join("..", "..", "bin")
	}
	file, err := filepath.Abs(filepath.Join(dir, name))
	if err == nil {
		_, err = os.Stat(file)
	}
	if err != nil {
		t.Fatalf("%s is not built (make build): %v", name, err)
	}
	return file
}

// ourCommand is one of our own programs with these words.
func ourCommand(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(ours(t, name), args...)
}

// program is a child process that ends with its test, and when the test's own
// process is killed.
type program struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	said  transcript
	ended chan struct{}
	err   error // of Wait; read after ended
}

// starter starts all children from one thread that never ends: the
// parent-death signal hangs on the thread that started the child.
var starter = sync.OnceValue(func() chan<- func() {
	todo := make(chan func())
	go func() { // for the life of the test binary
		runtime.LockOSThread()
		for f := range todo {
			f()
		}
	}()
	return todo
})

// starts runs a program until the end of the test. What it says is shown if the
// test fails.
func starts(t *testing.T, name string, cmd *exec.Cmd) *program {
	t.Helper()
	p := launches(t, name, cmd)
	t.Cleanup(p.leaves)
	return p
}

// launches runs a program whose end somebody else sees to.
func launches(t *testing.T, name string, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{t: t, name: name, cmd: cmd, ended: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Stdout, cmd.Stderr = &p.said, &p.said
	cmd.WaitDelay = time.Second
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	started := make(chan error)
	starter() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() { // ends with the child
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p
}

// leaves makes sure that the program is gone.
func (p *program) leaves() {
	p.kills()
	if p.t.Failed() {
		p.t.Logf("%s said:\n%s", p.name, p.said.tail(120))
	}
}

// kills ends the program at once and waits for its end.
func (p *program) kills() {
	_ = p.cmd.Process.Kill() // an ended one is as good
	<-p.ended
}

// signals sends a signal to a program that is expected to be there.
func (p *program) signals(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// runs says whether the program has not ended yet.
func (p *program) runs() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// ends waits for the program's end and gives its exit status.
func (p *program) ends(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		p.t.Fatalf("%s did not end within %v", p.name, within)
	}
	var exit *exec.ExitError
	switch {
	case p.err == nil:
		return 0
	case errors.As(p.err, &exit):
		return exit.ExitCode()
	}
	p.t.Fatalf("%s: %v", p.name, p.err)
	return -1
}

// types writes a line to the program.
func (p *program) types(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatalf("%s does not take %q: %v", p.name, line, err)
	}
}

// says waits until the program has said something after the place from, and
// gives the groups of the match and the place behind it.
func (p *program) says(from int, pattern string) (groups []string, behind int) {
	p.t.Helper()
	return said(p.t, p, from, pattern)
}

// said is says for a program that belongs to another test.
func said(t *testing.T, p *program, from int, pattern string) (groups []string, behind int) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	await(t, fmt.Sprintf("%s says %q", p.name, pattern), func() bool {
		over := !p.runs() // asked first: nothing is said after the end
		text := p.said.from(from)
		at := re.FindStringSubmatchIndex(text)
		if at == nil {
			if over {
				t.Fatalf("%s ended and did not say %q", p.name, pattern)
			}
			return false
		}
		groups = re.FindStringSubmatch(text)
		behind = from + at[1]
		return true
	})
	return groups, behind
}

// transcript is what a program said. A program that says more than 16 MB has a
// fault of its own: the rest is forgotten.
type transcript struct {
	mu sync.Mutex
	b  []byte
}

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.b) < 16<<20 {
		s.b = append(s.b, b...)
	}
	return len(b), nil
}

// from is what was said from the n-th byte on.
func (s *transcript) from(n int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.b[min(n, len(s.b)):])
}

// length is how much was said so far, in bytes.
func (s *transcript) length() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.b)
}

// tail is the last n lines.
func (s *transcript) tail(n int) string {
	var lines []string
	scanner := bufio.NewScanner(strings.NewReader(s.from(0)))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
