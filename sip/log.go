package sip

import (
	"sync"
	"time"
)

// sparing lets few log lines a second through, so that strangers can't fill the disk.
type sparing struct {
	mu     sync.Mutex
	second time.Time
	lines  int // in this second
	missed int // since the last line
}

const sparingLines = 10

// allow tells whether a line may be logged now, and how many were not since the last one.
func (s *sparing) allow(now time.Time) (missed int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.second) >= time.Second {
		s.second, s.lines = now, 0
	}
	if s.lines >= sparingLines {
		s.missed++
		return 0, false
	}
	s.lines++
	missed, s.missed = s.missed, 0
	return missed, true
}
