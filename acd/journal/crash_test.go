package journal

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// child is this test binary started again, to be killed or to fill a disk.
func child(role string) {
	dir := os.Getenv("JOURNAL_TEST_DIR")
	var err error
	switch role {
	case "append":
		err = childAppends(dir)
	case "full":
		err = childFillsDisk(dir)
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func startChild(t *testing.T, role, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "JOURNAL_TEST_CHILD="+role, "JOURNAL_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// childAppends appends without end and prints how far it was acknowledged.
func childAppends(dir string) error {
	j, err := Open(context.Background(), Options{Dir: dir, Sync: SyncPolicy(time.Minute)})
	if err != nil {
		return err
	}
	last, ok, err := j.Last(context.Background())
	if err != nil {
		return err
	}
	n := 0
	if ok {
		n, _ = strconv.Atoi(last.Fact.(StepEntered).Step)
		n++
	}
	var window []*Receipt
	var upTo []int
	for {
		if len(window) == 100 {
			<-window[0].Done()
			if err := window[0].Err(); err != nil {
				return err
			}
			fmt.Println(upTo[0])
			window, upTo = window[1:], upTo[1:]
		}
		window = append(window, j.Append([]Entry{step(n), step(n + 1), step(n + 2)}))
		upTo = append(upTo, n+2)
		n += 3
	}
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	incarnation := ""
	for _, kill := range []int{1, 500, 3000} {
		cmd, out := startChild(t, "append", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acked := -1
		for i := 0; out.Scan(); i++ {
			n, err := strconv.Atoi(out.Text())
			if err != nil {
				t.Errorf("child says %q", out.Text())
				break
			}
			acked = n
			if i == kill {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait() // killed
		j := open(t, dir)
		if incarnation != "" && j.Incarnation() != incarnation {
			t.Error("the incarnation changed by a crash")
		}
		incarnation = j.Incarnation()
		all := readAll(t, j, Position{})
		for i, s := range all {
			if f, ok := s.Fact.(StepEntered); !ok || f.Step != fmt.Sprint(i) {
				t.Fatalf("entry %d is %+v", i, s.Fact)
			}
		}
		if len(all) < acked+1 || len(all)%3 != 0 {
			t.Errorf("%d entries after a crash, %d were acknowledged", len(all), acked+1)
		}
		last, ok, err := j.Last(t.Context())
		if err != nil || !ok || last.Position != all[len(all)-1].Position {
			t.Errorf("last is %+v, %v, %v", last, ok, err)
		}
		_ = j.Close()
	}
}

// childFillsDisk mounts a small disk, fills it, and frees it again. It prints
// what happened.
func childFillsDisk(dir string) error {
	if err := mountSmallDisk(dir, 24<<20); err != nil {
		fmt.Println("skip:", err)
		return nil
	}
	ballast := dir + "/ballast"
	if err := os.WriteFile(ballast, make([]byte, 16<<20), 0o600); err != nil {
		return err
	}
	j, err := Open(context.Background(), Options{Dir: dir + "/journal"})
	if err != nil {
		return err
	}
	big := strings.Repeat("x", 64<<10)
	n, kept, lost := 0, 0, 0
	one := func() error {
		r := j.Append([]Entry{{At: at(n), Fact: StepEntered{Call: "c", Step: fmt.Sprintf("%d %s", n, big)}}})
		n++
		<-r.Done()
		if r.Err() != nil {
			lost++
		} else {
			kept++
		}
		return r.Err()
	}
	for one() == nil {
		if n > 1000 {
			return fmt.Errorf("%d entries and the disk is not full", n)
		}
	}
	fmt.Println("full after", n)
	for range 5 {
		_ = one()
	}
	// What was kept can be read while writing is impossible.
	seen := 0
	if err := j.Read(context.Background(), Position{}, false, func(s []Stored) error { seen += len(s); return nil }); err != nil {
		return err
	}
	if seen != kept {
		return fmt.Errorf("%d kept and %d read while the disk is full", kept, seen)
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); one() != nil; {
		if time.Now().After(deadline) {
			return fmt.Errorf("still not written: %d kept, %d lost", kept, lost)
		}
	}
	if err := j.Close(); err != nil {
		return err
	}
	if j, err = Open(context.Background(), Options{Dir: dir + "/journal"}); err != nil {
		return err
	}
	next, gaps, missing := 0, 0, 0
	err = j.Read(context.Background(), Position{}, false, func(all []Stored) error {
		for _, s := range all {
			switch f := s.Fact.(type) {
			case Gap:
				gaps++
				missing += f.Lost
				if !f.From.Equal(at(next)) {
					return fmt.Errorf("gap from %v, want %v", f.From, at(next))
				}
				next += f.Lost
			case StepEntered:
				if !strings.HasPrefix(f.Step, fmt.Sprint(next, " ")) {
					return fmt.Errorf("entry %.10s comes for %d", f.Step, next)
				}
				next++
			default:
				return fmt.Errorf("entry %d is %+v", next, s.Fact)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if next != n || missing != lost {
		return fmt.Errorf("%d of %d entries accounted for; %d lost, %d in gaps", next, n, lost, missing)
	}
	fmt.Println("ok", kept, "kept", lost, "lost", gaps, "gaps")
	return j.Close()
}

func TestFullDiskIsSurvivedAndRecorded(t *testing.T) {
	cmd, out := startChild(t, "full", t.TempDir())
	if !inOwnMounts(cmd) {
		t.Skip("no mount namespaces here")
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("no mount namespace of one's own: %v", err)
	}
	last := ""
	for out.Scan() {
		last = out.Text()
		t.Log(last)
	}
	err := cmd.Wait()
	if reason, ok := strings.CutPrefix(last, "skip:"); ok {
		t.Skip(reason)
	}
	if err != nil || !strings.HasPrefix(last, "ok") {
		t.Errorf("%v: %s", err, last)
	}
}
