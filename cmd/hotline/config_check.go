package main

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	longestName   = 64
	longestNumber = 32
	mainFlow      = "main"
	menuKeys      = 9 // the department menu has the keys 1 to 9
)

// at reports a mistake at a path, unless that path has one already: what could
// not be read is not also missing.
func (r *configReader) at(path, format string, args ...any) {
	if slices.ContainsFunc(r.mistakes, func(m Mistake) bool { return m.Path == path }) {
		return
	}
	r.mistakes = append(r.mistakes, Mistake{r.file, r.cfg.line(path), path, fmt.Sprintf(format, args...)})
}

func (r *configReader) warn(path, format string, args ...any) {
	r.warnings = append(r.warnings, Mistake{r.file, r.cfg.line(path), path, fmt.Sprintf(format, args...)})
}

// validate checks what concerns more than one value, and each value's meaning.
func (r *configReader) validate(c *Config) {
	r.checkListen(c)
	r.checkDatabase(c)
	r.checkTrunks(c)
	r.checkQueues(c)
	r.checkAgents(c)
	r.checkNumbers(c)
}

func (r *configReader) checkListen(c *Config) {
	if len(c.Listen.SIP) == 0 {
		r.at("listen.sip", `want at least one address, such as "udp://127.0.0.1:5060"`)
	}
	loopback := true
	seen := map[string]bool{}
	for i, s := range c.Listen.SIP {
		path := fmt.Sprintf("listen.sip[%d]", i)
		transport, hostPort, _ := strings.Cut(s, "://")
		at, err := netip.ParseAddrPort(hostPort)
		switch {
		case transport != "udp" && transport != "tcp":
			r.at(path, `want udp:// or tcp:// and an address, such as "udp://127.0.0.1:5060", not %q`, s)
			continue
		case err != nil:
			r.at(path, `want an IP address and a port after %s://, such as "%s://127.0.0.1:5060", not %q`, transport, transport, hostPort)
			continue
		case at.Addr().IsUnspecified():
			r.at(path, "want the address that phones call, such as 192.0.2.10, not %s: it goes into every message", at.Addr())
			continue
		case seen[s]:
			r.at(path, "%s is here twice: keep one", s)
		}
		seen[s] = true
		loopback = loopback && at.Addr().IsLoopback()
		if ports := c.Media.Ports; transport == "udp" && at.Port() >= ports.First && at.Port() <= ports.Last {
			r.at("media.ports", "the SIP port %d lies in %d-%d: choose ports without it", at.Port(), ports.First, ports.Last)
		}
	}
	if c.Listen.HTTP != "" {
		if _, err := netip.ParseAddrPort(c.Listen.HTTP); err != nil {
			r.at("listen.http", `want an IP address and a port, such as "127.0.0.1:8080", not %q`, c.Listen.HTTP)
		}
	}
	if !loopback && c.Media.IP.IsLoopback() {
		r.warn("media.ip", "phones on other machines can't send sound to %s: want this machine's address", c.Media.IP)
	}
	if !loopback {
		for i, a := range c.Agents {
			if strings.HasPrefix(a.Password, "demo-") || a.Password != "" && a.Password == a.Extension {
				r.warn(fmt.Sprintf("agents[%d].password", i), "easy to guess, and phones elsewhere may try: want a long random one")
			}
		}
	}
	if strings.TrimSpace(c.Data) == "" {
		r.at("data", "want a folder for recordings, journal and log, such as var")
	}
}

func (r *configReader) checkDatabase(c *Config) {
	if c.Database == "" {
		return
	}
	if _, err := pgconn.ParseConfig(c.Database); err != nil {
		// The error may quote the DSN, and with it the password.
		r.at("database", `want a DSN, such as postgres://hotline:${DB_PASSWORD}@db.example/hotline, or "" for the private Postgres`)
	}
}

