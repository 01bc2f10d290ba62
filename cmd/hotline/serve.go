package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"hotline/acd"
	"hotline/acd/calllog"
	"hotline/acd/journal"
	"hotline/acd/live"
	"hotline/ivr"
	"hotline/recordings"
	"hotline/sip"
	"hotline/sip/media"
)

const (
	// talksMayLast is how long talks go on after the first signal.
	talksMayLast = 5 * time.Minute
	// goodbyesMayLast bounds the BYEs at the very end.
	goodbyesMayLast = 5 * time.Second
	// logMayLag is how long the end of the service waits for the call log;
	// what is missing then is read from the journal at the next start.
	logMayLag = 5 * time.Second
)

// serve runs the service until ctx ends (the first signal), then drains. A
// second signal ends the talks at once.
func serve(ctx context.Context, cfg *Config, log *slog.Logger) error {
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if err := os.MkdirAll(data, 0o750); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}

	// What is opened first is closed last.
	jrnl, err := journal.Open(ctx, journal.Options{Dir: filepath.Join(data, "journal"), Log: log})
	if err != nil {
		return err
	}
	defer func() {
		if err := jrnl.Close(); err != nil {
			log.Error("close the journal", "error", err)
		}
	}()

	closeLog, err := keepLog(ctx, cfg, data, jrnl, log)
	if err != nil {
		return err
	}
	defer closeLog()

	prompts, err := ivr.BuiltIn()
	if err != nil {
		return fmt.Errorf("built-in prompts: %w", err)
	}
	mediaConfig, err := cfg.MediaConfig()
	if err != nil {
		return err
	}
	mediaConfig.Log = log
	engine, err := media.NewEngine(mediaConfig)
	if err != nil {
		return fmt.Errorf("media: %w", err)
	}
	defer engine.Close()

	// The endpoint and the referee call each other; the endpoint serves
	// nothing before the referee stands.
	var referee *live.Referee
	lines := agentLines(cfg)
	byExtension := map[string]acd.AgentID{}
	ringer := &phones{extensions: map[acd.AgentID]string{}}
	for _, a := range lines {
		byExtension[a.Extension] = a.ID
		ringer.extensions[a.ID] = a.Extension
	}
	accounts := cfg.Accounts()
	endpoint, err := sip.New(sip.Config{
		Listen: cfg.Listen.SIP,
		Trunks: cfg.SIPTrunks(),
		Realm:  sipRealm,
		Accounts: func(user string) (sip.Account, bool) {
			a, ok := accounts[user]
			return a, ok
		},
		Media:  engine,
		Screen: screen(cfg, accounts),
		OnCall: func(leg *sip.Leg) {
			in := leg.Invite()
			referee.Arrive(live.Arrival{
				Leg: leg, Number: in.Number, Caller: in.Caller, Name: in.Name,
				Trunk: in.Trunk, Agent: byExtension[in.Account],
			})
		},
		OnReachable: func(user string, reachable bool) {
			if id, ok := byExtension[user]; ok {
				referee.Tell(acd.AgentReachable{Agent: id, Reachable: reachable})
			}
		},
		OnDialog: func(id, call string, state json.RawMessage) {
			if state == nil {
				referee.Tell(journal.DialogClosed{Dialog: id})
				return
			}
			referee.Tell(journal.DialogOpened{Dialog: id, Call: acd.CallID(call), State: state})
		},
		Log: log,
	})
	if err != nil {
		return err
	}
	ringer.endpoint = endpoint

	referee, err = live.New(ctx, live.Config{
		Floor:      cfg.Floor(version()),
		Agents:     lines,
		Numbers:    flows(cfg, prompts),
		Record:     recorded(cfg),
		Phones:     ringer,
		Journal:    jrnl,
		Prompts:    prompts,
		Music:      ivr.Music(),
		StartTape:  startTape(filepath.Join(data, "recordings"), log),
		RepairTape: repairTape,
		Version:    version(),
		Log:        log,
	})
	if err != nil {
		endpoint.Close(ctx)
		return err
	}

	serving, stop := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Add(1)
	failed := make(chan error, 1)
	go func() { // ends with stop, or when a listener fails
		defer served.Done()
		if err := endpoint.Serve(serving); err != nil && serving.Err() == nil {
			failed <- fmt.Errorf("serve SIP: %w", err)
		}
	}()
	log.Info("service started", "sip", endpoint.Addrs(), "data", data)
	greet(os.Stdout, cfg, endpoint.Addrs(), data)

	var fault error
	select {
	case <-ctx.Done():
	case fault = <-failed:
	}

	log.Info("closing time: no new calls; talks may end", "within", talksMayLast)
	endpoint.Drain()
	talks, now := context.WithTimeout(context.Background(), talksMayLast)
	second := make(chan os.Signal, 1)
	signal.Notify(second, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(second)
	go func() { // ends with talks
		select {
		case <-second:
			log.Info("second signal: talks end now")
			now()
		case <-talks.Done():
		}
	}()
	referee.Drain(talks)
	now()

	goodbyes, done := context.WithTimeout(context.Background(), goodbyesMayLast)
	defer done()
	if err := endpoint.Close(goodbyes); err != nil {
		log.Warn("close the SIP endpoint", "error", err)
	}
	stop()
	served.Wait()
	referee.Close()
	log.Info("service stopped")
	return fault
}

