package calllog

import (
	"context"
	"fmt"
	"os"
	"strings"
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
	if list := os.Getenv("HOTLINE_E2E_SKIPS"); list != "" { // make e2e shows it at its end
		if f, err := os.OpenFile(list, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err == nil {
			fmt.Fprintf(f, "%s: %s\n", t.Name(), reason)
			f.Close()
		}
	}
	t.Skip(reason)
}

func needPostgres(t *testing.T) {
	t.Helper()
	if _, err := findPostgres(t.Context(), "", os.Getenv("PATH"), postgresFolders); err != nil {
		lacking(t, err.Error())
	}
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
