package calllog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// How long Postgres may take over each kind of stop before the next, harder one.
	fastStop      = 10 * time.Second // SIGINT: ends sessions, writes a checkpoint
	immediateStop = 5 * time.Second  // SIGQUIT: the next start replays the write-ahead log
	killStop      = 5 * time.Second  // SIGKILL

	firstRestart   = 100 * time.Millisecond
	slowestRestart = 30 * time.Second
	steadyAfter    = time.Minute // a server that lived this long starts the back-off anew

	largestLog = 8 << 20 // bytes of postgres.log before it becomes postgres.log.1
)

// keep starts Postgres again and again until Close. first gets the result of
// the first start; if that is an error, keep is over.
func (p *Private) keep(first chan<- error) {
	defer close(p.kept)
	runtime.LockOSThread() // the child's parent-death signal hangs on this thread; see once
	wait := firstRestart
	up, down := false, false // was ready once; ended since and not ready again
	for {
		began := time.Now()
		stopped, err := p.live(func() {
			switch {
			case !up:
				up = true
				first <- nil
			case down:
				p.log.Info("the private Postgres is back", "dir", p.dir)
			}
			down = false
		})
		if stopped {
			p.stopErr = err
			return
		}
		if !up {
			first <- err
			return
		}
		if time.Since(began) > steadyAfter {
			wait = firstRestart
		}
		if !down {
			down = true
			p.log.Warn("the private Postgres ended; starting it again, calls go on meanwhile", "err", err, "log", p.logFile())
		}
		select {
		case <-p.stop:
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, slowestRestart)
		ctx, cancel := context.WithTimeout(context.Background(), fastStop+immediateStop+2*killStop)
		if err := p.clear(ctx); err != nil {
			p.log.Debug("clear what the private Postgres left", "err", err)
		}
		cancel()
	}
}

// live is one life of the server, from its start to its end. It says ready when
// the server takes connections, and reports whether Close ended it.
func (p *Private) live(ready func()) (stopped bool, err error) {
	logFile, err := openBounded(p.logFile())
	if err != nil {
		return false, err
	}
	defer logFile.Close()
	from, _ := logFile.Seek(0, io.SeekEnd)

	cmd := exec.Command(filepath.Join(p.bin.dir, "postgres"))
	paths, done, err := p.as.prepare(cmd, syscall.SIGINT, p.cluster(), p.socket)
	if err != nil {
		return false, err
	}
	defer done()
	cmd.Args = append(cmd.Args, "-D", paths[0], "-k", paths[1],
		"-c", "listen_addresses=", "-c", "unix_socket_permissions=0600", "-c", "cluster_name="+p.name(),
		"-c", "logging_collector=off", "-c", "log_destination=stderr", "-c", "port=5432")
	cmd.Stdout, cmd.Stderr = logFile, logFile // files, not pipes: they outlive us
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("start %s: %w%s", cmd.Path, err, p.as.hint(err))
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the child, which is stopped below

	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for isReady := false; ; {
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("it stopped by itself")
			}
			if said := telling(tail(p.logFile(), from)); said != "" {
				err = fmt.Errorf("%w: %s", err, said)
			}
			return false, fmt.Errorf("%w (see %s)", err, p.logFile())
		case <-p.stop:
			return true, halt(cmd.Process, ended)
		case <-look.C:
			if isReady {
				bound(p.logFile())
			} else if pid, status := p.pidFile(); pid == cmd.Process.Pid && status == "ready" {
				isReady = true
				ready()
				look.Reset(time.Minute)
			}
		}
	}
}

// halt stops the server, each time harder.
func halt(server *os.Process, ended <-chan error) error {
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, fastStop}, {syscall.SIGQUIT, immediateStop}, {syscall.SIGKILL, killStop}} {
		server.Signal(step.signal)
		select {
		case <-ended:
			if step.signal == syscall.SIGKILL {
				return errors.New("the private Postgres had to be killed; its next start takes longer")
			}
			return nil
		case <-time.After(step.wait):
		}
	}
	return fmt.Errorf("the private Postgres (process %d) does not end", server.Pid)
}

