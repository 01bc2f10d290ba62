package sip

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

const (
	// maxContacts bounds the bindings of one account. A person has a desk phone, a softphone and a browser.
	maxContacts = 10
	// maxContactValues bounds the Contact values of one REGISTER, removals included.
	maxContactValues = 2 * maxContacts
	// maxContactLen bounds one Contact URI, in bytes.
	maxContactLen = 512
	// maxCallIDLen bounds the Call-ID that a binding keeps, in bytes.
	maxCallIDLen = 256

	// RFC 3261 §20.10: an expires value that can't be read counts as an hour.
	unreadableExpires = time.Hour
)

// binding is one phone of an account: where it wants to be called and where it really is.
type binding struct {
	URI       sipmsg.Uri     // Request-URI for calls to it, without URI headers
	Source    netip.AddrPort // where its last REGISTER came from: requests go there, so that they pass its NAT
	Transport string         // of that REGISTER, lower case: "udp", "tcp"
	Expires   time.Time
	Q         int // preference in thousandths, 0 to 1000; 1000 when the phone gave none
}

// registered is a binding with what the registrar needs for refreshes (RFC 3261 §10.3, step 7).
type registered struct {
	binding
	contact   sipmsg.Uri // as registered, with URI headers: what refreshes are compared with
	text      string     // contact as the answer lists it, without expires
	callID    string
	cseq      uint32
	proxied   bool      // came through a proxy, which many phones share as a source
	refreshed time.Time // when its last REGISTER came
	touched   bool      // during one register call: was set by that same request
}

// aor is one account's address of record.
type aor struct {
	bindings []*registered
	// lost: a dial found nobody. The bindings stay, the account is not reachable until one of them registers again.
	lost bool
}

// registrarOptions are the registrar's surroundings and limits. Zero durations stand for the defaults.
type registrarOptions struct {
	accounts func(user string) (Account, bool) // safe for concurrent use
	// onReachable hears each change, in order per user, one call at a time, without the registrar's lock. It must be quick:
	// a REGISTER's answer may wait for it. nil: nobody listens.
	onReachable func(user string, reachable bool)
	now         func() time.Time // nil: time.Now

	minExpires     time.Duration // below: 423 (default 30 s)
	maxExpires     time.Duration // longer wishes get this (default 10 min: a phone that vanished is not offered calls for an hour)
	defaultExpires time.Duration // for a phone that names none (default maxExpires)
	log            *slog.Logger  // nil: discard
}

// registrar keeps which phones each account can be called at: RFC 3261 §10.3 for accounts that have authenticated already. The
// host in To and Request-URI is not compared: this service has one realm and phones know it by many names.
//
// One mutex guards all of it; it is held for the length of a map access or of one request's bindings. The registrar's only
// goroutine is the caller of run, which lets bindings lapse.
type registrar struct {
	registrarOptions

	mu      sync.Mutex
	aors    map[string]*aor
	sources map[netip.Addr]int // how many bindings came from an address
	next    time.Time          // earliest Expires, or earlier; zero: no bindings
	news    []reachability     // changes not yet told
	telling bool               // somebody is telling them
	wake    chan struct{}      // size 1: next moved closer. One pending wake-up is as good as many
}

type reachability struct {
	user      string
	reachable bool
}

func newRegistrar(opts registrarOptions) *registrar {
	if opts.now == nil {
		opts.now = time.Now
	}
	if opts.log == nil {
		opts.log = slog.New(slog.DiscardHandler)
	}
	if opts.minExpires <= 0 {
		opts.minExpires = 30 * time.Second
	}
	if opts.maxExpires <= 0 {
		opts.maxExpires = 10 * time.Minute
	}
	opts.maxExpires = max(opts.maxExpires, opts.minExpires)
	if opts.defaultExpires <= 0 {
		opts.defaultExpires = opts.maxExpires
	}
	return &registrar{
		registrarOptions: opts,
		aors:             make(map[string]*aor),
		sources:          make(map[netip.Addr]int),
		wake:             make(chan struct{}, 1),
	}
}

