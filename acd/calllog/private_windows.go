package calllog

import (
	"errors"
	"io"
	"os/exec"
	"syscall"
)

var errNoPrivate = errors.New("there is no private Postgres on Windows: give the DSN of a Postgres server as `database`")

type identity struct{}

func lockFolder(string) (io.Closer, error) { return nil, errNoPrivate }

func postgresIdentity() (identity, error) { return identity{}, errNoPrivate }

func (identity) prepare(*exec.Cmd, syscall.Signal, ...string) ([]string, func(), error) {
	return nil, nil, errNoPrivate
}

func (identity) own(string) error { return errNoPrivate }

func (identity) hint(error) string { return "" }

func (p *Private) orphans() []int { return nil }
