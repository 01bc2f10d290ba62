package calllog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// PrivateOptions say where a private Postgres lives and who hears about it.
type PrivateOptions struct {
	// Dir belongs to the private Postgres alone: the cluster, its socket, its
	// log. It is created with mode 0700.
	Dir string
	Log *slog.Logger // nil: discard
}

// ErrNoPostgres says that no Postgres binaries were found on this machine.
var ErrNoPostgres = errors.New("no Postgres binaries found (postgres and initdb, on PATH or in /usr/lib/postgresql/*/bin): " +
	"install them with `apt-get install postgresql`, or give the DSN of a Postgres server as `database`")

// ErrPrivateDown says that the private Postgres of a folder isn't running.
var ErrPrivateDown = errors.New("the private Postgres isn't running; it runs while `hotline serve` does")

const (
	privateDatabase = "hotline"
	privateUser     = "hotline"
	privateSocket   = ".s.PGSQL.5432"

	// sun_path holds 108 bytes on Linux and 104 on the BSDs, the final NUL included.
	longestSocketPath = 103
)

// Private is a Postgres cluster of our own, run as a child process on a unix
// socket that only the same user and root may enter.
//
// One goroutine owns the child: it starts it, waits for its end, and starts it
// again until Close. The child gets SIGINT when our process dies, however it
// dies, and the next StartPrivate stops what is left nevertheless.
type Private struct {
	dir    string // absolute
	socket string // folder of the socket, absolute
	bin    postgresBinaries
	as     identity
	log    *slog.Logger
	lock   io.Closer

	stop     chan struct{} // closed by Close
	stopOnce sync.Once
	kept     chan struct{} // closed when keep has returned
	stopErr  error         // of the stop; read after kept
}

// StartPrivate starts the private Postgres under o.Dir and returns when it takes
// connections. The first start makes the cluster, which takes a second or two.
// ctx bounds the start only; Close ends what was started.
//
// What a killed service left behind is cleared first: a server that still runs
// on this cluster is stopped, a stale postmaster.pid and a half-made cluster are
// removed. Errors say what to do; ErrNoPostgres is one.
func StartPrivate(ctx context.Context, o PrivateOptions) (*Private, error) {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("private Postgres: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("private Postgres: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("private Postgres: %w", err)
	}
	p := &Private{dir: dir, log: log, stop: make(chan struct{}), kept: make(chan struct{})}
	if p.lock, err = lockFolder(filepath.Join(dir, "lock")); err != nil {
		return nil, fmt.Errorf("private Postgres under %s: %w", dir, err)
	}
	if err := p.start(ctx); err != nil {
		p.lock.Close()
		return nil, fmt.Errorf("private Postgres under %s: %w", dir, err)
	}
	return p, nil
}

func (p *Private) start(ctx context.Context) error {
	var err error
	if p.bin, err = findPostgres(ctx, clusterMajor(p.cluster()), os.Getenv("PATH"), postgresFolders); err != nil {
		return err
	}
	if p.as, err = postgresIdentity(); err != nil {
		return err
	}
	if err := p.clear(ctx); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(p.cluster(), "PG_VERSION")); errors.Is(err, os.ErrNotExist) {
		if err := p.create(ctx); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := p.as.own(p.cluster()); err != nil {
		return err
	}
	if p.socket, err = socketFolder(p.dir, p.as); err != nil {
		return err
	}

	first := make(chan error, 1) // one result, of the first start
	go p.keep(first)             // ends after Close, or when the first start failed
	select {
	case err = <-first:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		p.end()
	}
	return err
}

// DSN is the address of the call log's database, in the form that psql and pgx take.
func (p *Private) DSN() string { return privateDSN(p.socket) }

// Close stops Postgres, at first so that it writes a checkpoint, and harder if
// that takes too long; it returns within about 20 seconds. Calling it again
// does nothing.
func (p *Private) Close() error {
	p.end()
	return p.stopErr
}

func (p *Private) end() {
	p.stopOnce.Do(func() {
		close(p.stop)
		<-p.kept
		if p.socket != "" && p.socket != p.run() {
			os.Remove(p.socket)
			os.Remove(filepath.Join(p.dir, "socket"))
		}
		p.lock.Close()
	})
	<-p.kept
}

// PrivateDSN is the DSN of the private Postgres under dir, which another process
// runs. The error wraps ErrPrivateDown when none answers there.
func PrivateDSN(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	socket := filepath.Join(dir, "run")
	if b, err := os.ReadFile(filepath.Join(dir, "socket")); err == nil {
		socket = strings.TrimSpace(string(b))
	} else if errors.Is(err, os.ErrPermission) {
		return "", fmt.Errorf("%s belongs to another user: run this as the user who runs `hotline serve`, or as root: %w", dir, os.ErrPermission)
	}
	c, err := net.DialTimeout("unix", filepath.Join(socket, privateSocket), 2*time.Second)
	switch {
	case errors.Is(err, os.ErrPermission):
		return "", fmt.Errorf("%s belongs to another user: run this as the user who runs `hotline serve`, or as root: %w", dir, os.ErrPermission)
	case err != nil:
		return "", fmt.Errorf("%s: %w", dir, ErrPrivateDown)
	}
	c.Close()
	return privateDSN(socket), nil
}

