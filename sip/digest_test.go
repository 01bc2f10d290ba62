package sip

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/icholy/digest"
)

// testClock is a clock that stands until it is moved.
type testClock struct {
	mu sync.Mutex
	t  time.Time
}

func newTestClock() *testClock { return &testClock{t: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)} }

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *testClock) passes(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func deskAccounts(user string) (Account, bool) {
	switch user {
	case "1001":
		return Account{User: user, Password: "demo-1001"}, true
	case "1002":
		return Account{User: user, Password: HA1("1002", "hotline", "demo-1002")}, true
	case "2001":
		return Account{User: user, Contact: "sip:a1@127.0.0.1:6000"}, true
	case `o"brien\`:
		return Account{User: user, Password: "pass:word"}, true
	}
	return Account{}, false
}

// signer answers challenges as a phone does.
type signer struct {
	user, password string
	algorithm      string // which challenge it takes; "" is MD5
	challenge      *digest.Challenge
	count          int
}

func (p *signer) hears(t testing.TB, challenges []string) {
	t.Helper()
	want := p.algorithm
	if want == "" {
		want = "MD5"
	}
	for _, value := range challenges {
		c, err := digest.ParseChallenge(value)
		if err != nil {
			t.Fatal(err)
		}
		if c.Algorithm == want {
			p.challenge, p.count = c, 0
			return
		}
	}
	t.Fatalf("no %s challenge in %q", want, challenges)
}

func (p *signer) signs(t testing.TB, method, uri string) *digest.Credentials {
	t.Helper()
	p.count++
	return p.signsCount(t, method, uri, p.count)
}

func (p *signer) signsCount(t testing.TB, method, uri string, count int) *digest.Credentials {
	t.Helper()
	c, err := digest.Digest(p.challenge, digest.Options{
		Method: method, URI: uri, Count: count, Username: p.user, Password: p.password, Cnonce: "0a4f113b",
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const regURI = "sip:127.0.0.1:5060"

func TestDigestLetsInWhoKnowsThePassword(t *testing.T) {
	for _, c := range []struct {
		name, user, password, algorithm string
		want                            authResult
	}{
		{"clear password, MD5", "1001", "demo-1001", "MD5", authOK},
		{"clear password, SHA-256", "1001", "demo-1001", "SHA-256", authOK},
		{"HA1, MD5", "1002", "demo-1002", "MD5", authOK},
		{"HA1, SHA-256", "1002", "demo-1002", "SHA-256", authOK},
		{"quotes in the name, colon in the password", `o"brien\`, "pass:word", "MD5", authOK},
		{"wrong password", "1001", "demo-1002", "MD5", authBad},
		{"wrong password, SHA-256", "1001", "demo-1002", "SHA-256", authBad},
		{"unknown user", "1009", "demo-1009", "MD5", authBad},
		{"unknown user, no password", "1009", "", "MD5", authBad},
		{"account without a password", "2001", "", "MD5", authBad},
		{"the HA1 itself as the password", "1002", HA1("1002", "hotline", "demo-1002"), "MD5", authBad},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDigestServer("hotline", deskAccounts, newTestClock().now)
			p := &signer{user: c.user, password: c.password, algorithm: c.algorithm}
			p.hears(t, d.challenges(false))
			user, got := d.verify("REGISTER", regURI, []string{p.signs(t, "REGISTER", regURI).String()}, nil)
			if got != c.want || user != c.user {
				t.Fatalf("got %q, %v; want %q, %v", user, got, c.user, c.want)
			}
			if c.want != authOK && len(d.uses) != 0 {
				t.Fatal("refused credentials used up a nonce")
			}
		})
	}
}

