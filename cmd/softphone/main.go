// Command softphone is a telephone without a face: it calls or takes calls, plays,
// records, presses keys, and reports in one line of JSON what happened. It is for
// trying out and testing a call centre.
//
// It is a stranger to the service on purpose: its SIP user agent is its own, so that
// a fault of the service's dialogs is not mirrored here. Only offer/answer
// (sip/sdp) and the media streams (sip/media) are shared.
//
// Each call is one goroutine that owns its dialog; the phone's sockets are served by
// the transport's goroutines, which end in phone.close.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	sipmsg "github.com/emiago/sipgo/sip"

	"hotline/sip/media"
	"hotline/sip/sdp"
)

// Exit statuses.
const (
	exitFine   = 0 // answered, and ended in order
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	// Over the 1,300 bytes that the transport refuses to send over UDP by default, a
	// datagram is fragmented, which every phone bears.
	sipmsg.UDPMTUSize = 65000
	sipmsg.SetDefaultLogger(slog.New(slog.DiscardHandler)) // what the layers don't log to phoneConfig.Log
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the program at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

type cli struct {
	Call  callCommand  `cmd:"" help:"Call a number."`
	Agent agentCommand `cmd:"" help:"Register and take calls."`
}

// options are common to both commands.
type options struct {
	User        string        `help:"User for registering and authentication." placeholder:"1001"`
	Password    string        `help:"Password." env:"SOFTPHONE_PASSWORD"`
	From        string        `help:"Who calls: NUMBER, or NAME/NUMBER." placeholder:"NAME/NUMBER"`
	Transport   string        `help:"udp or tcp." enum:"udp,tcp," default:""`
	Listen      string        `help:"Address to listen on, for example 127.0.0.1:6000. Default: by route to the server, any free port." placeholder:"ADDR"`
	MediaPorts  string        `help:"Ports for RTP." default:"30000-59999" placeholder:"FIRST-LAST"`
	Codecs      []string      `help:"Codecs, most wanted first: pcmu, pcma." enum:"pcmu,pcma" default:"pcmu,pcma"`
	Play        string        `help:"What to say: a WAV file (8 kHz mono), or tone:HZ. Repeats until the end." placeholder:"FILE"`
	Record      string        `help:"Write what is heard to this WAV file." placeholder:"FILE"`
	Digits      string        `help:"Keys to press after the answer; each comma is a pause." placeholder:"1,2"`
	DigitsAfter time.Duration `help:"When to press the first key, after the answer." default:"1s" placeholder:"1s"`
	DigitGap    time.Duration `help:"How long the pause of a comma is." default:"1s" placeholder:"1s"`
	Info        bool          `help:"Press keys by SIP INFO instead of RFC 4733."`
	Verbose     bool          `short:"v" help:"Show the log of the SIP stack."`
}

type callCommand struct {
	Target            string        `arg:"" help:"Whom to call, for example sip:1901@127.0.0.1:5060." placeholder:"sip:NUMBER@HOST[:PORT]"`
	For               time.Duration `help:"Give up or hang up this long after dialling. Default: the other side hangs up." placeholder:"10s"`
	HangupAfterAnswer time.Duration `help:"Hang up this long after the answer." placeholder:"5s"`
	options
}

type agentCommand struct {
	Registrar   string        `help:"Where to register, for example sip:127.0.0.1:5060. Without: calls come straight to --listen." placeholder:"sip:HOST[:PORT]"`
	Expires     time.Duration `help:"For how long to register at a time." default:"5m" placeholder:"5m"`
	AnswerAfter time.Duration `help:"Let it ring so long." default:"0s" placeholder:"2s"`
	Reject      int           `help:"Answer every call with this status instead, for example 486." placeholder:"486"`
	Calls       int           `help:"End after so many calls. Default: never." placeholder:"N"`
	HangupAfter time.Duration `help:"Hang up this long after the answer. Default: the caller hangs up." placeholder:"10s"`
	For         time.Duration `help:"End after this time. Default: never." placeholder:"60s"`
	Dial        string        `help:"Dial this first, after registering, and wait for the end of that call: *11 signs in." placeholder:"*11"`
	options
}

// usageError is a mistake on the command line.
type usageError struct{ error }

// run does what the command line says and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c cli
	exited := -1
	parser, err := kong.New(&c, kong.Name("softphone"), kong.Writers(stdout, stderr),
		kong.Description("A headless SIP phone. The last line on standard output is a JSON object of what happened; exit status 0: answered and ended in order, 1: not, 2: wrong usage."),
		kong.Exit(func(code int) { exited = code; panic(exit{}) }))
	if err != nil {
		fmt.Fprintln(stderr, "softphone:", err)
		return exitUsage
	}
	command, err := parse(parser, args)
	if exited >= 0 { // --help
		return exited
	}
	var r *report
	if err == nil {
		say := progress(stderr)
		switch command {
		case "agent":
			r, err = c.Agent.run(ctx, say)
		default:
			r, err = c.Call.run(ctx, say)
		}
	} else {
		err = usageError{err}
	}
	if err != nil {
		fmt.Fprintln(stderr, "softphone:", err)
		if errors.As(err, new(usageError)) {
			return exitUsage
		}
		return exitFailed
	}
	if err := r.print(stdout); err != nil {
		fmt.Fprintln(stderr, "softphone:", err)
		return exitFailed
	}
	if !r.fine() {
		return exitFailed
	}
	return exitFine
}

// exit is thrown where kong would end the process.
type exit struct{}

func parse(k *kong.Kong, args []string) (command string, err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(exit); !ok {
				panic(r)
			}
		}
	}()
	ctx, err := k.Parse(args)
	if err != nil {
		return "", err
	}
	command, _, _ = strings.Cut(ctx.Command(), " ")
	return command, nil
}

