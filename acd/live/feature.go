package live

import (
	"context"
	"errors"
	"runtime/debug"
	"strings"
	"time"

	"hotline/acd"
)

// An agent dials a feature code to say what the floor should know. Such a call
// is not a caller's visit: it stays out of the call log.
//
//	*11  sign in (Ready)
//	*12  pause; *12 with one more digit gives the reason, see PauseReasons
//	*13  sign out
//	*14  end the wrap-up early
const (
	signIn    = "*11"
	pause     = "*12"
	signOut   = "*13"
	endWrapUp = "*14"
)

// PauseReasons are the reasons of *12 and of *121 to *125.
var PauseReasons = map[string]string{
	"":  "break",
	"1": "meal",
	"2": "meeting",
	"3": "training",
	"4": "paperwork",
	"5": "personal",
}

// IsFeature says whether a dialled number is a feature code. Only an
// authenticated agent may dial one.
func IsFeature(number string) bool { return isFeature(number) }

func isFeature(number string) bool {
	switch number {
	case signIn, signOut, endWrapUp:
		return true
	}
	digit, ok := strings.CutPrefix(number, pause)
	_, known := PauseReasons[digit]
	return ok && known
}

// feature answers a feature code: it tells the floor and confirms by voice.
func (r *Referee) feature(a Arrival) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("a feature code panicked", "number", a.Number, "agent", a.Agent, "panic", p, "stack", string(debug.Stack()))
		}
		a.Leg.Hangup()
		<-a.Leg.Done()
	}()
	line, ok := r.lines[a.Agent]
	if !ok {
		r.log.Warn("feature code without an agent", "number", a.Number, "caller", a.Caller)
		return
	}
	// No offer rings a phone that is in this call.
	r.privateStarted(line.ID)
	defer func() {
		a.Leg.Hangup()
		untilFree(a.Leg)
		r.privateEnded(line.ID)
	}()

	ctx, cancel := context.WithTimeoutCause(r.cut, 20*time.Second, errors.New("feature code took too long"))
	defer cancel()
	defer context.AfterFunc(doneContext(a.Leg.Done()), cancel)()
	if err := a.Leg.Answer(ctx); err != nil {
		r.log.Warn("answer a feature code", "number", a.Number, "agent", a.Agent, "error", err)
		return
	}
	prompt := r.obey(a.Number, line.ID)
	clip, err := r.cfg.Prompts.Clip(line.Language, prompt)
	if err != nil {
		r.log.Error("prompt is missing", "prompt", prompt, "language", line.Language, "error", err)
		return
	}
	if err := a.Leg.Audio().Say(ctx, clip); err != nil && ctx.Err() == nil {
		r.log.Warn("prompt was not played", "prompt", prompt, "error", err)
	}
}

// obey tells the floor what the code means and returns the prompt that confirms it.
func (r *Referee) obey(number string, agent acd.AgentID) (prompt string) {
	switch number {
	case signIn:
		r.tellAndWait(acd.AgentSignedIn{Agent: agent})
		return "agent_signed_in"
	case signOut:
		r.tellAndWait(acd.AgentSignedOut{Agent: agent})
		return "agent_signed_out"
	case endWrapUp:
		r.mu.Lock()
		work := r.work[agent]
		r.mu.Unlock()
		if work != acd.WrapUp {
			return "agent_no_wrapup"
		}
		r.tellAndWait(acd.WrapUpEnded{Agent: agent})
		return "agent_wrapup_ended"
	}
	reason := PauseReasons[strings.TrimPrefix(number, pause)]
	r.tellAndWait(acd.AgentPaused{Agent: agent, Reason: reason})
	return "agent_paused"
}
