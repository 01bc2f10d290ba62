//go:build e2e && linux

package calllog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		lacking(t, "needs root, to become other users")
	}
}

func TestPrivateKeepsWhatWasWritten(t *testing.T) {
	needPostgres(t)
	dir := closedFolder(t)
	p, _ := startPrivate(t, dir)
	query(t, p.DSN(), "CREATE TABLE kept AS SELECT 7 AS n")
	if got := query(t, p.DSN(), "SHOW fsync"); got != "on" {
		t.Errorf("fsync is %s", got)
	}
	if got := query(t, p.DSN(), "SELECT current_database() || ' ' || current_user"); got != "hotline hotline" {
		t.Error(got)
	}
	if got, err := PrivateDSN(dir); err != nil || got != p.DSN() {
		t.Errorf("PrivateDSN: %q, %v; want %q", got, err, p.DSN())
	}
	if psql, err := exec.LookPath("psql"); err == nil {
		out, err := exec.Command(psql, p.DSN(), "-Atc", "SELECT n FROM kept").CombinedOutput()
		if err != nil || string(out) != "7\n" {
			t.Errorf("psql: %v: %s", err, out)
		}
	}
	for _, folder := range []string{dir, filepath.Join(dir, "run"), filepath.Join(dir, "cluster")} {
		if fi, err := os.Stat(folder); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", folder, fi.Mode(), err)
		}
	}
	if os.Geteuid() == 0 {
		for _, pid := range p.orphans() {
			fi, err := os.Stat("/proc/" + strconv.Itoa(pid))
			if err == nil && fi.Sys().(*syscall.Stat_t).Uid == 0 {
				t.Errorf("process %d runs as root", pid)
			}
		}
	}
	// An open session does not hold up the stop.
	c, err := pgx.Connect(t.Context(), p.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := PrivateDSN(dir); !errors.Is(err, ErrPrivateDown) {
		t.Errorf("after Close: %v", err)
	}

	p, _ = startPrivate(t, dir)
	if got := query(t, p.DSN(), "SELECT n FROM kept"); got != "7" {
		t.Errorf("after a restart: %s", got)
	}
}

func TestPrivateDSNWhereNothingRuns(t *testing.T) {
	_, err := PrivateDSN(t.TempDir())
	if !errors.Is(err, ErrPrivateDown) {
		t.Errorf("%v", err)
	}
}

func TestPrivateRefusesASecondService(t *testing.T) {
	needPostgres(t)
	dir := closedFolder(t)
	p, _ := startPrivate(t, dir)
	_, err := StartPrivate(t.Context(), PrivateOptions{Dir: dir})
	want := fmt.Sprintf("private Postgres under %s: another hotline (process %d) uses it: stop that one, or choose another `data` folder", dir, os.Getpid())
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	query(t, p.DSN(), "SELECT 1") // unharmed
}

func TestPrivateStartsInADeepFolder(t *testing.T) {
	needPostgres(t)
	dir := filepath.Join(closedFolder(t), strings.Repeat("deep, and with a space/", 6), "postgres")
	p, _ := startPrivate(t, dir)
	query(t, p.DSN(), "SELECT 1")
	if got, err := PrivateDSN(dir); err != nil || got != p.DSN() {
		t.Errorf("PrivateDSN: %q, %v", got, err)
	}
	if fi, err := os.Stat(p.socket); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%s: %v, %v", p.socket, fi, err)
	}
	p.Close()
	if _, err := os.Stat(p.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", p.socket, err)
	}
}

func TestPrivateSpacesInTheFolder(t *testing.T) {
	needPostgres(t)
	// t.TempDir is too deep for a socket under it.
	base, err := os.MkdirTemp("/tmp", "hot line%+")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	p, _ := startPrivate(t, filepath.Join(base, "pg"))
	query(t, p.DSN(), "SELECT 1")
	if psql, err := exec.LookPath("psql"); err == nil {
		if out, err := exec.Command(psql, p.DSN(), "-Atc", "SELECT 1").CombinedOutput(); err != nil {
			t.Errorf("psql %s: %v: %s", p.DSN(), err, out)
		}
	}
}