// register carries out a REGISTER whose sender has proved to be user, and gives its answer. All of its changes are made, or
// none:
//
//	200  the bindings that there are now, each with its remaining time
//	400  a mandatory header is missing, or a Contact makes no sense
//	403  another user's address of record, an account with a fixed contact, or too many contacts
//	404  no such account any more
//	423  a shorter time than minExpires was asked for
//	500  out of order: an earlier or repeated CSeq of the same Call-ID
func (r *registrar) register(req *sipmsg.Request, user string, source netip.AddrPort, transport string) *sipmsg.Response {
	source = netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
	wish, refusal := r.read(req, user)
	if refusal != nil {
		r.log.Info("registration refused", "user", user, "source", source, "code", refusal.code, "why", refusal.reason)
		res := registerResponse(req, refusal.code, refusal.reason)
		if refusal.code == 423 {
			res.AppendHeader(sipmsg.NewHeader("Min-Expires", strconv.Itoa(int(r.minExpires/time.Second))))
		}
		return res
	}
	wish.source, wish.transport = source, strings.ToLower(transport)

	now := r.now()
	r.mu.Lock()
	r.lapse(user, now)
	refusal = r.apply(user, wish, now)
	var list []string
	if refusal == nil {
		list = r.list(user, now)
	}
	r.mu.Unlock()
	r.tell()

	if refusal != nil {
		r.log.Info("registration refused", "user", user, "source", source, "code", refusal.code, "why", refusal.reason)
		return registerResponse(req, refusal.code, refusal.reason)
	}
	res := registerResponse(req, 200, "OK")
	for _, contact := range list {
		res.AppendHeader(sipmsg.NewHeader("Contact", contact))
	}
	res.AppendHeader(sipmsg.NewHeader("Date", now.UTC().Format(http.TimeFormat))) // the form of RFC 3261 §20.17
	return res
}

// contacts gives the account's phones that have not lapsed, the preferred first. They are listed also while the account is not
// reachable because a dial found nobody: whoever dials by hand may try again.
func (r *registrar) contacts(user string) []binding {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.aors[user]
	if a == nil {
		return nil
	}
	var list []binding
	for _, b := range a.bindings {
		if b.Expires.After(now) {
			list = append(list, b.binding)
			list[len(list)-1].URI = *b.URI.Clone()
		}
	}
	slices.SortStableFunc(list, func(a, b binding) int { return b.Q - a.Q })
	return list
}

// known tells whether a registered phone sits at this address.
func (r *registrar) known(addr netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sources[addr.Unmap()] > 0
}

// reachable tells whether the account has a phone registered and the last dial found somebody there.
func (r *registrar) reachable(user string) bool {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.aors[user]
	return a != nil && !a.lost && slices.ContainsFunc(a.bindings, func(b *registered) bool { return b.Expires.After(now) })
}

// unreachable notes that a dial found nobody at any of the account's contacts. It is not reachable from now on, until one of
// its phones registers again; its bindings stay.
func (r *registrar) unreachable(user string) { r.unreachableSince(user, r.now()) }

// unreachableSince is unreachable for a dial that began at that time: it changes nothing if a phone has registered since then, for
// that phone may have moved while its old address was being dialled.
func (r *registrar) unreachableSince(user string, began time.Time) {
	r.mu.Lock()
	a := r.aors[user]
	if a != nil && !a.lost && !slices.ContainsFunc(a.bindings, func(b *registered) bool { return b.refreshed.After(began) }) {
		a.lost = true
		r.news = append(r.news, reachability{user, false})
	}
	r.mu.Unlock()
	r.tell()
}

// run lets bindings lapse when their time has come, until ctx is done. It sleeps until the next deadline; nothing is polled.
func (r *registrar) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := r.now()
		r.mu.Lock()
		if !r.next.IsZero() && !r.next.After(now) {
			r.lapseAll(now)
		}
		next := r.next
		r.mu.Unlock()
		r.tell()

		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(next.Sub(now))
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// lapseAll removes every binding whose time is over and finds the next deadline.
func (r *registrar) lapseAll(now time.Time) {
	r.next = time.Time{}
	for user, a := range r.aors {
		r.lapse(user, now)
		for _, b := range a.bindings {
			r.due(b.Expires)
		}
	}
}

// lapse removes the user's bindings whose time is over.
func (r *registrar) lapse(user string, now time.Time) {
	a := r.aors[user]
	if a == nil {
		return
	}
	left := slices.Clone(a.bindings)
	left = slices.DeleteFunc(left, func(b *registered) bool { return !b.Expires.After(now) })
	if n := len(a.bindings) - len(left); n > 0 {
		r.log.Info("registration lapsed", "user", user, "contacts", n, "left", len(left))
		r.replace(user, a, left)
	}
}

