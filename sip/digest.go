package sip

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

const (
	// nonceLife is how long a phone may go on using a nonce. A phone that answers a challenge does so within
	// seconds; a REGISTER refresh comes later than that and is challenged again with stale=true, without asking its user.
	nonceLife = 60 * time.Second
	// maxNoncesInUse bounds the table of nonces that have authenticated a request in the last minute (about 100 bytes
	// each). A nonce enters it with its first right response only, so that junk costs no memory.
	maxNoncesInUse = 16384
	// maxCredentials bounds how many Authorization values of one request are looked at. RFC 8760 lets a phone see two
	// challenges, and some answer both.
	maxCredentials = 4
	// maxCredentialsLen bounds one Authorization value, in bytes. Phones send about 300.
	maxCredentialsLen = 2048
)

// authResult says what a request's credentials are worth.
type authResult int

const (
	authOK        authResult = iota // the user is who the credentials say
	authMissing                     // no digest credentials for our realm: challenge (401)
	authStale                       // right password, but the nonce is old, unknown or was used up: challenge with stale=true (401)
	authBad                         // wrong password or unknown user (403); nothing tells the two apart
	authMalformed                   // not credentials that an answer to our challenge can contain (400)
)

func (r authResult) String() string {
	switch r {
	case authOK:
		return "ok"
	case authMissing:
		return "missing"
	case authStale:
		return "stale"
	case authBad:
		return "bad"
	}
	return "malformed"
}

// digestServer challenges requests and checks the answers: digest access authentication (RFC 7616) as SIP uses it (RFC
// 3261 §22, RFC 8760), with MD5 and SHA-256 and qop "auth". It keeps no state for a challenge: a nonce carries
// its own age and is signed. What it remembers is which request counts of a nonce were used. It has no goroutine; all
// methods may be called concurrently.
type digestServer struct {
	realm    string
	accounts func(string) (Account, bool)
	now      func() time.Time

	key    []byte    // signs nonces; a nonce of an earlier run is unknown to this one
	start  time.Time // nonces count from here, by the monotonic clock
	opaque string
	decoy  string // password of those who have none, never told to anyone

	mu    sync.Mutex
	uses  map[string]*nonceUse
	order []string      // keys of uses, the first used first
	floor time.Duration // nonces issued up to here and not in uses have been forgotten: they are stale
}

// nonceUse remembers which counts of one nonce were used: a window of 64 below the highest.
type nonceUse struct {
	issued  time.Duration // since digestServer.start
	highest int
	seen    uint64 // bit i: count highest-i was used
}

// newDigestServer makes a server for one realm. accounts is asked for every request with credentials and must be safe for
// concurrent use.
func newDigestServer(realm string, accounts func(string) (Account, bool), now func() time.Time) *digestServer {
	secret := make([]byte, 64)
	rand.Read(secret) // never fails
	return &digestServer{
		realm:    realm,
		accounts: accounts,
		now:      now,
		key:      secret[:32],
		start:    now(),
		opaque:   hex.EncodeToString(secret[32:48]),
		decoy:    hex.EncodeToString(secret[48:]),
		uses:     make(map[string]*nonceUse),
		floor:    -1,
	}
}

// challenges gives the WWW-Authenticate values of a 401 to a phone of which nothing is known: MD5, then SHA-256. stale tells the
// phone to try again with the same password. Whoever has the request's User-Agent asks challengesFor.
func (d *digestServer) challenges(stale bool) []string { return d.challengesFor("", stale) }

// challengesFor gives the WWW-Authenticate values of a 401 to a phone that calls itself agent.
func (d *digestServer) challengesFor(agent string, stale bool) []string {
	nonce := d.nonce()
	var values []string
	for _, algorithm := range algorithmsFor(agent) {
		c := digest.Challenge{
			Realm:     d.realm,
			Nonce:     nonce,
			Opaque:    d.opaque,
			Stale:     stale,
			Algorithm: algorithm,
			QOP:       []string{"auth"},
		}
		values = append(values, c.String())
	}
	return values
}

