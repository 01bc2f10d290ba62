package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"hotline/sip"
)

type passwdCommand struct {
	User string `arg:"" help:"Extension of the agent, e.g. 1001."`
}

func (c passwdCommand) Run(a *app) error {
	password, err := readPassword(a, "Password of "+printable(c.User)+": ")
	if err != nil {
		return err
	}
	if password == "" {
		return errors.New("the password is empty")
	}
	if !isDialled(c.User) {
		return fmt.Errorf("%q is no extension: want the digits that the configuration has, such as 1001", c.User)
	}
	_, err = fmt.Fprintln(a.out, sip.HA1(c.User, sipRealm, password))
	return err
}

// readPassword reads one line, from a terminal without showing it.
func readPassword(a *app, prompt string) (string, error) {
	if f, ok := a.in.(*os.File); ok && isTerminal(f) {
		fmt.Fprint(a.err, prompt)
		if stty(f, "-echo") == nil {
			defer func() {
				stty(f, "echo")
				fmt.Fprintln(a.err)
			}()
		}
	}
	type result struct {
		line string
		err  error
	}
	read := make(chan result, 1)
	go func() { // ends with the input; Ctrl-C ends the process before
		line, err := bufio.NewReader(io.LimitReader(a.in, 1024)).ReadString('\n')
		if errors.Is(err, io.EOF) && line != "" {
			err = nil
		}
		read <- result{strings.TrimRight(line, "\r\n"), err}
	}()
	select {
	case <-a.ctx.Done():
		return "", errors.New("given up")
	case r := <-read:
		if r.err != nil {
			return "", fmt.Errorf("read the password: %w", r.err)
		}
		return r.line, nil
	}
}

func isTerminal(f *os.File) bool {
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0 && stty(f, "-a") == nil
}

// stty changes how a terminal behaves, without a library per system.
func stty(f *os.File, setting string) error {
	cmd := exec.Command("stty", setting)
	cmd.Stdin = f
	return cmd.Run()
}