// The examples of RFC 2617 §3.5 and RFC 7616 §3.9.1. Their nonces are not ours, so the right response is stale, a wrong one bad.
func TestDigestVectors(t *testing.T) {
	accounts := func(user string) (Account, bool) {
		return Account{User: "Mufasa", Password: map[string]string{
			"testrealm@host.com": "Circle Of Life", "http-auth@example.org": "Circle of Life"}[user]}, true
	}
	const rfc2617 = `Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", ` +
		`uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", ` +
		`opaque="5ccc069c403ebaf9f0171e9517f40e41"`
	const rfc7616 = `Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=%s, ` +
		`nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", ` +
		`qop=auth, response="%s", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`
	for _, c := range []struct{ name, realm, header string }{
		{"RFC 2617", "testrealm@host.com", rfc2617},
		{"RFC 7616 MD5", "http-auth@example.org", fmt.Sprintf(rfc7616, "MD5", "8ca523f5e9506fed4657c9700eebdbec")},
		{"RFC 7616 SHA-256", "http-auth@example.org",
			fmt.Sprintf(rfc7616, "SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1")},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDigestServer(c.realm, func(string) (Account, bool) { return accounts(c.realm) }, newTestClock().now)
			if user, got := d.verify("GET", "/dir/index.html", []string{c.header}, nil); got != authStale || user != "Mufasa" {
				t.Errorf("right response: got %q, %v", user, got)
			}
			if _, got := d.verify("POST", "/dir/index.html", []string{c.header}, nil); got != authBad {
				t.Errorf("signed for another method: got %v", got)
			}
		})
	}
}

func TestHA1(t *testing.T) {
	// printf '%s' 'Mufasa:testrealm@host.com:Circle Of Life' | md5sum, sha256sum
	const want = "ha1:939e7578ed9e3c518a452acee763bce9:3ba6cd94661c5ef34598040c868f13b8775df29109986be50ad35ae537dd3aa4"
	got := HA1("Mufasa", "testrealm@host.com", "Circle Of Life")
	if got != want {
		t.Fatalf("got %s", got)
	}
	for _, s := range []string{"", "ha1:", "ha1:aa:bb", got[:len(got)-1], got + "0", strings.Replace(got, "9", "x", 1), strings.ToUpper(got)} {
		if _, ok := parseHA1(s); ok {
			t.Errorf("%q passes for an HA1", s)
		}
	}
	if s, ok := parseHA1("ha1:" + strings.ToUpper(got[4:])); !ok || s.md5 != got[4:36] {
		t.Error("hex digits in upper case are refused")
	}
}

func TestDigestNonceGrowsOld(t *testing.T) {
	clock := newTestClock()
	d := newDigestServer("hotline", deskAccounts, clock.now)
	p := &signer{user: "1001", password: "demo-1001"}
	p.hears(t, d.challenges(false))
	verify := func() authResult {
		_, r := d.verify("REGISTER", regURI, []string{p.signs(t, "REGISTER", regURI).String()}, nil)
		return r
	}
	clock.passes(nonceLife)
	if r := verify(); r != authOK {
		t.Fatalf("at the end of its life: %v", r)
	}
	clock.passes(time.Millisecond)
	if r := verify(); r != authStale {
		t.Fatalf("after its life: %v", r)
	}
	wrong := &signer{user: "1001", password: "guess", challenge: p.challenge}
	if _, r := d.verify("REGISTER", regURI, []string{wrong.signs(t, "REGISTER", regURI).String()}, nil); r != authBad {
		t.Fatalf("wrong password with an old nonce: %v", r)
	}
	challenges := d.challenges(true)
	for _, c := range challenges {
		if !strings.Contains(c, "stale=true") {
			t.Fatalf("no stale=true in %s", c)
		}
	}
	p.hears(t, challenges)
	if r := verify(); r != authOK {
		t.Fatalf("after the second challenge: %v", r)
	}
	if len(d.uses) != 1 || len(d.order) != 1 {
		t.Fatalf("%d nonces kept, the old one is still there", len(d.uses))
	}
}

func TestDigestRefusesReplays(t *testing.T) {
	d := newDigestServer("hotline", deskAccounts, newTestClock().now)
	p := &signer{user: "1001", password: "demo-1001"}
	p.hears(t, d.challenges(false))
	for i, step := range []struct {
		count int
		want  authResult
	}{
		{1, authOK}, {1, authStale}, {3, authOK}, {2, authOK}, {2, authStale}, {3, authStale}, // a late one, then replays
		{100, authOK}, {37, authOK}, {37, authStale}, {36, authStale}, {99, authOK}, // the window is 64 wide
		{0x7fffffff, authOK}, {0x7fffffff, authStale}, {101, authStale},
	} {
		header := p.signsCount(t, "INVITE", "sip:1900@hotline", step.count).String()
		if _, got := d.verify("INVITE", "sip:1900@hotline", []string{header}, nil); got != step.want {
			t.Fatalf("step %d, count %d: got %v, want %v", i, step.count, got, step.want)
		}
	}
}

