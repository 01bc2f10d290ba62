package recordings

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// childFolder makes this binary a process that records until it is killed.
const childFolder = "HOTLINE_TEST_RECORD_INTO"

func recordUntilKilled(dir string) {
	tape, err := Start(Options{Dir: dir, Call: "killed", Started: time.Now()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(tape.File())
	caller, agent := &phone{tap: tape.Caller()}, &phone{tap: tape.Agent(), ts: 1 << 30}
	began := time.Now()
	for range time.Tick(packetTime) {
		for length(int64(caller.next)) < time.Since(began) { // a busy machine swallows ticks
			caller.speaks()
			agent.speaks()
		}
	}
}

// A process that is killed while it records leaves a file that lacks the last
// second at most, and was valid all the time.
func TestKilled(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childFolder+"="+t.TempDir())
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		child.Process.Kill() //nolint:errcheck // it is dead already
		child.Wait()         //nolint:errcheck // it was killed
	})
	line := bufio.NewScanner(out)
	if !line.Scan() {
		t.Fatal("the child did not start to record")
	}
	file := line.Text()

	// Read it over and over while it grows.
	reads, frames := 0, 0
	for deadline := time.Now().Add(20 * time.Second); frames < 12_000; reads++ {
		if time.Now().After(deadline) {
			t.Fatalf("after 20 s the file has %d frames", frames)
		}
		s := read(t, file)
		if len(s.left) < frames {
			t.Fatalf("the file shrank from %d to %d frames", frames, len(s.left))
		}
		frames = len(s.left)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait() //nolint:errcheck // it was killed

	after := read(t, file)
	s, err := Recover(file)
	if err != nil {
		t.Fatal(err)
	}
	recovered := read(t, file)
	if len(recovered.left) < len(after.left) || s.Length != length(int64(len(recovered.left))) {
		t.Errorf("%d frames after the kill, %d recovered, %v told", len(after.left), len(recovered.left), s.Length)
	}
	heard := 0
	for i := range recovered.left {
		if recovered.left[i] != 0xFF && recovered.right[i] != 0xFF {
			heard++
		}
	}
	if heard < len(recovered.left)/2 { // all of it, when the machine isn't busy
		t.Errorf("%d of %d frames have both voices", heard, len(recovered.left))
	}
	t.Logf("read %d times while it was written; %v recovered", reads, s.Length)
}