// progress writes lines for a person, from any goroutine.
func progress(w io.Writer) func(string, ...any) {
	var mu sync.Mutex
	return func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, "%s  %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
	}
}

func (c *callCommand) run(ctx context.Context, say func(string, ...any)) (*report, error) {
	target, err := parseTarget(c.Target)
	if err != nil {
		return nil, usageError{err}
	}
	todo, err := c.plan()
	if err != nil {
		return nil, usageError{err}
	}
	todo.hangup = c.HangupAfterAnswer
	p, err := c.phone(target, say)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if c.For > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, c.For)
		defer stop()
	}
	return p.dial(ctx, target, todo), nil
}

func (c *agentCommand) run(ctx context.Context, say func(string, ...any)) (*report, error) {
	plan := agentPlan{
		expires: c.Expires, dial: c.Dial, answerAfter: c.AnswerAfter, reject: c.Reject, calls: c.Calls,
	}
	var server sipmsg.Uri
	switch {
	case c.Registrar != "":
		u, err := parseTarget(c.Registrar)
		if err != nil {
			return nil, usageError{err}
		}
		if c.User == "" {
			return nil, usageError{errors.New("--registrar needs --user")}
		}
		u.User = ""
		server, plan.registrar = u, &u
	case c.Dial != "":
		return nil, usageError{errors.New("--dial needs --registrar")}
	case c.Listen == "":
		return nil, usageError{errors.New("want --registrar or --listen")}
	}
	if c.Reject != 0 && (c.Reject < 400 || c.Reject > 699) {
		return nil, usageError{fmt.Errorf("--reject %d: want a status from 400 to 699", c.Reject)}
	}
	if c.Expires < time.Second {
		return nil, usageError{fmt.Errorf("--expires %v: want at least 1s", c.Expires)}
	}
	var err error
	if plan.talk, err = c.plan(); err != nil {
		return nil, usageError{err}
	}
	plan.talk.hangup = c.HangupAfter
	p, err := c.phone(server, say)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if c.For > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, c.For)
		defer stop()
	}
	return p.serveAgent(ctx, plan), nil
}

// plan is what the options say to do in a call.
func (o *options) plan() (plan, error) {
	keys, err := parseKeys(o.Digits, o.DigitsAfter, o.DigitGap)
	if err != nil {
		return plan{}, err
	}
	todo := plan{record: o.Record, keys: keys, info: o.Info}
	if o.Play != "" {
		if todo.play, err = sound(o.Play); err != nil {
			return plan{}, err
		}
	}
	if o.Record != "" {
		if _, err := os.Stat(filepath.Dir(o.Record)); err != nil {
			return plan{}, fmt.Errorf("cannot record to %s: %w", o.Record, err)
		}
	}
	return todo, nil
}

// phone makes the phone that talks to the server.
func (o *options) phone(server sipmsg.Uri, say func(string, ...any)) (*phone, error) {
	config := phoneConfig{
		identity: identity{User: o.User, Password: o.Password}, Server: server.HostPort(),
		Transport: o.Transport, Progress: say,
	}
	if config.Transport == "" {
		config.Transport = "udp"
		if t, ok := server.UriParams.Get("transport"); ok && strings.EqualFold(t, "tcp") {
			config.Transport = "tcp"
		}
	}
	if o.From != "" {
		name, number, ok := strings.Cut(o.From, "/")
		if !ok {
			name, number = "", o.From
		}
		if number == "" || strings.ContainsAny(o.From, "\"<>\\@") || !printable(o.From) {
			return nil, usageError{fmt.Errorf("--from %q: want NUMBER or NAME/NUMBER", o.From)}
		}
		config.Name, config.Number = name, number
	}
	if !printable(o.User) || strings.ContainsAny(o.User, "\"<>@ ") {
		return nil, usageError{fmt.Errorf("--user %q: want a plain name", o.User)}
	}
	if o.Listen != "" {
		listen, err := netip.ParseAddrPort(o.Listen)
		if err != nil {
			return nil, usageError{fmt.Errorf("--listen %q: want an address and a port, for example 127.0.0.1:6000", o.Listen)}
		}
		config.Listen = listen
	}
	for _, name := range o.Codecs {
		codec := sdp.PCMU
		if name == "pcma" {
			codec = sdp.PCMA
		}
		config.Codecs = append(config.Codecs, codec)
	}
	var err error
	if config.MediaPorts, err = parsePorts(o.MediaPorts); err != nil {
		return nil, usageError{err}
	}
	config.Log = slog.New(slog.DiscardHandler)
	if o.Verbose {
		config.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return newPhone(config)
}

func parsePorts(text string) (media.PortRange, error) {
	first, last, ok := strings.Cut(text, "-")
	a, err := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if !ok || err != nil || err2 != nil || a == 0 || b <= a {
		return media.PortRange{}, fmt.Errorf("--media-ports %q: want FIRST-LAST, for example 30000-30999", text)
	}
	return media.PortRange{First: uint16(a), Last: uint16(b)}, nil
}

// parseTarget reads a SIP address.
func parseTarget(text string) (sipmsg.Uri, error) {
	var u sipmsg.Uri
	err := sipmsg.ParseUri(text, &u)
	if err != nil || u.Scheme != "sip" || u.Host == "" || u.Wildcard || !printable(text) {
		return u, fmt.Errorf("%q: want sip:NUMBER@HOST[:PORT], for example sip:1901@127.0.0.1:5060", text)
	}
	return u, nil
}

// printable: nothing that could end a header line.
func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}
