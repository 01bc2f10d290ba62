package main

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"hotline/acd"
	"hotline/sip"
)

// good is a small configuration without mistakes; tests put one in.
const good = `listen: {sip: ["udp://127.0.0.1:5060"], http: "127.0.0.1:8080"}
media: {ip: "127.0.0.1", ports: "20000-29999"}
data: var
database: ""
trunks:
  - {name: carrier, from: ["127.0.0.0/8"]}
queues:
  support: {needs: {support: 1}, ring: 20s, wrap_up: 0s, record: true}
agents:
  - {id: vi1, name: "Agent 1001", extension: "1001", password: "secret", skills: {support: 5, vi: 8}}
  - {id: a1, name: A1, extension: "2001", contact: "sip:a1@127.0.0.1:6000", start: ready, skills: {support: 1}}
numbers:
  "1900": {flow: main}
  "1901": {queue: support}
`

func noEnv(string) (string, bool) { return "", false }

func parse(text string) (*Config, error) { return parseConfig("c.yaml", []byte(text), noEnv) }

func TestConfigOfTheIssue(t *testing.T) {
	c, err := parse(good)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings()) != 0 {
		t.Errorf("warnings: %v", c.Warnings())
	}
	c.lines = nil
	want := &Config{
		Listen: Listen{SIP: []string{"udp://127.0.0.1:5060"}, HTTP: "127.0.0.1:8080"},
		Data:   "var",
		Trunks: []Trunk{{"carrier", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}},
		Queues: map[string]Queue{"support": {Needs: map[string]int{"support": 1}, Ring: 20 * time.Second, Record: true}},
		Agents: []Agent{
			{ID: "vi1", Name: "Agent 1001", Extension: "1001", Password: "secret", Skills: map[string]int{"support": 5, "vi": 8}},
			{ID: "a1", Name: "A1", Extension: "2001", Contact: "sip:a1@127.0.0.1:6000", Ready: true, Skills: map[string]int{"support": 1}},
		},
		Numbers: map[string]Number{"1900": {Flow: "main"}, "1901": {Queue: "support"}},
		order:   []string{"support"},
	}
	want.Media.IP = netip.MustParseAddr("127.0.0.1")
	want.Media.Ports.First, want.Media.Ports.Last = 20000, 29999
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}

	floor := acd.Config{
		Version: "v",
		Queues: []acd.Queue{{ID: "support", Needs: []acd.Need{{Skill: "support", AtLeast: 1}}, RingFor: 20 * time.Second,
			HeadStart: time.Minute, MissedToPause: 1}},
		Agents: []acd.Agent{
			{ID: "a1", Name: "A1", Skills: []acd.Skill{{Name: "support", Level: 1}}},
			{ID: "vi1", Name: "Agent 1001", Skills: []acd.Skill{{Name: "support", Level: 5}, {Name: "vi", Level: 8}}},
		},
	}
	if got := c.Floor("v"); !reflect.DeepEqual(got, floor) {
		t.Errorf("floor: got  %+v\nwant %+v", got, floor)
	}
	if got, want := c.Accounts()["2001"], (sip.Account{User: "2001", Contact: "sip:a1@127.0.0.1:6000"}); got != want {
		t.Errorf("account: %+v", got)
	}
}

