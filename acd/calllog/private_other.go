//go:build unix && !linux

package calllog

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// identity is ourselves: becoming another user is done on Linux only.
type identity struct{ uid int }

func postgresIdentity() (identity, error) {
	if os.Geteuid() == 0 {
		return identity{}, errors.New("as root Postgres refuses to run: run hotline as an ordinary user, or give the DSN of a Postgres server as `database`")
	}
	return identity{uid: os.Geteuid()}, nil
}

func (id identity) prepare(cmd *exec.Cmd, _ syscall.Signal, folders ...string) (paths []string, done func(), err error) {
	cmd.Env = privateEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return folders, func() {}, nil
}

func (id identity) own(string) error { return nil }

func (id identity) hint(error) string { return "" }

// orphans finds the main process only; the others end with it.
func (p *Private) orphans() []int {
	pid, _ := p.pidFile()
	if pid == 0 {
		return nil
	}
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil || !strings.Contains(string(out), p.name()) {
		return nil
	}
	return []int{pid}
}
