package live

import "sync"

// guests counts the stories and the rings under way. Unlike a WaitGroup it may
// be entered while somebody waits for the last one to leave, as by the INVITE
// that was let in just before closing time, and it can be locked for good.
type guests struct {
	mu     sync.Mutex
	inside int
	locked bool
	left   sync.Cond // the last one has left; its lock is mu
}

// enter counts one in, unless the house is locked.
func (g *guests) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.locked {
		return false
	}
	g.inside++
	return true
}

func (g *guests) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 {
		g.left.Broadcast()
	}
}

// wait returns when nobody is inside.
func (g *guests) wait() { g.empty(false) }

// lock waits until nobody is inside and lets nobody in afterwards.
func (g *guests) lock() { g.empty(true) }

func (g *guests) empty(lock bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.inside > 0 {
		g.left.Wait()
	}
	g.locked = g.locked || lock
}
