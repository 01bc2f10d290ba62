// Command hotline is the call centre: the service and what goes with it.
//
// It reads the configuration, wires the packages together, and shows the call
// log. It decides nothing about calls: that is acd's.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

// commands are the command line, as kong reads it.
type commands struct {
	Config string `help:"Configuration file. Without one: the demonstration centre." env:"HOTLINE_CONFIG" type:"path" placeholder:"FILE"`

	Serve   serveCommand   `cmd:"" help:"Answer calls, until SIGTERM or Ctrl-C (talks may end; a second one ends them)."`
	Init    initCommand    `cmd:"" help:"Write a commented configuration to start from."`
	Check   checkCommand   `cmd:"" help:"Say what is wrong with a configuration."`
	Passwd  passwdCommand  `cmd:"" help:"Turn a password into what the configuration may hold in its place."`
	DSN     dsnCommand     `cmd:"" name:"dsn" help:"Print the DSN of the call log, e.g. for psql."`
	Calls   callsCommand   `cmd:"" help:"List calls, the newest first."`
	Missed  missedCommand  `cmd:"" help:"List missed calls, the newest first."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// app is what every command needs besides its flags.
type app struct {
	ctx    context.Context // ends with the first SIGTERM or Ctrl-C
	config string          // file; "" for the demonstration centre
	in     io.Reader
	out    io.Writer
	err    io.Writer
}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the program: it gives the exit status, 2 for a wrong command line and
// 1 for every other failure.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	var c commands
	status := -1
	parser, err := kong.New(&c,
		kong.Name("hotline"),
		kong.Description("A call centre in one program: it answers, asks, lets callers wait, rings the right agent, records, and writes down what happened."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { status = code }), // --help ends here
	)
	if err != nil {
		fmt.Fprintln(errOut, "hotline:", err)
		return 1
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if status >= 0 {
		return status
	}
	if err != nil {
		fmt.Fprintf(errOut, "hotline: %v\nhotline: `hotline --help` shows the commands.\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = parsed.Run(&app{ctx: ctx, config: c.Config, in: in, out: out, err: errOut})
	if err == nil {
		return 0
	}
	var wrong Mistakes
	if errors.As(err, &wrong) {
		fmt.Fprintln(errOut, wrong.Error()) // each line begins with its place
	} else {
		fmt.Fprintln(errOut, "hotline:", err)
	}
	return 1
}

type serveCommand struct {
	LogLevel slog.Level `help:"What to log: debug, info, warn or error." default:"info" placeholder:"LEVEL"`
}

func (s serveCommand) Run(a *app) error {
	cfg, err := loadConfig(a.config)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintln(a.err, "warning:", w)
	}
	return serve(a.ctx, cfg, slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: s.LogLevel})))
}

type versionCommand struct{}

func (versionCommand) Run(a *app) error {
	_, err := fmt.Fprintln(a.out, "hotline", version())
	return err
}

// version is the module's version, or the commit that was built.
func version() string {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := b.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	commit, changed := "", ""
	for _, s := range b.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changed"
		}
	}
	if commit == "" {
		return "development"
	}
	return commit + changed
}