// algorithmsFor says what to offer and in which order. RFC 8760 §2.4 wants the strongest first, and a phone that takes the
// first one it knows. Many take the first and give up when they don't know it: sipp, JsSIP, pjsip up to 2.10,
// Asterisk and FreeSWITCH as clients. So MD5 goes first, and SHA-256 first for those known to choose. baresip before 3.12
// gives up when any challenge names an algorithm that it does not know, wherever it stands: it is offered MD5 alone. A
// lie about the agent gains nobody anything, since MD5 is accepted from everyone.
func algorithmsFor(agent string) []string {
	agent = strings.ToLower(agent)
	if version, ok := strings.CutPrefix(agent, "baresip v"); ok {
		var major, minor int
		if n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor); n == 2 && (major < 3 || major == 3 && minor < 12) {
			return []string{"MD5"}
		}
	}
	if strings.HasPrefix(agent, "linphone") {
		return []string{"SHA-256", "MD5"}
	}
	return []string{"MD5", "SHA-256"}
}

// verify judges the Authorization values of a request. method and uri are those of its request line. user is the account
// when the result is authOK; with authStale and authBad it is the name that was claimed, as it came, good for nothing but a
// log line. The body is not covered: qop "auth-int" is not offered, because phones don't know it.
//
// Values of another scheme or for another realm are none of ours (RFC 3261 §22.1). Of several for our realm the best counts.
func (d *digestServer) verify(method, uri string, headers []string, _ []byte) (user string, result authResult) {
	result = authMissing
	looked := 0
	for _, value := range headers {
		if !digest.IsDigest(strings.TrimSpace(value)) {
			continue
		}
		if looked++; looked > maxCredentials {
			break
		}
		u, r := d.verifyOne(method, uri, value)
		if r == authOK {
			return u, r
		}
		if r != authMissing && (result == authMissing || r < result) {
			user, result = u, r
		}
	}
	return user, result
}

func (d *digestServer) verifyOne(method, uri, value string) (string, authResult) {
	if len(value) > maxCredentialsLen {
		return "", authMalformed
	}
	// The parser knows no white space but the blank.
	value = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\t' || r == '\r' || r == '\n' {
			return ' '
		}
		return r
	}, value))
	cred, err := digest.ParseCredentials(value)
	if err != nil {
		return "", authMalformed
	}
	if cred.Realm != d.realm {
		return "", authMissing
	}
	var stored func(secret) string
	switch strings.ToUpper(cred.Algorithm) {
	case "", "MD5":
		cred.Algorithm, stored = "MD5", func(s secret) string { return s.md5 }
	case "SHA-256":
		cred.Algorithm, stored = "SHA-256", func(s secret) string { return s.sha256 }
	default: // the -sess variants and all else that was not offered
		return "", authMalformed
	}
	// qop was offered, so it has to come back with nc and cnonce (RFC 7616 §3.4). Without them (the old RFC 2069 form) a
	// replay could not be told from a request.
	if cred.QOP != "auth" || cred.Nc < 1 || cred.Cnonce == "" || cred.Userhash ||
		cred.Username == "" || cred.Nonce == "" || cred.Response == "" || !sameResource(cred.URI, uri) {
		return "", authMalformed
	}

	account, known := d.accounts(cred.Username)
	s := d.secretOf(cred.Username, account.Password, known)
	want, err := digest.Digest(&digest.Challenge{
		Realm: d.realm, Nonce: cred.Nonce, Algorithm: cred.Algorithm, QOP: []string{"auth"},
	}, digest.Options{
		Method: method, URI: cred.URI, Count: cred.Nc, Username: cred.Username, A1: stored(s), Cnonce: cred.Cnonce,
	})
	if err != nil {
		return "", authMalformed
	}
	if subtle.ConstantTimeCompare([]byte(strings.ToLower(cred.Response)), []byte(want.Response)) != 1 || !known {
		return cred.Username, authBad
	}

	// Only now is the nonce looked at: stale=true is for those who know the password (RFC 7616 §3.3), and nobody else can
	// use up counts. A different opaque means a challenge of an earlier run; phones that leave it out are let in.
	if cred.Opaque != "" && cred.Opaque != d.opaque || !d.use(cred.Nonce, cred.Nc) {
		return cred.Username, authStale
	}
	if account.User != "" {
		return account.User, authOK
	}
	return cred.Username, authOK
}

// nonce makes a fresh one: when it was made (8 bytes), random (8), signature (16).
func (d *digestServer) nonce() string {
	b := make([]byte, 16, 32)
	binary.BigEndian.PutUint64(b, uint64(d.now().Sub(d.start)))
	rand.Read(b[8:16])
	return base64.RawURLEncoding.EncodeToString(append(b, d.sign(b)...))
}

func (d *digestServer) sign(b []byte) []byte {
	mac := hmac.New(sha256.New, d.key)
	mac.Write(b)
	return mac.Sum(nil)[:16]
}

