package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// agentPlan is what a phone does that is there to be called.
type agentPlan struct {
	registrar   *sipmsg.Uri // nil: calls come straight to the phone
	expires     time.Duration
	dial        string // dialled first, as *11 to sign in
	answerAfter time.Duration
	reject      int // answers every call with this code; 0: answers
	calls       int // ends after so many; 0: never
	talk        plan
}

// agent takes one call at a time; meanwhile others hear busy.
type agent struct {
	phone  *phone
	plan   agentPlan
	report *report
	busy   atomic.Bool   // from the INVITE to the end of the dialog
	calls  chan *ringing // 1: busy lets no second one in
}

// dialLimit ends a feature call that nobody ends.
const dialLimit = time.Minute

// serveAgent runs until ctx ends or the planned number of calls was had.
func (p *phone) serveAgent(ctx context.Context, plan agentPlan) *report {
	a := &agent{phone: p, plan: plan, report: &report{Result: failed}, calls: make(chan *ringing, 1)}
	p.takeCalls(a.take)
	defer p.takeCalls(nil)
	if plan.registrar != nil {
		g, granted, err := p.register(ctx, *plan.registrar, plan.expires)
		if err != nil {
			a.report.fail(err)
			p.Progress("%v", err)
			return a.end()
		}
		keeping, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); g.keep(keeping, granted) }()
		defer func() { stop(); <-done }()
	} else {
		p.Progress("waiting for calls at sip:%s", p.local)
	}
	if plan.dial != "" && !a.dialFirst(ctx) {
		return a.end()
	}
	a.work(ctx)
	return a.end()
}

// take is told of every INVITE.
func (a *agent) take(in *ringing) {
	if !a.busy.CompareAndSwap(false, true) {
		a.phone.refuse(in.req, in.tx, 486, "Busy Here")
		return
	}
	if a.plan.reject == 0 {
		_ = in.tx.Respond(withContact(a.phone, reply(in.req, 180, "Ringing")))
	}
	a.calls <- in
}

func withContact(p *phone, res *sipmsg.Response) *sipmsg.Response {
	res.AppendHeader(p.contact())
	return res
}

// dialFirst dials the feature code and waits for the end of that call.
func (a *agent) dialFirst(ctx context.Context) bool {
	target := *a.plan.registrar
	target.User = strings.ReplaceAll(a.plan.dial, "#", "%23")
	limited, stop := context.WithTimeout(ctx, dialLimit)
	defer stop()
	a.busy.Store(true)
	r := a.phone.dial(limited, target, plan{over: sync.OnceFunc(func() { a.busy.Store(false) })})
	a.report.Calls = append(a.report.Calls, r)
	if !r.fine() {
		a.report.fail(fmt.Errorf("dial %s: %s %d %s", a.plan.dial, r.Result, r.Code, r.Error))
	}
	return r.fine()
}

// work takes call after call.
func (a *agent) work(ctx context.Context) {
	for n := 1; ; n++ {
		select {
		case in := <-a.calls:
			todo := a.plan.talk
			todo.record = numbered(todo.record, n)
			todo.over = sync.OnceFunc(func() { a.busy.Store(false) })
			code := 200
			if a.plan.reject != 0 {
				code = a.plan.reject
			}
			r := a.phone.answer(ctx, in, a.plan.answerAfter, code, todo)
			a.report.Calls = append(a.report.Calls, r)
			a.report.fail(a.fault(r))
			if n == a.plan.calls {
				return
			}
		case <-ctx.Done():
			if n <= a.plan.calls {
				a.report.fail(fmt.Errorf("%d of %d calls came", n-1, a.plan.calls))
			}
			return
		}
	}
}

// fault is what was wrong with a call. A caller who gives up is not the phone's fault, and
// a rejection is none that was asked for.
func (a *agent) fault(r *report) error {
	switch {
	case r.fine(), r.Error == "" && r.Result == cancelled, r.Error == "" && a.plan.reject != 0 && r.Code == a.plan.reject:
		return nil
	case r.Error != "":
		return fmt.Errorf("call from %s: %s", r.Peer, r.Error)
	}
	return fmt.Errorf("call from %s: %s", r.Peer, r.Result)
}

// end completes the report: answered means that all went well.
func (a *agent) end() *report {
	a.report.EndedAt = time.Now()
	if a.report.Error == "" {
		a.report.Result = answered
	}
	return a.report
}

// numbered is the file for the n-th call: a.wav, a-2.wav, a-3.wav.
func numbered(name string, n int) string {
	if name == "" || n == 1 {
		return name
	}
	ext := filepath.Ext(name)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, ext), n, ext)
}
