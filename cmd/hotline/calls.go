package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"hotline/acd/calllog"
)

// choice is which rows of the log to list.
type choice struct {
	Since string `help:"From then on: 24h, 7d, 2026-11-22, \"2026-11-22 14:30\" (local time), or RFC 3339." placeholder:"WHEN"`
	Queue string `help:"Of this queue only." placeholder:"NAME"`
	Limit int    `help:"At most so many, the newest; 0 for all." default:"100"`
}

func (c choice) filter(now time.Time) (calllog.Filter, error) {
	f := calllog.Filter{Queue: c.Queue, Limit: c.Limit}
	if c.Limit < 0 {
		return f, fmt.Errorf("--limit: want a number from 0 up, not %d", c.Limit)
	}
	if c.Since == "" {
		return f, nil
	}
	since, err := parseSince(c.Since, now)
	if err != nil {
		return f, err
	}
	f.Since = since
	return f, nil
}

// parseSince understands how long ago, and a moment in now's zone.
func parseSince(s string, now time.Time) (time.Time, error) {
	s = strings.TrimSpace(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since: want how long ago, such as 24h or 7d, or a moment, such as 2026-11-22 or \"2026-11-22 14:30\", not %q", s)
}

type callsCommand struct {
	choice `embed:""`
	form   `embed:""`
}

func (c callsCommand) Run(a *app) error {
	return list(a, c.choice, c.form, (*calllog.Log).Calls, callColumns)
}

type missedCommand struct {
	choice `embed:""`
	form   `embed:""`
}

func (c missedCommand) Run(a *app) error {
	return list(a, c.choice, c.form, (*calllog.Log).Missed, missedColumns)
}

// logAnswersWithin bounds how long a command waits for the log.
const logAnswersWithin = 30 * time.Second

func list[R any](a *app, c choice, f form, read func(*calllog.Log, context.Context, calllog.Filter) ([]R, error), columns []column[R]) error {
	filter, err := c.filter(time.Now())
	if err != nil {
		return err
	}
	cfg, err := loadConfig(a.config)
	if err != nil {
		return err
	}
	if c.Queue != "" {
		if _, ok := cfg.Queues[c.Queue]; !ok {
			fmt.Fprintf(a.err, "hotline: there is no queue %q now%s\n", c.Queue, suggest(c.Queue, sortedKeys(cfg.Queues)))
		}
	}
	dsn, err := logDSN(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(a.ctx, logAnswersWithin)
	defer cancel()
	log, err := calllog.Open(ctx, dsn, nil)
	if err != nil {
		return err
	}
	defer log.Close()
	rows, err := read(log, ctx, filter)
	if err != nil {
		return fmt.Errorf("%w (is Postgres running, and does `database` lead to it?)", err)
	}
	return write(a.out, f, columns, rows)
}

func moment(t *time.Time) any {
	if t == nil {
		return nil
	}
	return *t
}

// length turns the log's milliseconds into a duration.
func length(ms *int64) any {
	if ms == nil {
		return nil
	}
	return time.Duration(*ms) * time.Millisecond
}

// text is null in JSON where it is null in the log.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// The columns bear the names of the views.
var callColumns = []column[calllog.Call]{
	{"call_id", true, func(c calllog.Call) any { return c.CallID }},
	{"arrived_at", false, func(c calllog.Call) any { return c.ArrivedAt }},
	{"number", false, func(c calllog.Call) any { return c.Number }},
	{"caller", false, func(c calllog.Call) any { return text(c.Caller) }},
	{"language", false, func(c calllog.Call) any { return text(c.Language) }},
	{"queue", false, func(c calllog.Call) any { return text(c.Queue) }},
	{"agent", false, func(c calllog.Call) any { return text(c.Agent) }},
	{"outcome", false, func(c calllog.Call) any { return text(c.Outcome) }},
	{"stage", false, func(c calllog.Call) any { return text(c.Stage) }},
	{"answered_at", true, func(c calllog.Call) any { return moment(c.AnsweredAt) }},
	{"queued_at", true, func(c calllog.Call) any { return moment(c.QueuedAt) }},
	{"connected_at", true, func(c calllog.Call) any { return moment(c.ConnectedAt) }},
	{"ended_at", true, func(c calllog.Call) any { return moment(c.EndedAt) }},
	{"wait_ms", false, func(c calllog.Call) any { return length(c.WaitMS) }},
	{"ring_ms", true, func(c calllog.Call) any { return length(c.RingMS) }},
	{"talk_ms", false, func(c calllog.Call) any { return length(c.TalkMS) }},
	{"hold_ms", true, func(c calllog.Call) any { return length(c.HoldMS) }},
	{"hung_up_by", false, func(c calllog.Call) any { return text(c.HungUpBy) }},
	{"recording", false, func(c calllog.Call) any { return text(c.Recording) }},
}

var missedColumns = []column[calllog.Missed]{
	{"call_id", true, func(m calllog.Missed) any { return m.CallID }},
	{"arrived_at", false, func(m calllog.Missed) any { return m.ArrivedAt }},
	{"number", false, func(m calllog.Missed) any { return m.Number }},
	{"caller", false, func(m calllog.Missed) any { return text(m.Caller) }},
	{"language", false, func(m calllog.Missed) any { return text(m.Language) }},
	{"queue", false, func(m calllog.Missed) any { return text(m.Queue) }},
	{"outcome", false, func(m calllog.Missed) any { return text(m.Outcome) }},
	{"stage", false, func(m calllog.Missed) any { return text(m.Stage) }},
	{"queued_at", true, func(m calllog.Missed) any { return moment(m.QueuedAt) }},
	{"ended_at", true, func(m calllog.Missed) any { return moment(m.EndedAt) }},
	{"wait_ms", false, func(m calllog.Missed) any { return length(m.WaitMS) }},
	{"tries", false, func(m calllog.Missed) any { return m.Tries }},
	{"got_through_at", false, func(m calllog.Missed) any { return moment(m.GotThroughAt) }},
}
