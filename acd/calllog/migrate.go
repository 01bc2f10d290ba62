package calllog

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/jackc/pgx/v5"
)

var errNewerSchema = errors.New("the call log was written by a newer Hotline")

// Migrations are numbered SQL files, each run once and in one transaction with
// the note that it ran. A library for this would bring more dependencies than
// it saves lines.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrationLock keeps two processes from migrating at once. Any fixed number will do.
const migrationLock = 0x686f746c696e65

// migrate brings the schema to what this program expects.
func migrate(ctx context.Context, conn *pgx.Conn, files fs.FS) error {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock($1)`, migrationLock); err != nil {
			return fmt.Errorf("wait for another migration: %w", err)
		}
		has := 0
		var there bool
		if err := tx.QueryRow(ctx, `select to_regclass('log.schema_version') is not null`).Scan(&there); err != nil {
			return fmt.Errorf("look for the schema: %w", err)
		}
		if there {
			if err := tx.QueryRow(ctx, `select coalesce(max(version), 0) from log.schema_version`).Scan(&has); err != nil {
				return fmt.Errorf("read the schema's version: %w", err)
			}
		}
		if has > len(names) {
			return fmt.Errorf("%w: it has schema version %d, this program knows %d", errNewerSchema, has, len(names))
		}
		for i, name := range names { // Glob sorts
			version := i + 1
			if n, _, _ := strings.Cut(path.Base(name), "_"); n != fmt.Sprintf("%03d", version) {
				return fmt.Errorf("migration %s should be number %03d", name, version)
			}
			if version <= has {
				continue
			}
			sql, err := fs.ReadFile(files, name)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, string(sql)); err != nil {
				return fmt.Errorf("migration %s: %w", path.Base(name), err)
			}
			if _, err := tx.Exec(ctx, `insert into log.schema_version (version) values ($1)`, version); err != nil {
				return err
			}
		}
		return nil
	})
}
