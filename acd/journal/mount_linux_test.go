package journal

import (
	"fmt"
	"os/exec"
	"syscall"
)

// inOwnMounts lets the child mount a disk that nobody else sees and that goes
// away with it.
func inOwnMounts(cmd *exec.Cmd) bool {
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return true
}

func mountSmallDisk(dir string, size int) error {
	if err := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		return fmt.Errorf("mount a small disk: %w", err)
	}
	return nil
}
