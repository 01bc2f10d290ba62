package calllog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// privateLimit is far more than anything here takes on a busy machine.
const privateLimit = 90 * time.Second

// lacking skips a test that can't run here; in CI it must run.
func lacking(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

func needPostgres(t *testing.T) {
	t.Helper()
	if _, err := findPostgres(t.Context(), "", os.Getenv("PATH"), postgresFolders); err != nil {
		lacking(t, err.Error())
	}
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

func tryQuery(ctx context.Context, dsn, sql string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, privateLimit)
	defer cancel()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer c.Close(ctx)
	rows, err := c.Query(ctx, sql)
	if err != nil {
		return "", err
	}
	got, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (string, error) {
		v, err := r.Values()
		return fmt.Sprint(v...), err
	})
	return strings.Join(got, "\n"), err
}

// until waits for something that has no event to wait for: another process.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(privateLimit)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not in %v: %s", privateLimit, what)
		}
	}
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