func (r *configReader) checkTrunks(c *Config) {
	names := map[string]string{}
	for i, t := range c.Trunks {
		path := fmt.Sprintf("trunks[%d]", i)
		r.unique(names, t.Name, path+".name", "a name, such as carrier")
		if len(t.From) == 0 && !r.spoiled(path+".from") {
			r.at(path+".from", `want the networks that its calls come from, such as ["192.0.2.0/24"]`)
		}
	}
}

func (r *configReader) checkQueues(c *Config) {
	for _, name := range c.order {
		q, path := c.Queues[name], join("queues", name)
		r.checkNameAt(path, name)
		if q.Ring < time.Second {
			r.at(path+".ring", "want at least 1s, such as 20s, not %v", q.Ring)
		}
		if q.MaxWait > 0 && q.MaxWait < time.Second {
			r.at(path+".max_wait", "want at least 1s, such as 30m, or 0s for no limit, not %v", q.MaxWait)
		}
		if len(c.Agents) > 0 && !slices.ContainsFunc(c.Agents, func(a Agent) bool { return fits(q.Needs, a.Skills) }) {
			r.warn(path+".needs", "no agent has %s: its callers would wait for nobody", spell(q.Needs))
		}
	}
	if len(c.Queues) == 0 {
		r.at("queues", "want at least one queue, such as support: {needs: {support: 1}}")
	}
	if len(c.Agents) == 0 && !r.spoiled("agents") {
		r.warn("agents", "there are none: nobody will answer")
	}
}

func fits(needs, skills map[string]int) bool {
	for skill, level := range needs {
		if has, ok := skills[skill]; !ok || has < level {
			return false
		}
	}
	return true
}

func spell(needs map[string]int) string {
	var words []string
	for _, skill := range sortedKeys(needs) {
		words = append(words, fmt.Sprintf("%s>=%d", skill, needs[skill]))
	}
	return strings.Join(words, ", ")
}

func (r *configReader) checkAgents(c *Config) {
	ids, extensions := map[string]string{}, map[string]string{}
	for i, a := range c.Agents {
		path := fmt.Sprintf("agents[%d]", i)
		r.unique(ids, a.ID, path+".id", "a short name that never changes, such as anna")
		r.unique(extensions, a.Extension, path+".extension", `a number of digits in quotes, such as "1001"`)
		if a.ID != "" {
			r.checkNameAt(path+".id", a.ID)
		}
		if a.Extension != "" && !isDialled(a.Extension) {
			r.at(path+".extension", `want digits (letters, - and _ too), such as "1001", not %q`, a.Extension)
		}
		if _, taken := c.Numbers[a.Extension]; taken {
			r.at(path+".extension", "%s is one of the numbers (line %d): choose another for one of them", a.Extension, c.line(join("numbers", a.Extension)))
		}
		if strings.ContainsFunc(a.Name, unicode.IsControl) || len(a.Name) > 2*longestName {
			r.at(path+".name", "want at most %d bytes of plain text", 2*longestName)
		}
		switch {
		case a.Password == "" && a.Contact == "" && !r.spoiled(path+".password") && !r.spoiled(path+".contact"):
			r.at(path, "want a password (for a phone that registers) or a contact (for one that does not)")
		case strings.HasPrefix(a.Password, "ha1:") && !isHA1(a.Password):
			r.at(path+".password", "ha1: wants what `hotline passwd %s` prints: ha1:, 32 hex digits, a colon, 64 hex digits", a.Extension)
		case a.Password == "" && !a.Ready && !r.spoiled(path+".password"):
			r.warn(path, "has no password, so can't dial *11 to sign in: want start: ready, or a password")
		}
		if a.Contact != "" {
			if what := badContact(a.Contact); what != "" {
				r.at(path+".contact", "%s, such as sip:a1@192.0.2.20:5060, not %q", what, a.Contact)
			}
		}
	}
}

func isHA1(s string) bool {
	md5, sha256, ok := strings.Cut(strings.TrimPrefix(s, "ha1:"), ":")
	if !ok || len(md5) != 32 || len(sha256) != 64 {
		return false
	}
	_, err := hex.DecodeString(md5 + sha256)
	return err == nil
}

