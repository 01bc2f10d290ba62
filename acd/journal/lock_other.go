//go:build !unix

package journal

import "os"

// lockFolder only opens the file: these systems have no lock that a crash of
// the process releases and that the standard library knows.
func lockFolder(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}
