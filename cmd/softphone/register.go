package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// registration keeps the phone's contact at a registrar (RFC 3261 §10).
type registration struct {
	phone     *phone
	registrar sipmsg.Uri
	callID    string
	tag       string
	cseq      uint32
	wanted    time.Duration
}

// retryRegister is the pause after a refresh that failed.
const retryRegister = 2 * time.Second

// register registers once; keep then holds the registration.
func (p *phone) register(ctx context.Context, registrar sipmsg.Uri, expires time.Duration) (*registration, time.Duration, error) {
	g := &registration{
		phone: p, registrar: registrar, wanted: expires,
		callID: sipmsg.GenerateTagN(20) + "@" + p.local.Addr().String(), tag: sipmsg.GenerateTagN(12),
	}
	granted, err := g.send(ctx, expires)
	if err != nil {
		return nil, 0, fmt.Errorf("register %s at %s: %w", p.User, registrar.HostPort(), err)
	}
	p.Progress("registered %s at %s for %v", p.User, registrar.HostPort(), granted)
	return g, granted, nil
}

// keep refreshes until ctx ends, then takes the contact off again.
func (g *registration) keep(ctx context.Context, granted time.Duration) {
	for wait := refreshAfter(granted); ; {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			bye, stop := context.WithTimeout(context.Background(), byeTimeout)
			defer stop()
			if _, err := g.send(bye, 0); err != nil {
				g.phone.Progress("unregister: %v", err)
			}
			return
		case <-timer.C:
		}
		granted, err := g.send(ctx, g.wanted)
		if err != nil {
			if ctx.Err() == nil {
				g.phone.Progress("register again: %v", err)
			}
			wait = retryRegister
			continue
		}
		wait = refreshAfter(granted)
	}
}

// refreshAfter leaves time to try again before the registration lapses: a tenth of
// it, and 5 s where that is not more than half.
func refreshAfter(granted time.Duration) time.Duration {
	return granted - max(granted/10, min(5*time.Second, granted/2))
}

// send sends one REGISTER; expires 0 takes the contact off. It returns for how long the
// registrar holds the contact.
func (g *registration) send(ctx context.Context, expires time.Duration) (time.Duration, error) {
	p := g.phone
	for again := false; ; again = true {
		res, err := p.ask(ctx, func() *sipmsg.Request {
			g.cseq++
			self := sipmsg.Uri{Scheme: "sip", User: p.User, Host: g.registrar.Host}
			req := p.request(sipmsg.REGISTER, g.registrar,
				&sipmsg.FromHeader{DisplayName: p.Name, Address: self, Params: sipmsg.HeaderParams{{K: "tag", V: g.tag}}},
				&sipmsg.ToHeader{Address: self}, g.callID, g.cseq)
			contact := p.contact()
			contact.Params = sipmsg.HeaderParams{{K: "expires", V: strconv.Itoa(int(expires.Seconds()))}}
			req.AppendHeader(contact)
			req.AppendHeader(sipmsg.NewHeader("Expires", strconv.Itoa(int(expires.Seconds()))))
			req.AppendHeader(sipmsg.NewHeader("Allow", allowed))
			return req
		})
		switch {
		case err != nil:
			return 0, err
		case res.IsSuccess():
			return p.grantedBy(res, expires), nil
		case res.StatusCode == 423 && !again: // Interval Too Brief
			if h := res.GetHeader("Min-Expires"); h != nil {
				if n, err := strconv.ParseUint(strings.TrimSpace(h.Value()), 10, 31); err == nil {
					expires = time.Duration(n) * time.Second
					g.wanted = expires
					continue
				}
			}
		}
		return 0, fmt.Errorf("%d %s", res.StatusCode, res.Reason)
	}
}

// grantedBy finds our contact among those that the registrar lists.
func (p *phone) grantedBy(res *sipmsg.Response, wanted time.Duration) time.Duration {
	seconds := func(text string) (time.Duration, bool) {
		n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31)
		return time.Duration(n) * time.Second, err == nil && n > 0
	}
	ours := p.contact().Address
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sipmsg.ContactHeader)
		if !ok || c.Address.User != ours.User || c.Address.Host != ours.Host || c.Address.Port != ours.Port {
			continue
		}
		for _, kv := range c.Params { // names of parameters come in any case
			if d, ok := seconds(kv.V); ok && strings.EqualFold(kv.K, "expires") {
				return d
			}
		}
	}
	if h := res.GetHeader("Expires"); h != nil {
		if d, ok := seconds(h.Value()); ok {
			return d
		}
	}
	return wanted
}