// keepLog projects the journal into Postgres for as long as the service runs.
// The returned function waits a bounded time for the log to catch up and stops it.
func keepLog(ctx context.Context, cfg *Config, data string, jrnl *journal.Journal, log *slog.Logger) (closeLog func(), err error) {
	dsn := cfg.Database
	stopPostgres := func() {}
	if dsn == "" {
		private, err := calllog.StartPrivate(ctx, calllog.PrivateOptions{Dir: privateDir(data), Log: log})
		if err != nil {
			return nil, fmt.Errorf("private Postgres: %w", err)
		}
		dsn = private.DSN()
		stopPostgres = func() {
			if err := private.Close(); err != nil {
				log.Error("stop the private Postgres", "error", err)
			}
		}
	}
	calls, err := calllog.Open(ctx, dsn, log)
	if err != nil {
		stopPostgres()
		return nil, fmt.Errorf("call log: %w", err)
	}
	following, stop := context.WithCancel(context.Background())
	followed := make(chan struct{})
	go func() { // ends with stop
		defer close(followed)
		if err := calls.Follow(following, jrnl); err != nil && !errors.Is(err, context.Canceled) {
			log.Error("call log", "error", err)
		}
	}()
	return func() {
		patience, cancel := context.WithTimeout(context.Background(), logMayLag)
		defer cancel()
		if last, ok, err := jrnl.Last(patience); err == nil && ok {
			if err := calls.CaughtUp(patience, last.Position); err != nil {
				log.Warn("the call log is behind the journal; it catches up at the next start", "error", err)
			}
		}
		stop()
		<-followed
		calls.Close()
		stopPostgres()
	}, nil
}

// privateDir is where the private Postgres lives.
func privateDir(data string) string { return filepath.Join(data, "postgres") }

// screen decides who may call what: a number may be reached from a trunk and by
// agents, a feature code by agents only, and an agent is who has the password,
// whatever the address.
func screen(cfg *Config, accounts map[string]sip.Account) func(sip.Invite) sip.Verdict {
	return func(in sip.Invite) sip.Verdict {
		_, number := cfg.Numbers[in.Number]
		_, extension := accounts[in.Number]
		switch {
		case number && (in.Trunk != "" || in.Account != ""):
			return sip.Accept
		case live.IsFeature(in.Number) && in.Account != "":
			return sip.Accept
		case in.Account != "":
			return sip.NotFound // agents do not call each other yet
		case live.IsFeature(in.Number) || extension || in.Trunk == "":
			return sip.Challenge
		}
		return sip.NotFound
	}
}

// flows are what the numbers lead to.
func flows(cfg *Config, prompts *ivr.Prompts) map[string]ivr.Flow {
	flows := map[string]ivr.Flow{}
	for number, n := range cfg.Numbers {
		if n.Queue != "" {
			flows[number] = ivr.Queue(n.Queue)
			continue
		}
		flows[number] = ivr.Main(prompts, departments(cfg))
	}
	return flows
}

func recorded(cfg *Config) map[acd.QueueID]bool {
	record := map[acd.QueueID]bool{}
	for name, q := range cfg.Queues {
		record[acd.QueueID(name)] = q.Record
	}
	return record
}

// startTape opens recordings under a folder.
func startTape(dir string, log *slog.Logger) func(acd.CallID, time.Time, media.Codec) (live.Tape, error) {
	return func(call acd.CallID, at time.Time, law media.Codec) (live.Tape, error) {
		tape, err := recordings.Start(recordings.Options{Dir: dir, Call: string(call), Started: at, Codec: law, Log: log})
		if err != nil {
			return nil, err
		}
		return recording{tape}, nil
	}
}

// recording gives a tape the shape that the referee knows.
type recording struct{ *recordings.Tape }

func (r recording) Close() (length, lost time.Duration, err error) {
	s, err := r.Tape.Close()
	return s.Length, s.Lost, err
}

func repairTape(file string) (time.Duration, error) {
	s, err := recordings.Recover(file)
	return s.Length, err
}
