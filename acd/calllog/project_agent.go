package calllog

import (
	"errors"
	"time"

	"hotline/acd"
	"hotline/acd/journal"
)

// serviceDownReason is the reason of the time for which Hotline was not there.
const serviceDownReason = "service down"

func (p *page) agent(id acd.AgentID) *agentRow {
	a := p.agents[id]
	if a == nil {
		a = &agentRow{Agent: string(id)}
		p.agents[id] = a
	}
	return a
}

func (p *page) named(f journal.AgentsNamed) {
	for _, n := range f.Agents {
		if n.Agent == "" {
			continue
		}
		a := p.agent(n.Agent)
		a.Name, a.Extension, a.touched = text(n.Name), text(n.Extension), true
	}
}

func (p *page) agentChanged(at time.Time, f acd.AgentChanged) error {
	if f.Agent == "" {
		return errors.New("an agent without an id")
	}
	a := p.agent(f.Agent)
	a.Presence, a.Reason, a.Work = text(f.Presence), text(f.Reason), text(f.Work)
	a.Reachable, a.Private, a.Down, a.CallID = f.Reachable, f.Private, false, text(f.Call)
	if f.Work != acd.Talking || !is(a.HoldCallID, f.Call) {
		a.HoldCallID = nil // a hold ends with its talk, told or not
	}
	p.settle(a, at)
	return nil
}

// stateOf is the strongest of an agent's states. An agent who signed out stays
// signed out while the service is away.
func stateOf(a *agentRow) (state string, reason *string) {
	switch {
	case is(a.Work, acd.Talking) && a.HoldCallID != nil:
		return "Hold", nil
	case is(a.Work, acd.Talking):
		return "Talking", nil
	case is(a.Work, acd.WrapUp):
		return "WrapUp", nil
	case is(a.Work, acd.Offered):
		return "Offered", nil
	case a.Private:
		return "Private", nil
	case is(a.Presence, acd.SignedOut):
		return "SignedOut", nil
	case a.Down:
		return "Unreachable", new(serviceDownReason)
	case is(a.Presence, acd.NotReady):
		return "NotReady", a.Reason
	case !a.Reachable:
		return "Unreachable", nil
	default:
		return "Idle", nil
	}
}

// settle goes on with the agent's time ledger: where the state has changed the
// open interval is closed and the next one starts at the same moment.
// Intervals without length are left out.
func (p *page) settle(a *agentRow, at time.Time) {
	a.touched = true
	state, reason := stateOf(a)
	if a.Since == nil {
		a.State, a.StateReason, a.Since = &state, reason, &at
		return
	}
	if *a.State == state && equal(a.StateReason, reason) {
		return
	}
	at = later(at, *a.Since)
	if at.After(*a.Since) {
		i := &intervalRow{Agent: a.Agent, State: *a.State, Reason: a.StateReason, FromAt: *a.Since, ToAt: at}
		p.intervals = append(p.intervals, i)
		p.closed[a.Agent] = i
	}
	a.State, a.StateReason, a.Since = &state, reason, &at
	if last := p.closed[a.Agent]; last != nil && last.ToAt.Equal(at) && last.State == state && equal(last.Reason, reason) {
		// Back in the state before at the same moment: its interval goes on.
		a.Since = &last.FromAt
		last.reopened = true
		if last.stored {
			p.reopened = append(p.reopened, last)
		}
		delete(p.closed, a.Agent)
	}
}

func equal(a, b *string) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}