// badContact says what a SIP URI wants.
func badContact(s string) string {
	rest, ok := strings.CutPrefix(s, "sip:")
	if !ok {
		return "want a SIP address"
	}
	rest, parameters, _ := strings.Cut(rest, ";")
	if transport, ok := strings.CutPrefix(strings.ToLower(parameters), "transport="); parameters != "" && (!ok || transport != "udp" && transport != "tcp") {
		return "want no parameter but transport=udp or transport=tcp"
	}
	u, err := url.Parse("sip://" + rest)
	if err != nil || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Port() == "0" ||
		strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '<' || c == '>' || c == '"' }) {
		return "want user, host and port"
	}
	return ""
}

func (r *configReader) checkNumbers(c *Config) {
	numbers := sortedKeys(c.Numbers)
	for _, number := range numbers {
		n, path := c.Numbers[number], join("numbers", number)
		switch {
		case strings.HasPrefix(number, "*"):
			r.at(path, "numbers with * are feature codes of the agents, such as *11: choose another")
		case !isDialled(strings.TrimPrefix(number, "+")):
			r.at(path, `want what callers dial, digits with or without a + in front, such as "1900" or "+84281900"`)
		}
		switch {
		case r.spoiled(path + ".flow"), r.spoiled(path + ".queue"), r.spoiled(path):
		case n.Flow == "" && n.Queue == "":
			r.at(path, "want where it leads: flow or queue, such as {flow: main}")
		case n.Flow != "" && n.Queue != "":
			r.at(path, "has both flow and queue: keep one")
		case n.Flow != "" && n.Flow != mainFlow:
			r.at(path+".flow", "there is no flow %q: want main, the built-in one", n.Flow)
		case n.Flow != "" && len(c.Queues) > menuKeys:
			r.at(path+".flow", "its department menu has the keys 1 to %d, and there are %d queues: want at most %d", menuKeys, len(c.Queues), menuKeys)
		case n.Queue != "":
			if _, ok := c.Queues[n.Queue]; !ok {
				r.at(path+".queue", "there is no queue %q%s", n.Queue, suggest(n.Queue, sortedKeys(c.Queues)))
			}
		}
	}
	if len(numbers) == 0 && !r.spoiled("numbers") {
		r.at("numbers", `want at least one, such as "1900": {flow: main}`)
	}
}

// unique checks a name that must be there once; seen holds who has it.
func (r *configReader) unique(seen map[string]string, name, path, want string) {
	if name == "" {
		if !r.spoiled(path) {
			r.at(path, "is missing: want %s", want)
		}
		return
	}
	if first, ok := seen[name]; ok {
		r.at(path, "%s is taken by %s (line %d): choose another", name, first, r.cfg.line(first))
		return
	}
	seen[name] = path
}

// spoiled: has the path, or a part of it, a mistake already?
func (r *configReader) spoiled(path string) bool {
	return slices.ContainsFunc(r.mistakes, func(m Mistake) bool {
		return m.Path == path || strings.HasPrefix(m.Path, path+".") || strings.HasPrefix(m.Path, path+"[")
	})
}

func (r *configReader) checkName(p place, name string) {
	if !isName(name) {
		r.wrong(p, "want a name of letters, digits, - and _, at most %d bytes", longestName)
	}
}

func (r *configReader) checkNameAt(path, name string) {
	if !isName(name) {
		r.at(path, "want a name of letters, digits, - and _, at most %d bytes", longestName)
	}
}

// isName allows what can stand in a log line, a path and an HTTP address.
func isName(s string) bool {
	return s != "" && len(s) <= longestName && !strings.ContainsFunc(s, func(c rune) bool {
		return c != '-' && c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c)
	})
}

// isDialled allows what can be the user part of a SIP address without escapes.
func isDialled(s string) bool {
	return s != "" && len(s) <= longestNumber && !strings.ContainsFunc(s, func(c rune) bool {
		return c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
}
