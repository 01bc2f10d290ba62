package sip

import (
	"context"
	"sync"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// statics watches accounts with a fixed contact. Such a phone counts as reachable until a dial gets no response from it; then it is asked with
// OPTIONS until it answers.
type statics struct {
	e *Endpoint

	telling sync.Mutex // held over a change and its OnReachable, so that those stay in order; taken before mu
	mu      sync.Mutex
	down    map[string]bool
}

func newStatics(e *Endpoint) *statics { return &statics{e: e, down: make(map[string]bool)} }

func (s *statics) isDown(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down[user]
}

// set notes a change and tells it; false: it was so already.
func (s *statics) set(user string, down bool) bool {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	changed := s.down[user] != down
	if down {
		s.down[user] = true
	} else {
		delete(s.down, user)
	}
	s.mu.Unlock()
	if changed {
		s.e.log.Info("static contact", "user", user, "reachable", !down)
		s.e.cfg.OnReachable(user, !down)
	}
	return changed
}

// failed: nobody answered at the account's contact.
func (s *statics) failed(acc Account) {
	if s.set(acc.User, true) {
		s.e.spawn(func() { s.probe(acc) })
	}
}

// probe asks the contact with OPTIONS until it answers anything at all, or the account has another contact. It ends with the endpoint.
func (s *statics) probe(acc Account) {
	e := s.e
	tick := time.NewTicker(e.times.probe)
	defer tick.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-tick.C:
		}
		now, ok := e.cfg.Accounts(acc.User)
		if !ok || now.Contact == "" {
			s.mu.Lock()
			delete(s.down, acc.User)
			s.mu.Unlock()
			return
		}
		if now.Contact != acc.Contact || s.answers(now) {
			s.set(acc.User, false)
			return
		}
	}
}

func (s *statics) answers(acc Account) bool {
	e := s.e
	all, err := e.places(acc)
	if err != nil || len(all) == 0 {
		return false
	}
	p := all[0]
	d := dialog{CallID: newTag() + newTag(), LocalTag: newTag(), Target: p.uri.String(), Transport: p.transport, LocalSeq: 0}
	_, to := d.destination(e, p.uri)
	host := hostPart(e.shown(e.localFor(&d, d.Transport, to), to).Addr())
	d.Local, d.Remote = "<sip:hotline@"+host+">", "<sip:"+userPart(acc.User)+"@"+host+">"
	req := d.next(e, sipmsg.OPTIONS)
	req.AppendHeader(sipmsg.NewHeader("Contact", d.contact(e)))
	req.AppendHeader(sipmsg.NewHeader("Accept", "application/sdp"))
	ctx, cancel := context.WithTimeout(e.ctx, e.times.noResponse)
	defer cancel()
	res, err := e.exchange(ctx, req)
	return err == nil && res.StatusCode != 408 && res.StatusCode != 503
}
