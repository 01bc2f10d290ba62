package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// defaultFile is what init writes and check reads when no file is named.
const defaultFile = "hotline.yaml"

type initCommand struct {
	File string `arg:"" optional:"" help:"File to write; hotline.yaml if not given." type:"path"`
}

func (c initCommand) Run(a *app) error {
	file := c.File
	if file == "" {
		file = a.config
	}
	if file == "" {
		file = defaultFile
	}
	// The file will hold passwords.
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists and is left as it is: name another file, `hotline init FILE`", shorter(file))
	}
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	if _, err := f.Write(exampleConfig); err != nil {
		f.Close()
		os.Remove(file)
		return fmt.Errorf("write the configuration: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	name := shorter(file)
	_, err = fmt.Fprintf(a.out, "Wrote %s. Edit it, then:\n  hotline check %s\n  hotline serve --config %s\n", name, name, name)
	return err
}

// shorter is a path as the user would write it here.
func shorter(file string) string {
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, file); err == nil && len(rel) < len(file) {
			return rel
		}
	}
	return file
}

type checkCommand struct {
	File string `arg:"" optional:"" help:"File to check; else --config, else hotline.yaml." type:"path"`
}

func (c checkCommand) Run(a *app) error {
	file := c.File
	if file == "" {
		file = a.config
	}
	if file == "" {
		file = defaultFile
	}
	file = shorter(file)
	cfg, err := loadConfig(file)
	var wrong Mistakes
	if errors.As(err, &wrong) {
		fmt.Fprintln(a.out, wrong.Error())
		return fmt.Errorf("%s: %s", file, count(len(wrong), "mistake"))
	}
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintln(a.out, "warning:", w)
	}
	_, err = fmt.Fprintf(a.out, "%s: good: %s, %s, %s\n", file,
		count(len(cfg.Numbers), "number"), count(len(cfg.Queues), "queue"), count(len(cfg.Agents), "agent"))
	return err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
