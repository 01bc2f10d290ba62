package calllog

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// postgresFolders is where packages put the binaries that they keep off PATH:
// Debian and Ubuntu, then the PGDG packages for Red Hat, then Homebrew.
var postgresFolders = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin"}

// postgresBinaries is one installation that has initdb and postgres.
type postgresBinaries struct {
	dir     string // absolute, symbolic links resolved
	version string // "15.18"
	major   int    // 15
}

// clusterMajor is the major version that made a cluster, as PG_VERSION says it;
// "" when there is no cluster yet.
func clusterMajor(cluster string) string {
	b, err := os.ReadFile(filepath.Join(cluster, "PG_VERSION"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// findPostgres picks the installation to use: the one on PATH, else the newest
// in the packages' folders. A cluster that exists can only be served by the major
// version that made it, so that decides before anything else.
func findPostgres(ctx context.Context, made, path string, folders []string) (postgresBinaries, error) {
	var found []postgresBinaries
	add := func(dir string) {
		for _, name := range []string{"initdb", "postgres"} {
			if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.IsDir() || fi.Mode()&0o111 == 0 {
				return
			}
		}
		if p, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres")); err == nil {
			if _, err := os.Stat(filepath.Join(filepath.Dir(p), "initdb")); err == nil {
				dir = filepath.Dir(p)
			}
		}
		dir, err := filepath.Abs(dir)
		if err != nil || slices.ContainsFunc(found, func(b postgresBinaries) bool { return b.dir == dir }) {
			return
		}
		if b, ok := askVersion(ctx, dir); ok {
			found = append(found, b)
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if dir != "" {
			add(dir)
		}
	}
	onPath := len(found)
	for _, pattern := range folders {
		dirs, _ := filepath.Glob(pattern)
		for _, dir := range dirs {
			add(dir)
		}
	}
	slices.SortStableFunc(found[onPath:], func(a, b postgresBinaries) int { return b.major - a.major })

	if len(found) == 0 {
		return postgresBinaries{}, ErrNoPostgres
	}
	if made == "" {
		return found[0], nil
	}
	var others []string
	for _, b := range found {
		if strconv.Itoa(b.major) == made {
			return b, nil
		}
		others = append(others, b.version)
	}
	return postgresBinaries{}, fmt.Errorf("its cluster was made by Postgres %s, and this machine has %s: install that version again (`apt-get install postgresql-%s`), "+
		"or move the folder away and a new log is made from the journal", made, strings.Join(others, ", "), made)
}

func askVersion(ctx context.Context, dir string) (postgresBinaries, bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "-V").Output() // "postgres (PostgreSQL) 15.18 (Debian …)"
	if err != nil {
		return postgresBinaries{}, false
	}
	words := strings.Fields(string(out))
	if len(words) < 3 {
		return postgresBinaries{}, false
	}
	digits := strings.IndexFunc(words[2], func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(words[2])
	}
	major, err := strconv.Atoi(words[2][:digits])
	return postgresBinaries{dir: dir, version: words[2], major: major}, err == nil
}
