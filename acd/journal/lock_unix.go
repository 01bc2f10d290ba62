//go:build unix

package journal

import (
	"errors"
	"os"
	"syscall"
)

// lockFolder takes the lock that goes with the process, however it ends.
func lockFolder(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("another process has it open: stop that one, or choose another `data` folder")
		}
		return nil, err
	}
	return f, nil
}