func TestDigestNonceOfAnotherRun(t *testing.T) {
	clock := newTestClock()
	before := newDigestServer("hotline", deskAccounts, clock.now)
	p := &signer{user: "1001", password: "demo-1001"}
	p.hears(t, before.challenges(false))
	after := newDigestServer("hotline", deskAccounts, clock.now)
	// With the opaque of the earlier run, with none, and with the nonce spelled so that it decodes to the same bytes.
	c := p.signs(t, "REGISTER", regURI)
	if _, r := after.verify("REGISTER", regURI, []string{c.String()}, nil); r != authStale {
		t.Fatalf("got %v", r)
	}
	c.Opaque = ""
	if _, r := after.verify("REGISTER", regURI, []string{c.String()}, nil); r != authStale {
		t.Fatalf("got %v", r)
	}
	if _, r := before.verify("REGISTER", regURI, []string{c.String()}, nil); r != authOK {
		t.Fatalf("an opaque left out is refused: %v", r)
	}
}

// The last character of a nonce carries two bits that decode to nothing: it must not give a second life.
func TestDigestNonceRespelled(t *testing.T) {
	d := newDigestServer("hotline", deskAccounts, newTestClock().now)
	p := &signer{user: "1001", password: "demo-1001"}
	p.hears(t, d.challenges(false))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	n := p.challenge.Nonce
	last := strings.IndexByte(alphabet, n[len(n)-1])
	accepted := 0
	for _, c := range alphabet[last&^3 : last|3+1] {
		p.challenge.Nonce = n[:len(n)-1] + string(c)
		if _, r := d.verify("REGISTER", regURI, []string{p.signsCount(t, "REGISTER", regURI, 1).String()}, nil); r == authOK {
			accepted++
		}
	}
	if accepted != 1 {
		t.Fatalf("one count was accepted %d times", accepted)
	}
}

