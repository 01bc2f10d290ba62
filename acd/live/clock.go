package live

import (
	"sync"
	"time"
)

// clock gives the journal's stamps: the wall clock at start plus the monotonic
// time elapsed since, so that they never go backwards, whatever is done to the
// machine's clock. Whole microseconds, as Postgres keeps them.
type clock struct {
	wall  time.Time // UTC, at start
	start time.Time // the same moment, with the monotonic reading
	last  *lastStamp
}

// lastStamp keeps two stamps apart in order where the clock is coarse.
type lastStamp struct {
	mu sync.Mutex
	at time.Time
}

// startClock starts not before notBefore, the last stamp of the run before.
func startClock(notBefore time.Time) clock {
	start := time.Now()
	wall := start.UTC().Round(0)
	if wall.Before(notBefore) {
		wall = notBefore.UTC()
	}
	return clock{wall: wall, start: start, last: &lastStamp{}}
}

func (c clock) now() time.Time {
	at := c.wall.Add(time.Since(c.start)).Truncate(time.Microsecond)
	c.last.mu.Lock()
	defer c.last.mu.Unlock()
	if at.Before(c.last.at) {
		return c.last.at
	}
	c.last.at = at
	return at
}