func privateDSN(socket string) string {
	// libpq takes %20 for a space but not +, and reads slashes as they are.
	host := strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(socket))
	return "postgres:///" + privateDatabase + "?host=" + host + "&user=" + privateUser
}

func (p *Private) cluster() string  { return filepath.Join(p.dir, "cluster") }
func (p *Private) halfMade() string { return filepath.Join(p.dir, "cluster.new") }
func (p *Private) run() string      { return filepath.Join(p.dir, "run") }
func (p *Private) logFile() string  { return filepath.Join(p.dir, "postgres.log") }

// name is the cluster_name of the server. It stands in the title of each of its
// processes, where anybody's ps and our own next start find it.
func (p *Private) name() string {
	dir := p.dir
	if d, err := filepath.EvalSymlinks(dir); err == nil {
		dir = d
	}
	h := fnv.New64a()
	io.WriteString(h, dir)
	return fmt.Sprintf("hotline-%016x", h.Sum64())
}

// create makes the cluster and its database in a folder of its own and moves
// that into place when it is whole, so that a start that was cut off leaves
// nothing that looks like a cluster.
func (p *Private) create(ctx context.Context) error {
	began := time.Now()
	tmp := p.halfMade()
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	if err := p.as.own(tmp); err != nil {
		return err
	}
	locale := "C.UTF-8"
	if runtime.GOOS != "linux" {
		locale = "C" // C.UTF-8 is missing there; both sort by code point
	}
	if err := p.once(ctx, "initdb", "", tmp, func(d string) []string {
		return []string{"-D", d, "-U", privateUser, "-A", "trust", "--auth-host=reject",
			"--no-sync", "--no-instructions", "-E", "UTF8", "--locale=" + locale}
	}); err != nil {
		return fmt.Errorf("make the cluster: %w", err)
	}
	// A lone backend needs neither socket nor psql.
	if err := p.once(ctx, "postgres", "CREATE DATABASE "+privateDatabase+";\n", tmp, func(d string) []string {
		return []string{"--single", "-D", d, "template1"}
	}); err != nil {
		return fmt.Errorf("create database %s: %w", privateDatabase, err)
	}
	// Written to the disk once and as a whole, which costs a tenth of a second.
	if err := p.once(ctx, "initdb", "", tmp, func(d string) []string { return []string{"-D", d, "--sync-only"} }); err != nil {
		return fmt.Errorf("make the cluster: %w", err)
	}
	if err := os.Rename(tmp, p.cluster()); err != nil {
		return err
	}
	p.log.Info("made a private Postgres for the call log", "dir", p.dir, "postgres", p.bin.version, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// once runs one of the Postgres programs to its end. args gets the path under
// which the program sees the folder data.
func (p *Private) once(ctx context.Context, program, stdin, data string, args func(data string) []string) error {
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() { // ends with the program, which ctx ends
		// The parent-death signal fires when the thread that started the child
		// ends: the goroutine keeps its thread, and both end together.
		runtime.LockOSThread()
		cmd := exec.CommandContext(ctx, filepath.Join(p.bin.dir, program))
		paths, done, err := p.as.prepare(cmd, syscall.SIGKILL, data)
		if err != nil {
			ended <- err
			return
		}
		defer done()
		cmd.Args = append(cmd.Args, args(paths[0])...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
		cmd.WaitDelay = time.Second
		ended <- cmd.Run()
	}()
	if err := <-ended; err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if said := telling(out.String()); said != "" {
			return fmt.Errorf("%s: %w: %s", program, err, said)
		}
		return fmt.Errorf("%s: %w%s", program, err, p.as.hint(err))
	}
	// A lone backend reports a failed statement on stderr and ends with 0.
	if program == "postgres" && strings.Contains(out.String(), "ERROR:") {
		return errors.New(telling(out.String()))
	}
	return nil
}

// socketFolder makes the folder of the socket: dir/run, or a short one under
// /tmp when a client could not name a socket in there. The file dir/socket then
// tells which.
func socketFolder(dir string, as identity) (string, error) {
	folder := filepath.Join(dir, "run")
	// A comma separates hosts in a DSN.
	if len(filepath.Join(folder, privateSocket)) <= longestSocketPath && !strings.Contains(folder, ",") {
		if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
		return folder, as.own(folder)
	}
	folder, err := os.MkdirTemp("/tmp", "hotline-")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "socket"), []byte(folder+"\n"), 0o600); err != nil {
		return "", err
	}
	return folder, as.own(folder)
}
