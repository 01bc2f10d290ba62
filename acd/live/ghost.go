package live

import (
	"context"
	"log/slog"
	"time"

	"hotline/acd"
)

// watch is how phones are found that are gone without a BYE. One that sends no
// audio is asked by OPTIONS whether it is still there, since a phone on mute
// must not lose its call. A ghost is found within 30 s when no first packet
// came, and within 60 s later.
type watch struct {
	first    time.Duration // without a first packet: ask
	steady   time.Duration // without a further packet: ask
	answer   time.Duration // how long the phone may take to answer
	every    time.Duration // how often we look
	askAgain time.Duration // a phone on mute is asked again and again
}

var usualWatch = watch{first: 15 * time.Second, steady: 40 * time.Second, answer: 10 * time.Second, every: 5 * time.Second, askAgain: 30 * time.Second}

// lookout watches the legs of one call for one stretch of it. It belongs to the
// call's story, which calls look at each tick of due and reads ghosts.
type lookout struct {
	watch
	due    <-chan time.Time
	ghosts chan Leg // who is gone; the first one counts

	ticker *time.Ticker
	began  time.Time
	ask    map[Leg]time.Time // when to ask again at the soonest
}

func (w watch) begin() *lookout {
	t := time.NewTicker(w.every)
	return &lookout{watch: w, due: t.C, ghosts: make(chan Leg, 1), ticker: t, began: time.Now(), ask: map[Leg]time.Time{}}
}

func (o *lookout) end() { o.ticker.Stop() }

// look asks the legs that are silent. The answers come later.
func (o *lookout) look(log *slog.Logger, call acd.CallID, legs ...Leg) {
	for _, leg := range legs {
		if time.Now().Before(o.ask[leg]) || !o.silent(leg) {
			continue
		}
		o.ask[leg] = time.Now().Add(o.askAgain)
		go func() { // ends within o.answer
			ctx, cancel := context.WithTimeout(context.Background(), o.answer)
			defer cancel()
			if err := leg.Alive(ctx); err != nil {
				log.Warn("a silent phone does not answer", "call", call, "callid", leg.ID(), "error", err)
				select {
				case o.ghosts <- leg:
				default: // one ghost is enough
				}
			}
		}()
	}
}

// silent says whether a leg should be asked if it still lives.
func (o *lookout) silent(leg Leg) bool {
	heard := leg.Audio().LastHeard()
	if heard.IsZero() || heard.Before(o.began) {
		return time.Since(o.began) > o.first
	}
	return time.Since(heard) > o.steady
}