// due makes sure that run wakes by t.
func (r *registrar) due(t time.Time) {
	if !r.next.IsZero() && !t.Before(r.next) {
		return
	}
	r.next = t
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// apply makes the changes that a REGISTER wishes. On a refusal nothing has changed.
func (r *registrar) apply(user string, w *registerWish, now time.Time) *registerRefusal {
	if !w.star && len(w.contacts) == 0 {
		return nil // a query
	}
	a := r.aors[user]
	if a == nil {
		a = &aor{}
	}
	outOfOrder := &registerRefusal{500, "Request Out Of Order"}

	if w.star {
		for _, b := range a.bindings {
			if b.callID == w.callID && w.cseq <= b.cseq {
				return outOfOrder
			}
		}
		r.replace(user, a, nil)
		return nil
	}

	bindings := slices.Clone(a.bindings) // what is in it is replaced, never written to
	fresh := false
	for _, c := range w.contacts {
		at := slices.IndexFunc(bindings, func(b *registered) bool { return sameURI(&b.contact, &c.uri) })
		if at >= 0 {
			// A contact named twice in one request is no disorder: the last word counts.
			if b := bindings[at]; !b.touched && b.callID == w.callID && w.cseq <= b.cseq {
				return outOfOrder
			}
		}
		if c.expires == 0 {
			if at >= 0 {
				bindings = slices.Delete(bindings, at, at+1)
			}
			continue
		}
		fresh = true
		n := &registered{
			binding: binding{URI: *c.uri.Clone(), Source: w.source, Transport: w.transport, Expires: now.Add(c.expires), Q: c.q},
			contact: c.uri, text: c.text, callID: w.callID, cseq: w.cseq, proxied: w.proxied, refreshed: now, touched: true,
		}
		n.URI.Headers = nil
		if at >= 0 {
			bindings[at] = n
			continue
		}
		// A phone that was restarted comes back with another Call-ID and often another contact. Its socket can't belong to two
		// phones, so what it registered before is gone: else the dead contact would ring beside the new one until it lapses.
		bindings = slices.DeleteFunc(bindings, func(b *registered) bool {
			return b.Source == n.Source && b.Transport == n.Transport && b.callID != n.callID && !b.proxied && !n.proxied
		})
		bindings = append(bindings, n)
	}
	if len(bindings) > maxContacts {
		return &registerRefusal{403, "Too Many Contacts"}
	}
	for _, b := range bindings {
		b.touched = false
	}
	level := slog.LevelDebug // a refresh
	if len(bindings) != len(a.bindings) {
		level = slog.LevelInfo
	}
	r.log.Log(context.Background(), level, "registered", "user", user, "source", w.source, "transport", w.transport, "contacts", len(bindings))
	r.replace(user, a, bindings)
	if fresh && a.lost {
		a.lost = false
		r.news = append(r.news, reachability{user, true})
	}
	return nil
}

// replace puts an account's new bindings in the place of the old, with all that depends on them.
func (r *registrar) replace(user string, a *aor, bindings []*registered) {
	before := len(a.bindings) > 0 && !a.lost
	for _, b := range a.bindings {
		if r.sources[b.Source.Addr()]--; r.sources[b.Source.Addr()] <= 0 {
			delete(r.sources, b.Source.Addr())
		}
	}
	for _, b := range bindings {
		r.sources[b.Source.Addr()]++
		r.due(b.Expires)
	}
	a.bindings = bindings
	if len(bindings) == 0 {
		a.lost = false
		delete(r.aors, user)
	} else {
		r.aors[user] = a
	}
	if after := len(bindings) > 0 && !a.lost; after != before {
		r.news = append(r.news, reachability{user, after})
	}
}

// tell passes on what changed, oldest first. One caller at a time does it for all, so that the order holds; a caller who finds
// another at it leaves it to that one.
func (r *registrar) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.telling {
		return
	}
	r.telling = true
	defer func() { r.telling = false }()
	for len(r.news) > 0 {
		n := r.news[0]
		r.news = r.news[1:]
		if r.onReachable == nil {
			continue
		}
		func() {
			r.mu.Unlock()
			defer r.mu.Lock()
			r.onReachable(n.user, n.reachable)
		}()
	}
	r.news = nil
}

// list gives the Contact values of a 200, each with the seconds it has left.
func (r *registrar) list(user string, now time.Time) []string {
	a := r.aors[user]
	if a == nil {
		return nil
	}
	values := make([]string, len(a.bindings))
	for i, b := range a.bindings {
		// Rounded up: what was granted reads as granted.
		left := (b.Expires.Sub(now) + time.Second - 1) / time.Second
		values[i] = fmt.Sprintf("%s;expires=%d", b.text, left)
	}
	return values
}