// Each mistake says where it is, what is wrong, and what would be right.
func TestMistakes(t *testing.T) {
	const agent1 = `  - {id: vi1, name: "Agent 1001", extension: "1001", password: "secret", skills: {support: 5, vi: 8}}`
	for _, c := range []struct {
		old, new string // what to change in good; "" as old: new is the whole text
		want     string // all mistakes, without the file's name
	}{
		// Shape
		{"", "", "1: the configuration is empty: `hotline init` writes one to start from"},
		{"", "# nothing\n", "1: the configuration is empty: `hotline init` writes one to start from"},
		{"", "hello", `1: want key: value pairs, not "hello"`},
		{"", "- a\n- b\n", "1: want key: value pairs, not a list"},
		{"data: var", "data: [var", "4: this is not YAML: ',' or ']' must be specified"},
		{"ring: 20s", "ring: ${RING}", `8: this is not YAML: ',' or '}' must be specified (inside { } and [ ] a variable must be in quotes, "${NAME}")`},
		{"data: var", "data: a: b", "3: this is not YAML: mapping value is not allowed in this context"},
		{"data: var", "data: var\n---\ndata: var", "5: a second document: want one only, so take out the line ---"},
		{"data: var", "data: var\ndata: var2", "4: data: is here a second time, after line 3: keep one"},
		{"data: var", "dada: var", "3: dada: unknown key: did you mean data?"},
		{"data: var", "colour: red", "3: colour: unknown key: want one of agents, data, database, listen, media, numbers, queues, trunks"},
		{"data: var", "data: 5", `3: data: want text, not the number 5: put it in quotes, "5"`},
		{"data: var", "data:", "3: data: want text, not nothing"},
		{"data: var", "data: {a: b}", "3: data: want text, not key: value pairs"},
		{"data: var", `data: ""`, "3: data: want a folder for recordings, journal and log, such as var"},
		{"data: var", "data: *x", "3: data: want text, not an anchor or alias: write the value out, or put it in quotes if & or * belong to it"},
		{"data: var", "data: !!str var", "3: data: want text, not a tag: write the value alone, or put it in quotes if ! belongs to it"},
		// Environment
		{"data: var", "data: ${NOWHERE}/x", "3: data: the environment has no variable NOWHERE: set it, or write $$ for a plain dollar sign"},
		{"data: var", "data: ${NOW", "3: data: want ${NAME} with letters, digits and _ only; a plain dollar sign is written $$"},
		{"data: var", "data: ${A-B}", "3: data: want ${NAME} with letters, digits and _ only; a plain dollar sign is written $$"},
		{`password: "secret"`, `password: "${PW}"`, "10: agents[0].password: the environment has no variable PW: set it, or write $$ for a plain dollar sign"},
		// listen, media, database
		{`["udp://127.0.0.1:5060"]`, "[]", `1: listen.sip: want at least one address, such as "udp://127.0.0.1:5060"`},
		{`["udp://127.0.0.1:5060"]`, `"udp://127.0.0.1:5060"`, `1: listen.sip: want a list, [a, b] or lines that begin with a dash, not "udp://127.0.0.1:5060"`},
		{"udp://127.0.0.1:5060", "127.0.0.1:5060", `1: listen.sip[0]: want udp:// or tcp:// and an address, such as "udp://127.0.0.1:5060", not "127.0.0.1:5060"`},
		{"udp://127.0.0.1:5060", "tls://127.0.0.1:5061", `1: listen.sip[0]: want udp:// or tcp:// and an address, such as "udp://127.0.0.1:5060", not "tls://127.0.0.1:5061"`},
		{"udp://127.0.0.1:5060", "udp://localhost:5060", `1: listen.sip[0]: want an IP address and a port after udp://, such as "udp://127.0.0.1:5060", not "localhost:5060"`},
		{"udp://127.0.0.1:5060", "tcp://127.0.0.1", `1: listen.sip[0]: want an IP address and a port after tcp://, such as "tcp://127.0.0.1:5060", not "127.0.0.1"`},
		{"udp://127.0.0.1:5060", "udp://0.0.0.0:5060", "1: listen.sip[0]: want the address that phones call, such as 192.0.2.10, not 0.0.0.0: it goes into every message"},
		{`"udp://127.0.0.1:5060"`, `"udp://127.0.0.1:5060", "udp://127.0.0.1:5060"`, "1: listen.sip[1]: udp://127.0.0.1:5060 is here twice: keep one"},
		{"127.0.0.1:8080", "8080", `1: listen.http: want an IP address and a port, such as "127.0.0.1:8080", not "8080"`},
		{`ip: "127.0.0.1"`, `ip: "here"`, `2: media.ip: want an IP address of this machine, such as 192.0.2.10, not "here"`},
		{`ip: "127.0.0.1"`, `ip: "0.0.0.0"`, "2: media.ip: want the one address that phones send sound to, such as 192.0.2.10, not 0.0.0.0"},
		{`"20000-29999"`, "20000", `2: media.ports: want text, not the number 20000: put it in quotes, "20000"`},
		{`"20000-29999"`, `"20000"`, `2: media.ports: want two ports with a dash, such as 20000-29999, not "20000"`},
		{`"20000-29999"`, `"20000-99999"`, `2: media.ports: want two ports with a dash, such as 20000-29999, not "20000-99999"`},
		{`"20000-29999"`, `"500-29999"`, "2: media.ports: want ports from 1024 to 65535, not 500"},
		{`"20000-29999"`, `"29999-20000"`, `2: media.ports: want room for at least two calls, which is 8 ports, such as 20000-29999, not "29999-20000"`},
		{`"20000-29999"`, `"5000-29999"`, "2: media.ports: the SIP port 5060 lies in 5000-29999: choose ports without it"},
		{`database: ""`, `database: "postgres://u:geheim@h:port/x"`, `4: database: want a DSN, such as postgres://hotline:${DB_PASSWORD}@db.example/hotline, or "" for the private Postgres`},
		// trunks
		{"name: carrier, ", "", "6: trunks[0].name: is missing: want a name, such as carrier"},
		{`, from: ["127.0.0.0/8"]`, "", `6: trunks[0].from: want the networks that its calls come from, such as ["192.0.2.0/24"]`},
		{"127.0.0.0/8", "127.0.0.1", "6: trunks[0].from[0]: want a network: write 127.0.0.1/32 for this one address"},
		{"127.0.0.0/8", "127.0.0.1/8", "6: trunks[0].from[0]: 127.0.0.1/8 is an address inside its network: write 127.0.0.0/8"},
		{"127.0.0.0/8", "the world", `6: trunks[0].from[0]: want a network, such as 192.0.2.0/24, not "the world"`},
		{"queues:", "  - {name: carrier, from: [\"10.0.0.0/8\"]}\nqueues:", "7: trunks[1].name: carrier is taken by trunks[0].name (line 6): choose another"},
		// queues
		{"ring: 20s", "ring: 20", "8: queues.support.ring: want a time with its unit, such as 20s, not the number 20"},
		{"ring: 20s", "ring: soon", `8: queues.support.ring: want a time with its unit, such as 20s, not "soon"`},
		{"ring: 20s", "ring: 10ms", "8: queues.support.ring: want at least 1s, such as 20s, not 10ms"},
		{"wrap_up: 0s", "wrap_up: -5s", `8: queues.support.wrap_up: want a time with its unit, such as 10s, not "-5s"`},
		{"wrap_up: 0s", "wrapup: 0s", "8: queues.support.wrapup: unknown key: did you mean wrap_up?"},
		{"wrap_up: 0s", "max_wait: 5ms", "8: queues.support.max_wait: want at least 1s, such as 30m, or 0s for no limit, not 5ms"},
		{"wrap_up: 0s", "max_length: many", `8: queues.support.max_length: want a whole number from 0 up, such as 5, not "many"`},
		{"wrap_up: 0s", "weight: -1", "8: queues.support.weight: want a whole number from 0 up, such as 5, not the number -1"},
		{"wrap_up: 0s", "weight: 1.5", "8: queues.support.weight: want a whole number from 0 up, such as 5, not the number 1.5"},
		{"record: true", "record: yes", `8: queues.support.record: want true or false, not "yes"`},
		{"needs: {support: 1}", "needs: {support: 11}", "8: queues.support.needs.support: want a level from 1 to 10, not 11"},
		{"needs: {support: 1}", "needs: {support: 0}", "8: queues.support.needs.support: want a level from 1 to 10, not 0"},
		{"needs: {support: 1}", "needs: [support]", "8: queues.support.needs: want name: {…} pairs, not a list"},
		{"  support: {needs", "  support team: {needs", "8: queues.support team: want a name of letters, digits, - and _, at most 64 bytes\n" +
			`14: numbers.1901.queue: there is no queue "support": want one of support team`},
		// agents
		{"id: vi1, ", "", "10: agents[0].id: is missing: want a short name that never changes, such as anna"},
		{"id: vi1, ", "id: a1, ", "11: agents[1].id: a1 is taken by agents[0].id (line 10): choose another"},
		{"id: vi1, ", "id: vi 1, ", "10: agents[0].id: want a name of letters, digits, - and _, at most 64 bytes"},
		{`extension: "1001", `, "", `10: agents[0].extension: is missing: want a number of digits in quotes, such as "1001"`},
		{`extension: "1001"`, "extension: 1001", `10: agents[0].extension: want text, not the number 1001: put it in quotes, "1001"`},
		{`extension: "1001"`, `extension: "10 01"`, `10: agents[0].extension: want digits (letters, - and _ too), such as "1001", not "10 01"`},
		{`extension: "1001"`, `extension: "*11"`, `10: agents[0].extension: want digits (letters, - and _ too), such as "1001", not "*11"`},
		{`extension: "1001"`, `extension: "2001"`, "11: agents[1].extension: 2001 is taken by agents[0].extension (line 10): choose another"},
		{`extension: "1001"`, `extension: "1900"`, "10: agents[0].extension: 1900 is one of the numbers (line 13): choose another for one of them"},
		{`password: "secret", `, "", "10: agents[0]: want a password (for a phone that registers) or a contact (for one that does not)"},
		{`password: "secret"`, `password: "ha1:abc"`, "10: agents[0].password: ha1: wants what `hotline passwd 1001` prints: ha1:, 32 hex digits, a colon, 64 hex digits"},
		{"sip:a1@127.0.0.1:6000", "a1@127.0.0.1:6000", `11: agents[1].contact: want a SIP address, such as sip:a1@192.0.2.20:5060, not "a1@127.0.0.1:6000"`},
		{"sip:a1@127.0.0.1:6000", "sip:a1@:6000", `11: agents[1].contact: want user, host and port, such as sip:a1@192.0.2.20:5060, not "sip:a1@:6000"`},
		{"sip:a1@127.0.0.1:6000", "sip:a1@127.0.0.1;transport=tls", `11: agents[1].contact: want no parameter but transport=udp or transport=tcp, such as sip:a1@192.0.2.20:5060, not "sip:a1@127.0.0.1;transport=tls"`},
		{"start: ready", "start: pause", `11: agents[1].start: want ready, or leave it out for an agent who signs in with *11; not "pause"`},
		{"skills: {support: 5, vi: 8}", "skills: {support: 5, vi: high}", `10: agents[0].skills.vi: want a whole number from 0 up, such as 5, not "high"`},
		// numbers
		{`"1900": {flow: main}`, `"1900": {flow: night}`, `13: numbers.1900.flow: there is no flow "night": want main, the built-in one`},
		{`"1900": {flow: main}`, `"1900": {}`, "13: numbers.1900: want where it leads: flow or queue, such as {flow: main}"},
		{`"1900": {flow: main}`, `"1900": {flow: main, queue: support}`, "13: numbers.1900: has both flow and queue: keep one"},
		{`"1900": {flow: main}`, `"1900": {queue: suport}`, `13: numbers.1900.queue: there is no queue "suport": did you mean support?`},
		{`"1900": {flow: main}`, `"*11": {flow: main}`, "13: numbers.*11: numbers with * are feature codes of the agents, such as *11: choose another"},
		{`"1900": {flow: main}`, `"19 00": {flow: main}`, `13: numbers.19 00: want what callers dial, digits with or without a + in front, such as "1900" or "+84281900"`},
		{`"1901"`, `"1900"`, "14: numbers.1900: is here a second time, after line 13: keep one"},
		{"numbers:\n  \"1900\": {flow: main}\n  \"1901\": {queue: support}\n", "", `1: numbers: want at least one, such as "1900": {flow: main}`},
		// Several at once, in the order of the file
		{agent1, `  - {id: a1, extension: "2001", password: "x", skills: {support: 0}}`, "10: agents[0].skills.support: want a level from 1 to 10, not 0\n" +
			"11: agents[1].id: a1 is taken by agents[0].id (line 10): choose another\n" +
			"11: agents[1].extension: 2001 is taken by agents[0].extension (line 10): choose another"},
	} {
		text := c.new
		if c.old != "" {
			if !strings.Contains(good, c.old) {
				t.Fatalf("no %q in the good configuration", c.old)
			}
			text = strings.Replace(good, c.old, c.new, 1)
		}
		cfg, err := parse(text)
		var wrong Mistakes
		if !errors.As(err, &wrong) {
			t.Errorf("%s → %s: %+v, %v", c.old, c.new, cfg, err)
			continue
		}
		want := "c.yaml:" + strings.ReplaceAll(c.want, "\n", "\nc.yaml:")
		if wrong.Error() != want {
			t.Errorf("%s → %s\ngot  %s\nwant %s", c.old, c.new, wrong, want)
		}
		if strings.Contains(wrong.Error(), "geheim") {
			t.Error("a password is shown")
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"needs: {support: 1}", "needs: {support: 6, vi: 1}", "c.yaml:8: queues.support.needs: no agent has support>=6, vi>=1: its callers would wait for nobody"},
		{"start: ready, ", "", "c.yaml:11: agents[1]: has no password, so can't dial *11 to sign in: want start: ready, or a password"},
		{"udp://127.0.0.1:5060", "udp://192.0.2.10:5060", "c.yaml:2: media.ip: phones on other machines can't send sound to 127.0.0.1: want this machine's address"},
	} {
		cfg, err := parse(strings.Replace(good, c.old, c.new, 1))
		if err != nil {
			t.Errorf("%s: %v", c.new, err)
		} else if got := fmt.Sprint(Mistakes(cfg.Warnings()).Error()); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.new, got, c.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	env := map[string]string{"PW": "a$b{c", "EMPTY": "", "RING": "7s", "W": "3", "REC": "false", "DB": "postgres://u:p@h/d"}
	text := strings.NewReplacer(
		`password: "secret"`, `password: "x-${PW}-$$-${EMPTY}$"`,
		"ring: 20s", `ring: "${RING}", weight: "${W}"`,
		"record: true", `record: "${REC}"`,
		`database: ""`, "database: ${DB}",
	).Replace(good)
	c, err := parseConfig("c.yaml", []byte(text), func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	q := c.Queues["support"]
	if c.Agents[0].Password != "x-a$b{c-$-$" || q.Ring != 7*time.Second || q.Weight != 3 || q.Record || c.Database != env["DB"] {
		t.Errorf("%+v", c)
	}
}

func TestDefaults(t *testing.T) {
	c, err := parse("queues: {care: {}}\nnumbers: {1900: {queue: care}}\n")
	if err != nil {
		t.Fatal(err)
	}
	q := c.Queues["care"]
	if q.Ring != 20*time.Second || !q.Record || q.WrapUp != 0 || c.Data != "var" || len(c.Listen.SIP) != 2 || c.Numbers["1900"].Queue != "care" {
		t.Errorf("%+v", c)
	}
}

func TestQueuesKeepTheOrderOfTheFile(t *testing.T) {
	c, err := parse(strings.Replace(good, "queues:\n", "queues:\n  zebra: {}\n  apple: {}\n", 1))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.QueueNames()); got != "[zebra apple support]" {
		t.Error(got)
	}
	if f := c.Floor(""); f.Queues[0].ID != "apple" || f.Queues[2].ID != "zebra" {
		t.Errorf("the floor's queues are not sorted: %v", f.Queues)
	}
}

func TestDemonstrationCentre(t *testing.T) {
	c, err := loadConfig("")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings()) > 0 {
		t.Error(c.Warnings())
	}
	if c.Numbers["1900"].Flow != "main" || c.Numbers["1901"].Queue != "support" || len(c.Numbers) != 2 {
		t.Errorf("numbers: %v", c.Numbers)
	}
	skills := map[string]string{"1001": "en payments support vi", "1002": "support technical vi", "1003": "en payments support technical zh"}
	for _, a := range c.Agents {
		if got := strings.Join(sortedKeys(a.Skills), " "); got != skills[a.Extension] || a.Password != "demo-"+a.Extension {
			t.Errorf("%s: %s, %s", a.Extension, got, a.Password)
		}
	}
	for name, q := range c.Queues {
		if q.WrapUp != 10*time.Second || !q.Record || !reflect.DeepEqual(q.Needs, map[string]int{name: 1}) {
			t.Errorf("%s: %+v", name, q)
		}
	}
	if !c.Media.IP.IsLoopback() || !strings.Contains(c.Listen.SIP[0]+c.Listen.SIP[1], "//127.0.0.1:") {
		t.Errorf("not on loopback: %+v", c.Listen)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(good)
	f.Add(string(exampleConfig))
	f.Add("a: &x {<<: *x}\n? [b]\n: |\n  ${")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(text)
		if err == nil {
			c.Floor("")
			return
		}
		var wrong Mistakes
		if !errors.As(err, &wrong) || len(wrong) == 0 {
			t.Fatal(err)
		}
		for _, m := range wrong {
			if m.Line < 1 || m.Line > strings.Count(text, "\n")+2 {
				t.Errorf("%s: no such line", m)
			}
		}
	})
}