// use marks one count of a nonce as used. It reports false when the nonce is not ours, too old, or the count was used
// before (RFC 7616 §3.4, nc). Counts may arrive out of order within a window of 64.
func (d *digestServer) use(nonce string, count int) bool {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != 32 || !hmac.Equal(d.sign(b[:16]), b[16:]) {
		return false
	}
	// The decoder takes several spellings of the last character: the table's key has to be the bytes.
	id := string(b[:16])
	issued := time.Duration(binary.BigEndian.Uint64(b))

	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now().Sub(d.start)
	if now-issued > nonceLife || issued > now {
		return false
	}
	u, inUse := d.uses[id]
	if !inUse {
		if issued <= d.floor {
			return false
		}
		d.forget(now)
		d.uses[id] = &nonceUse{issued: issued, highest: count, seen: 1}
		d.order = append(d.order, id)
		return true
	}
	switch behind := u.highest - count; {
	case behind < 0:
		u.seen = u.seen<<uint(-behind) | 1 // a shift by 64 and more leaves nothing, as it should
		u.highest = count
		return true
	case behind >= 64 || u.seen&(1<<uint(behind)) != 0:
		return false
	default:
		u.seen |= 1 << uint(behind)
		return true
	}
}

// forget makes room for one more nonce: those that expired go, and when the table is full the first used goes
// before its time. What was issued up to that one counts as stale from then on, so that none can be replayed; a phone
// notices nothing but one more challenge.
func (d *digestServer) forget(now time.Duration) {
	n := 0
	for ; n < len(d.order); n++ {
		u := d.uses[d.order[n]]
		if now-u.issued <= nonceLife {
			if len(d.uses) < maxNoncesInUse {
				break
			}
			d.floor = max(d.floor, u.issued)
		}
		delete(d.uses, d.order[n])
	}
	if n == 0 {
		return
	}
	// Copied down, not resliced: the array stays as small as the table.
	d.order = append(d.order[:0], d.order[n:]...)
}

// secret is what an account's password comes to: H(user:realm:password) per algorithm, in lower-case hex.
type secret struct{ md5, sha256 string }

// secretOf works out an account's secret. Unknown users and accounts without a password get one that nobody knows, by the
// same work, so that an answer's time tells nothing.
func (d *digestServer) secretOf(user, password string, known bool) secret {
	if !known || password == "" {
		password = d.decoy
	}
	s := hashSecret(user, d.realm, password)
	if given, ok := parseHA1(password); ok {
		s = given
	}
	return s
}

func hashSecret(user, realm, password string) secret {
	a1 := []byte(user + ":" + realm + ":" + password)
	m, s := md5.Sum(a1), sha256.Sum256(a1)
	return secret{hex.EncodeToString(m[:]), hex.EncodeToString(s[:])}
}

// HA1 gives what a configuration may hold in place of a clear password: "ha1:" and the MD5 and the SHA-256 of
// user:realm:password in hex, with a colon between. It is good for that user in that realm only. Whoever reads it can sign
// in with it, so guard it like the password; it only keeps the password itself out of the file.
func HA1(user, realm, password string) string {
	s := hashSecret(user, realm, password)
	return "ha1:" + s.md5 + ":" + s.sha256
}

func parseHA1(password string) (secret, bool) {
	rest, ok := strings.CutPrefix(password, "ha1:")
	if !ok {
		return secret{}, false
	}
	m, s, ok := strings.Cut(strings.ToLower(rest), ":")
	if !ok || len(m) != 2*md5.Size || len(s) != 2*sha256.Size {
		return secret{}, false
	}
	if _, err := hex.DecodeString(m + s); err != nil {
		return secret{}, false
	}
	return secret{m, s}, true
}

// sameResource compares the uri of the credentials with the Request-URI. RFC 7616 §3.4.6 wants them equivalent; phones and
// the proxies before us leave out or rewrite port, parameters and even the user (sipp signs "sip:host:port"
// whatever it calls). So the users have to agree when both have one, and else the hosts; the rest is not compared. What keeps a
// signature from being used for another request is the nonce count.
func sameResource(signed, requested string) bool {
	if signed == requested {
		return signed != ""
	}
	var s, r sipmsg.Uri
	if sipmsg.ParseUri(signed, &s) != nil || sipmsg.ParseUri(requested, &r) != nil {
		return false
	}
	if s.Raw() != "" || r.Raw() != "" || s.Wildcard || r.Wildcard {
		return false
	}
	if s.User != "" && r.User != "" {
		return unescape(s.User) == unescape(r.User)
	}
	return s.Host != "" && sameHost(s.Host, r.Host)
}