func TestDigestFormsOfCredentials(t *testing.T) {
	d := newDigestServer("hotline", deskAccounts, newTestClock().now)
	sign := func(change func(*digest.Credentials)) string {
		p := &signer{user: "1001", password: "demo-1001"}
		p.hears(t, d.challenges(false))
		c := p.signs(t, "REGISTER", regURI)
		change(c)
		return c.String()
	}
	good := func() string { return sign(func(*digest.Credentials) {}) }
	for _, c := range []struct {
		name    string
		headers []string
		want    authResult
	}{
		{"none", nil, authMissing},
		{"another scheme (RFC 4475 regaut01)", []string{`NoOneKnowsThisScheme opaque-data=here`}, authMissing},
		{"another realm", []string{sign(func(c *digest.Credentials) { c.Realm = "elsewhere" })}, authMissing},
		{"another realm and ours", []string{sign(func(c *digest.Credentials) { c.Realm = "elsewhere" }), good()}, authOK},
		{"wrong, then right", []string{sign(func(c *digest.Credentials) { c.Response = strings.Repeat("0", 32) }), good()}, authOK},
		{"right behind too many", append(make4(`Digest realm="hotline"`), good()), authMalformed},
		{"blanks and tabs around", []string{"  " + strings.ReplaceAll(good(), ", ", ",\t") + " "}, authOK},
		{"scheme in lower case", []string{"digest" + good()[6:]}, authOK},
		{"no algorithm means MD5", []string{sign(func(c *digest.Credentials) { c.Algorithm = "" })}, authOK},
		{"algorithm in lower case", []string{sign(func(c *digest.Credentials) { c.Algorithm = "md5" })}, authOK},
		{"response in upper case", []string{sign(func(c *digest.Credentials) { c.Response = strings.ToUpper(c.Response) })}, authOK},
		{"MD5-sess", []string{sign(func(c *digest.Credentials) { c.Algorithm = "MD5-sess" })}, authMalformed},
		{"SHA-512-256, not offered", []string{sign(func(c *digest.Credentials) { c.Algorithm = "SHA-512-256" })}, authMalformed},
		{"SHA-256 named over an MD5 response", []string{sign(func(c *digest.Credentials) { c.Algorithm = "SHA-256" })}, authBad},
		{"no qop (RFC 2069)", []string{sign(func(c *digest.Credentials) { c.QOP = "" })}, authMalformed},
		{"auth-int, not offered", []string{sign(func(c *digest.Credentials) { c.QOP = "auth-int" })}, authMalformed},
		{"count 0", []string{sign(func(c *digest.Credentials) { c.Nc = 0 })}, authMalformed},
		{"another count than signed", []string{sign(func(c *digest.Credentials) { c.Nc = 2 })}, authBad},
		{"negative count", []string{strings.Replace(good(), "nc=0", "nc=-", 1)}, authMalformed},
		{"no cnonce", []string{sign(func(c *digest.Credentials) { c.Cnonce = "" })}, authMalformed},
		{"no user", []string{sign(func(c *digest.Credentials) { c.Username = "" })}, authMalformed},
		{"userhash, not offered", []string{sign(func(c *digest.Credentials) { c.Userhash = true })}, authMalformed},
		{"for another host", []string{sign(func(c *digest.Credentials) { c.URI = "sip:elsewhere" })}, authMalformed},
		{"no uri", []string{sign(func(c *digest.Credentials) { c.URI = "" })}, authMalformed},
		{"junk", []string{`Digest "`}, authMalformed},
		{"nothing", []string{`Digest `}, authMissing},
		{"another opaque", []string{sign(func(c *digest.Credentials) { c.Opaque = "beef" })}, authStale},
		{"nonce of nobody", []string{sign(func(c *digest.Credentials) { c.Nonce = "beef" })}, authBad},
		{"endless", []string{sign(func(c *digest.Credentials) { c.Cnonce = strings.Repeat("a", maxCredentialsLen) })}, authMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, got := d.verify("REGISTER", regURI, c.headers, nil); got != c.want {
				t.Errorf("got %v, want %v for %q", got, c.want, c.headers)
			}
		})
	}
}

func make4(s string) []string { return []string{s, s, s, s} }

func TestDigestComparesResourcesLeniently(t *testing.T) {
	for _, c := range []struct {
		signed, requested string
		want              bool
	}{
		{"sip:1900@127.0.0.1:5060", "sip:1900@127.0.0.1:5060", true},
		{"sip:1900@127.0.0.1:5060;transport=udp", "sip:1900@127.0.0.1:5060", true}, // baresip
		{"sip:127.0.0.1", "sip:127.0.0.1:5060", true},                              // linphone
		{"sip:127.0.0.1:5060", "sip:*11@127.0.0.1:5060", true},                     // sipp
		{"sip:1900@hotline.example", "sip:1900@10.0.0.1", true},                    // rewritten by a proxy
		{"sip:%2A11@h", "sip:*11@h", true},
		{"sips:HOTLINE", "sip:hotline", true},
		{"sip:[::1]", "sip:[0:0::1]:5060", true},
		{"sip:*13@h", "sip:*11@h", false},
		{"sip:a", "sip:b", false},
		{"", "", false},
		{"*", "sip:a", false},
		{"tel:1900", "sip:1900@h", false},
		{"/index.html", "sip:h", false},
	} {
		if got := sameResource(c.signed, c.requested); got != c.want {
			t.Errorf("%s for %s: got %v", c.signed, c.requested, got)
		}
	}
}

func TestDigestOffers(t *testing.T) {
	d := newDigestServer("hotline", deskAccounts, newTestClock().now)
	for agent, want := range map[string]string{
		"":                                 "MD5 SHA-256",
		"sipp":                             "MD5 SHA-256",
		"baresip v1.0.0 (x86_64/linux)":    "MD5",
		"baresip v3.11.0 (x86_64/Linux)":   "MD5",
		"baresip v3.12.1 (x86_64/Linux)":   "MD5 SHA-256",
		"baresip v4.0.0":                   "MD5 SHA-256",
		"baresip vNext":                    "MD5 SHA-256",
		"Linphonec/5.1.65":                 "SHA-256 MD5",
		"LinphoneAndroid/5.2 (belle-sip)":  "SHA-256 MD5",
		"MicroSIP/3.21.5 baresip v1.0 too": "MD5 SHA-256",
	} {
		var got []string
		for _, value := range d.challengesFor(agent, false) {
			c, err := digest.ParseChallenge(value)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, c.Algorithm)
			if c.Realm != "hotline" || !c.SupportsQOP("auth") || len(c.QOP) != 1 || c.Opaque == "" || c.Stale {
				t.Errorf("%s", value)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%q is offered %s, want %s", agent, s, want)
		}
	}
	if a, b := d.challenges(false)[0], d.challenges(false)[0]; a == b {
		t.Error("two challenges with one nonce")
	}
}

