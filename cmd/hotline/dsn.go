package main

import (
	"fmt"
	"path/filepath"

	"hotline/acd/calllog"
)

type dsnCommand struct{}

func (dsnCommand) Run(a *app) error {
	cfg, err := loadConfig(a.config)
	if err != nil {
		return err
	}
	dsn, err := logDSN(cfg)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, dsn)
	return err
}

// logDSN is the address of the call log, also of a private one that another
// process runs.
func logDSN(cfg *Config) (string, error) {
	if cfg.Database != "" {
		return cfg.Database, nil
	}
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		return "", err
	}
	dsn, err := calllog.PrivateDSN(privateDir(data))
	if err != nil {
		return "", fmt.Errorf("call log: %w (a relative `data` is looked up in the folder where you are: run this where the service runs, with the same --config)", err)
	}
	return dsn, nil
}
