package sip

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"hotline/sip/media"
)

// Config is what an Endpoint needs. The functions are called from many goroutines and must be quick unless said otherwise.
type Config struct {
	// Listen holds the addresses to bind: "udp://127.0.0.1:5060", "tcp://127.0.0.1:5060". Port 0 takes a free port; Addrs tells which.
	Listen []string
	// Trunks are the networks that calls come from without digest.
	Trunks []Trunk
	// Realm of the digest challenges; empty means "hotline".
	Realm string
	// Accounts finds the account of a user. It must be safe for concurrent use.
	Accounts func(user string) (Account, bool)
	// Media opens the audio stream of each leg.
	Media *media.Engine
	// Screen says, after authentication, whether this INVITE may enter. It is called on the message's goroutine and must be quick.
	Screen func(Invite) Verdict
	// OnCall is called for each INVITE that passed Screen, on a goroutine of its own. A panic in it ends that call only: 500 if it was not
	// answered yet, BYE otherwise.
	OnCall func(*Leg)
	// OnReachable tells that an account's phone registered or lapsed, or that a static contact went down or came up. In order per user.
	OnReachable func(user string, reachable bool)
	// OnDialog tells that a dialog became confirmed and what ByeAfterCrash needs to end it; call is what Leg.SetCall was given. It is called
	// again when the peer's address within the dialog changes, and with a nil state when the dialog is over. Called in order per dialog, on
	// the dialog's goroutine: it must not block.
	OnDialog func(id string, call string, state json.RawMessage)
	// Log gets what an operator should see; nil discards it.
	Log *slog.Logger

	timers timers // tests shorten these; zero values mean the RFC's
	limits limits
}

// timers are the times of RFC 3261 §17 that the dialogs use themselves, and our own.
type timers struct {
	t1         time.Duration // round trip estimate, 500 ms
	t2         time.Duration // longest interval between two re-sends, 4 s
	noResponse time.Duration // an INVITE without any response by then counts as unreachable; 16*T1
	probe      time.Duration // between OPTIONS to a static contact that failed; 30 s
	ringing    time.Duration // between repeated 180s, so that proxies on the way don't give up (RFC 3261 §13.3.1.1); 60 s
	unanswered time.Duration // an incoming INVITE that nobody answers gets 480; 10 min

	tcpStranger time.Duration // a TCP connection of nobody we know; 1 min
	tcpMessage  time.Duration // from the first to the last byte of a message over TCP; 10 s
	tcpIdle     time.Duration // silence on a TCP connection, longer than the longest registration; 70 min
}

func (t timers) withDefaults() timers {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&t.t1, 500*time.Millisecond)
	def(&t.t2, 8*t.t1)
	def(&t.noResponse, 16*t.t1)
	def(&t.probe, 30*time.Second)
	def(&t.ringing, time.Minute)
	def(&t.unanswered, 10*time.Minute)
	def(&t.tcpStranger, time.Minute)
	def(&t.tcpMessage, 10*time.Second)
	def(&t.tcpIdle, 70*time.Minute)
	return t
}

// limits bound what strangers can make us hold.
type limits struct {
	invites     int // incoming INVITEs without a final answer at the same time; beyond: 503
	connections int // accepted TCP connections
	perAddress  int // accepted TCP connections of one address that is not a trunk's
	sources     int // source addresses of UDP that sipgo may remember before its reader starts afresh, see packets
}

func (l limits) withDefaults() limits {
	def := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&l.invites, 1000)
	def(&l.connections, 4000)
	def(&l.perAddress, 200)
	def(&l.sources, 8192)
	return l
}

// Trunk is a carrier that is known by where its requests come from.
type Trunk struct {
	Name string
	From []netip.Prefix
}

// Account is a phone that may register or is reached at a fixed address.
type Account struct {
	User string
	// Password in clear, or the HA1 values that hotline passwd prints: "ha1:<md5 hex>:<sha256 hex>".
	Password string
	// Contact is the SIP URI of a phone that does not register, "" for one that does.
	Contact string
}

// Invite is what is known of an incoming call before it is let in.
type Invite struct {
	Number  string // user part of the Request-URI: what was dialled
	Caller  string // user part of From
	Name    string // display name of From
	Trunk   string // name of the trunk that it came from, "" if none
	Account string // user that authenticated with digest, "" if none
	Source  netip.AddrPort
}

// Verdict is Screen's answer.
type Verdict int

const (
	Accept      Verdict = iota
	Challenge           // 401; an INVITE that carried right credentials already gets 403
	NotFound            // 404
	Forbidden           // 403
	Unavailable         // 503 with Retry-After
)

// Reason is why an incoming INVITE is turned down.
type Reason int

const (
	ReasonBusy          Reason = 486
	ReasonNotFound      Reason = 404
	ReasonUnavailable   Reason = 503
	ReasonDeclined      Reason = 603
	ReasonNotAcceptable Reason = 488
	ReasonFailed        Reason = 500
)

// Dial says whom to ring.
type Dial struct {
	User    string        // account: all its contacts ring together as one, or its static contact
	Call    string        // the visit that the new leg belongs to, see Leg.SetCall
	Beside  *media.Stream // the stream that this leg will be joined with; may be nil
	Display string        // display name of our From header
	From    string        // user part of our From header; "" means "hotline"
}

// DialResult is the kind of a failure to reach an account, as the queue's rules need it.
type DialResult int

const (
	DialBusy        DialResult = iota + 1 // 486, 600
	DialRejected                          // 403, 603
	DialUnreachable                       // no contact, 404, 408, 410, 502, 503, 504, 604, transport error, no response
	DialNoAnswer                          // 480, or 487 that we did not cause
	DialFailed                            // 3xx, 401, 407, 488, other 4xx and 5xx, and what failed on our side
)

func (r DialResult) String() string {
	switch r {
	case DialBusy:
		return "busy"
	case DialRejected:
		return "rejected"
	case DialUnreachable:
		return "unreachable"
	case DialNoAnswer:
		return "no answer"
	case DialFailed:
		return "failed"
	}
	return "unknown"
}

// DialError is what Dial returns when no contact answered; find it with errors.As.
type DialError struct {
	Result DialResult
	Code   int    // SIP status of the contact that decided, 0 if none answered
	Text   string // reason phrase or our own words
}

func (e *DialError) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("dial: %s: %s", e.Result, e.Text)
	}
	return fmt.Sprintf("dial: %s: %d %s", e.Result, e.Code, e.Text)
}

// ErrElsewhere as the cause of Dial's context tells the phone that another one took the call, so that it shows no missed call (RFC 3326).
var ErrElsewhere = errors.New("call completed elsewhere")

// ErrOver is returned for an act on a leg that is over.
var ErrOver = errors.New("the leg is over")