func TestPrivateClearsWhatAKillLeft(t *testing.T) {
	needPostgres(t)
	dir := closedFolder(t)
	if err := os.MkdirAll(filepath.Join(dir, "cluster.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.new", "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, _ := startPrivate(t, dir) // over a half-made cluster
	p.Close()

	// A pid file whose number belongs to another process by now, and the socket's.
	stale := fmt.Sprintf("%d\n/proc/self/fd/3\n1\n5432\n/proc/self/fd/4\n\n 1 2\nready\n", os.Getpid())
	for _, file := range []string{filepath.Join(dir, "cluster", "postmaster.pid"), filepath.Join(p.socket, privateSocket+".lock")} {
		os.MkdirAll(filepath.Dir(file), 0o700)
		if err := os.WriteFile(file, []byte(stale), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, _ = startPrivate(t, dir)
	query(t, p.DSN(), "SELECT 1")
}

func TestPrivateStopsAnOrphan(t *testing.T) {
	needPostgres(t)
	for _, name := range []string{"ours by its title", "ours by its folder"} {
		t.Run(name, func(t *testing.T) {
			dir := closedFolder(t)
			p, _ := startPrivate(t, dir)
			p.Close()
			// A server that outlived its service.
			os.MkdirAll(p.socket, 0o700)
			if err := p.as.own(p.socket); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(filepath.Join(p.bin.dir, "postgres"))
			paths, done, err := p.as.prepare(cmd, 0, p.cluster(), p.socket)
			if err != nil {
				t.Fatal(err)
			}
			cmd.Args = append(cmd.Args, "-D", paths[0], "-k", paths[1], "-c", "listen_addresses=")
			if name == "ours by its title" {
				cmd.Args = append(cmd.Args, "-c", "cluster_name="+p.name())
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			done()
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			until(t, "the orphan is ready", func() bool { _, status := p.pidFile(); return status == "ready" })

			p, said := startPrivate(t, dir)
			if err := <-ended; err != nil {
				t.Errorf("the orphan was not stopped gently: %v", err)
			}
			query(t, p.DSN(), "SELECT 1")
			if !strings.Contains(said.String(), "stopping a Postgres that an earlier service left running") {
				t.Errorf("the log says nothing of it: %s", said)
			}
		})
	}
}

func TestPrivateComesBack(t *testing.T) {
	needPostgres(t)
	p, said := startPrivate(t, closedFolder(t))
	query(t, p.DSN(), "CREATE TABLE kept AS SELECT 7 AS n")
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		before, _ := p.pidFile()
		if err := syscall.Kill(before, signal); err != nil {
			t.Fatal(err)
		}
		until(t, "Postgres is back", func() bool {
			now, status := p.pidFile()
			return now != before && status == "ready"
		})
		until(t, "it answers", func() bool { _, err := tryQuery(t.Context(), p.DSN(), "SELECT 1"); return err == nil })
		if got := query(t, p.DSN(), "SELECT n FROM kept"); got != "7" {
			t.Errorf("after signal %v: %s", signal, got)
		}
	}
	p.Close()
	if n := strings.Count(said.String(), "the private Postgres ended"); n != 2 {
		t.Errorf("%d warnings for 2 ends:\n%s", n, said)
	}
}

func TestPrivateSaysWhy(t *testing.T) {
	t.Run("no binaries", func(t *testing.T) {
		_, err := findPostgres(t.Context(), "", t.TempDir(), []string{t.TempDir() + "/*/bin"})
		if !errors.Is(err, ErrNoPostgres) || !strings.Contains(err.Error(), "`apt-get install postgresql`") {
			t.Error(err)
		}
	})
	t.Run("another major version", func(t *testing.T) {
		needPostgres(t)
		dir := closedFolder(t)
		if err := os.MkdirAll(filepath.Join(dir, "cluster"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "cluster", "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := StartPrivate(t.Context(), PrivateOptions{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), "was made by Postgres 9, and this machine has ") || strings.Contains(err.Error(), "\n") {
			t.Error(err)
		}
	})
	t.Run("a broken cluster", func(t *testing.T) {
		needPostgres(t)
		dir := closedFolder(t)
		p, _ := startPrivate(t, dir)
		p.Close()
		if err := os.Remove(filepath.Join(dir, "cluster", "global", "pg_control")); err != nil {
			t.Fatal(err)
		}
		_, err := StartPrivate(t.Context(), PrivateOptions{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), "could not find the database system") && !strings.Contains(err.Error(), "pg_control") {
			t.Error(err)
		}
	})
	t.Run("given up", func(t *testing.T) {
		needPostgres(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		cancel(gone)
		dir := closedFolder(t)
		if _, err := StartPrivate(ctx, PrivateOptions{Dir: dir}); err == nil {
			t.Error("started")
		}
		p, _ := startPrivate(t, dir) // nothing in the way
		query(t, p.DSN(), "SELECT 1")
	})
}

func TestFindPostgresPrefersTheOneThatMadeTheCluster(t *testing.T) {
	install := func(version string) string {
		bin := filepath.Join(t.TempDir(), version, "bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, program := range []string{"initdb", "postgres"} {
			script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + " (Debian)'\n"
			if err := os.WriteFile(filepath.Join(bin, program), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return bin
	}
	v9, v15, v17 := install("9.6.1"), install("15.18"), install("17beta1")
	all := []string{v9, v17, v15}
	for _, c := range []struct {
		made, path string
		folders    []string
		want       string // folder, or part of the error
	}{
		{"", "", all, v17},
		{"", "", []string{v9, v15}, v15},
		{"", v15, all, v15},
		{"9", v15, all, v9},
		{"17", "/nonexistent:" + v15, all, v17},
		{"16", v15, all, "made by Postgres 16, and this machine has 15.18, 17beta1, 9.6.1: install that version again (`apt-get install postgresql-16`)"},
	} {
		got, err := findPostgres(t.Context(), c.made, c.path, c.folders)
		if err != nil && !strings.Contains(err.Error(), c.want) || err == nil && got.dir != c.want {
			t.Errorf("made by %q, PATH %q: %v, %v; want %s", c.made, c.path, got, err, c.want)
		}
	}
}

func TestPostgresLogIsBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "postgres.log")
	f, err := openBounded(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line := bytes.Repeat([]byte("x"), 1<<20)
	for range 3 * largestLog >> 20 {
		f.Write(line)
		bound(file)
	}
	for _, name := range []string{file, file + ".1"} {
		if fi, err := os.Stat(name); err != nil || fi.Size() > largestLog+1<<20 {
			t.Errorf("%s: %v, %v", name, fi.Size(), err)
		}
	}
}

// Kinds of user under which the service may run.
var privateUsers = []struct {
	name string
	as   []string // the command that becomes it
}{
	{"root", nil},
	{"root of a user namespace", []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-rn"}},
	{"an ordinary user", []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}},
	{"a user without a passwd entry", []string{"setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"}},
}

// TestPrivateSurvivesAKill kills the service, as each kind of user, and starts
// it again.
func TestPrivateSurvivesAKill(t *testing.T) {
	needPostgres(t)
	needRoot(t)
	for _, program := range []string{"setpriv", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			lacking(t, err.Error())
		}
	}
	// Where go test keeps this program is closed to others.
	open, err := os.MkdirTemp("/tmp", "hotline-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(open) })
	self := filepath.Join(open, "calllog.test")
	if b, err := os.ReadFile(os.Args[0]); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(self, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, u := range privateUsers {
		t.Run(u.name, func(t *testing.T) {
			closed := filepath.Join(open, strconv.Itoa(i))
			if err := os.Mkdir(closed, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, a := range u.as {
				if uid, ok := strings.CutPrefix(a, "--reuid="); ok {
					n, _ := strconv.Atoi(uid)
					if err := os.Chown(closed, n, n); err != nil {
						t.Fatal(err)
					}
				}
			}
			dir := filepath.Join(closed, "postgres")
			serve := func() (*exec.Cmd, string) {
				cmd := exec.Command(self, "-test.run=^TestPrivateServiceProcess$", "-test.v")
				if len(u.as) > 0 {
					cmd = exec.Command(u.as[0], append(slices.Clone(u.as[1:]), cmd.Args...)...)
				}
				cmd.Env = append(os.Environ(), "HOTLINE_TEST_PRIVATE="+dir, "HOME=/", "TMPDIR=/tmp")
				cmd.Dir = "/"
				cmd.Stderr = t.Output()
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := cmd.StdinPipe(); err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					cmd.Process.Kill()
					cmd.Wait()
				})
				dsn := ""
				lines := bufio.NewScanner(out)
				for dsn == "" && lines.Scan() {
					if d, ok := strings.CutPrefix(lines.Text(), "DSN "); ok {
						dsn = d
					} else {
						t.Log(lines.Text())
					}
				}
				if dsn == "" {
					t.Fatalf("the service as %s did not start", u.name)
				}
				go io.Copy(io.Discard, out) // ends with the process
				return cmd, dsn
			}
			cmd, dsn := serve()
			query(t, dsn, "CREATE TABLE kept AS SELECT 7 AS n")
			watcher := &Private{dir: dir}
			if got := watcher.orphans(); len(got) < 3 {
				t.Errorf("the server's processes are not recognised: %v", got)
			}
			cmd.Process.Kill()
			cmd.Wait()
			// The next start does not wait for the last server to be gone.
			cmd, dsn = serve()
			if got := query(t, dsn, "SELECT n FROM kept"); got != "7" {
				t.Errorf("after the kill: %s", got)
			}
			cmd.Process.Kill()
			cmd.Wait()
			until(t, "the server ends with its service", func() bool { return len(watcher.orphans()) == 0 })
		})
	}
}

func TestPrivateSaysThatRootNeedsAnotherUser(t *testing.T) {
	needPostgres(t)
	needRoot(t)
	// Root without capabilities can't even map itself into a user namespace.
	cmd := exec.Command("setpriv", "--bounding-set=-all", "--inh-caps=-all", os.Args[0], "-test.run=^TestPrivateServiceProcess$", "-test.v")
	cmd.Env = append(os.Environ(), "HOTLINE_TEST_PRIVATE="+closedFolder(t))
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("run hotline as an ordinary user, or give the DSN of a Postgres server as `database`")) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestPrivateServiceProcess is the service that other tests start as a child.
func TestPrivateServiceProcess(t *testing.T) {
	dir := os.Getenv("HOTLINE_TEST_PRIVATE")
	if dir == "" {
		return // runs as a child process only
	}
	p, err := StartPrivate(t.Context(), PrivateOptions{Dir: dir, Log: slog.New(slog.NewTextHandler(os.Stdout, nil))})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("DSN " + p.DSN())
	io.Copy(io.Discard, os.Stdin) // until it is killed, or the test is gone
	p.Close()
}

// closedFolder is a folder in one that only we may enter.
func closedFolder(t *testing.T) string {
	t.Helper()
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(closed, "var", "postgres")
}

func startPrivate(t *testing.T, dir string) (*Private, *bytes.Buffer) {
	t.Helper()
	var said bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), privateLimit)
	defer cancel()
	p, err := StartPrivate(ctx, PrivateOptions{Dir: dir, Log: slog.New(slog.NewTextHandler(&lockedWriter{w: &said}, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if left := p.orphans(); len(left) > 0 {
			t.Errorf("processes %v are left", left)
		}
	})
	return p, &said
}

// query runs one statement in a session of its own.
func query(t *testing.T, dsn, sql string) string {
	t.Helper()
	out, err := tryQuery(t.Context(), dsn, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// lockedWriter lets the test read a log when its writers are done.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