// clear removes what a service that was killed left behind: a server that still
// runs on this cluster, its pid file and socket, a half-made cluster. We hold
// the folder's lock, so no living service owns any of it.
func (p *Private) clear(ctx context.Context) error {
	if err := p.stopOrphans(ctx); err != nil {
		return err
	}
	// Postgres removes a stale pid file itself, but not when the number has been
	// given to another process since, as is usual after a restart of a container.
	pidFile := filepath.Join(p.cluster(), "postmaster.pid")
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	socket := p.socket // set on a restart, when its DSN is in use already
	if socket == "" {
		socket = p.run()
		if b, err := os.ReadFile(filepath.Join(p.dir, "socket")); err == nil {
			socket = strings.TrimSpace(string(b))
		}
	}
	if fi, err := os.Lstat(socket); err == nil && fi.IsDir() {
		os.Remove(filepath.Join(socket, privateSocket))
		os.Remove(filepath.Join(socket, privateSocket+".lock"))
		if p.socket == "" {
			os.Remove(socket)
			os.Remove(filepath.Join(p.dir, "socket"))
		}
	}
	return os.RemoveAll(p.halfMade())
}

func (p *Private) stopOrphans(ctx context.Context) error {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	began, told, worst := time.Now(), false, syscall.Signal(0)
	for {
		pids := p.orphans()
		if len(pids) == 0 {
			return nil
		}
		if !told {
			told = true
			p.log.Warn("stopping a Postgres that an earlier service left running", "dir", p.dir, "processes", len(pids))
		}
		// The main process passes a stop on to the others. Without it they end by themselves.
		main, _ := p.pidFile()
		signal, to := syscall.SIGINT, pids
		switch since := time.Since(began); {
		case since > fastStop+immediateStop+killStop:
			return fmt.Errorf("the Postgres that an earlier service left running does not end (processes %v): end them by hand", pids)
		case since > fastStop+immediateStop:
			signal = syscall.SIGKILL
		case since > fastStop:
			signal = syscall.SIGQUIT
		case slices.Contains(pids, main):
			to = []int{main}
		default:
			to = nil
		}
		if signal != worst || signal == syscall.SIGKILL {
			for _, pid := range to {
				if pr, err := os.FindProcess(pid); err == nil {
					pr.Signal(signal)
					pr.Release()
				}
			}
			worst = signal
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
		}
	}
}

// pidFile reads postmaster.pid: the main process, and "starting", "ready",
// "stopping" or "standby" once Postgres has written that.
func (p *Private) pidFile() (pid int, status string) {
	b, err := os.ReadFile(filepath.Join(p.cluster(), "postmaster.pid"))
	if err != nil {
		return 0, ""
	}
	lines := strings.Split(string(b), "\n")
	pid, _ = strconv.Atoi(strings.TrimSpace(lines[0]))
	if len(lines) > 7 {
		status = strings.TrimSpace(lines[7])
	}
	return pid, status
}

func openBounded(file string) (*os.File, error) {
	bound(file)
	return os.OpenFile(file, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
}

// bound copies a large log to file.1 and empties it. The server has the file
// open for appending, so it goes on from the start.
func bound(file string) {
	if fi, err := os.Stat(file); err != nil || fi.Size() < largestLog {
		return
	}
	if b, err := os.ReadFile(file); err == nil {
		os.WriteFile(file+".1", b, 0o600)
	}
	os.Truncate(file, 0)
}

// tail is the end of a file from an offset on, at most 64 KiB.
func tail(file string, from int64) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil {
		if fi.Size() < from {
			from = 0
		}
		from = max(from, fi.Size()-64<<10)
	}
	b, _ := io.ReadAll(io.NewSectionReader(f, from, 64<<10))
	return string(b)
}

// telling picks the line that says what went wrong out of what Postgres wrote.
func telling(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	pick := lines[len(lines)-1]
	for _, l := range lines {
		if strings.Contains(l, "FATAL:") || strings.Contains(l, "PANIC:") || strings.Contains(l, "ERROR:") || strings.Contains(l, "error:") {
			pick = l
			break
		}
	}
	pick = strings.TrimSpace(pick)
	return pick[:min(len(pick), 300)]
}