// Whatever arrives, the table of nonces stays bounded, and forgetting early never lets a replay through.
func TestDigestMemoryIsBounded(t *testing.T) {
	clock := newTestClock()
	d := newDigestServer("hotline", deskAccounts, clock.now)
	p := &signer{user: "1001", password: "demo-1001"}
	p.hears(t, d.challenges(false))
	first := p.signs(t, "REGISTER", regURI).String()
	if _, r := d.verify("REGISTER", regURI, []string{first}, nil); r != authOK {
		t.Fatal(r)
	}
	for range maxNoncesInUse + 10 {
		clock.passes(time.Microsecond)
		if !d.use(d.nonce(), 1) {
			t.Fatal("a fresh nonce is refused")
		}
	}
	if len(d.uses) != maxNoncesInUse || len(d.order) != maxNoncesInUse {
		t.Fatalf("%d nonces, %d in order", len(d.uses), len(d.order))
	}
	if _, r := d.verify("REGISTER", regURI, []string{first}, nil); r != authStale {
		t.Fatalf("replay of a forgotten nonce: %v", r)
	}
	clock.passes(nonceLife + time.Second)
	d.use(d.nonce(), 1)
	if len(d.uses) != 1 || len(d.order) != 1 {
		t.Fatalf("%d nonces after all grew old", len(d.uses))
	}
}

func TestDigestOneOfManyAtOnce(t *testing.T) {
	d := newDigestServer("hotline", deskAccounts, time.Now)
	p := &signer{user: "1001", password: "demo-1001"}
	p.hears(t, d.challenges(false))
	header := p.signs(t, "REGISTER", regURI).String()
	var wg sync.WaitGroup
	results := make(chan authResult, 16)
	for range cap(results) {
		wg.Go(func() {
			_, r := d.verify("REGISTER", regURI, []string{header}, nil)
			results <- r
		})
	}
	wg.Wait()
	close(results)
	ok := 0
	for r := range results {
		if r == authOK {
			ok++
		}
	}
	if ok != 1 {
		t.Fatalf("one signature was accepted %d times", ok)
	}
}

// Nothing that arrives in an Authorization header lets anybody in, panics or is remembered, unless it is a right answer.
func FuzzDigestVerify(f *testing.F) {
	f.Add("REGISTER", regURI, `Digest username="1001", realm="hotline", nonce="x", uri="sip:127.0.0.1:5060", qop=auth, nc=00000001, cnonce="c", response="00", algorithm=MD5`)
	f.Add("INVITE", "sip:1900@h", `Digest username="1002",realm="hotline",cnonce="6b8b4567",nc=00000001,qop=auth,uri="sip:h",nonce="AAAAACS51Zbi9H9_pYUnhip8rxfm5syibLtl1Qy3qQM",response="0140629188ecd165d069bddd09b27906",algorithm=MD5,opaque="c"`)
	f.Add("X", "sip:[", `Digest nc=ffffffff, realm="hotline"`)
	f.Add("X", "*", `Digest realm="hotline\`)
	f.Add("X", "tel:1", "Digest \t,=\"\"")
	d := newDigestServer("hotline", deskAccounts, time.Now)
	f.Fuzz(func(t *testing.T, method, uri, header string) {
		if user, r := d.verify(method, uri, []string{header, header}, nil); r == authOK {
			t.Fatalf("%s is in by %q", user, header)
		}
		if len(d.uses) != 0 {
			t.Fatal("junk is remembered")
		}
		sameResource(header, uri)
		sameResource(uri, method)
	})
}
