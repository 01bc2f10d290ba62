package main

import (
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"hotline/acd"
	"hotline/sip"
	"hotline/sip/media"
)

// sipRealm is the realm of digest authentication. HA1 values hold it, so it
// never changes.
const sipRealm = "hotline"

// headStart is what one step of a call's priority is worth.
const headStart = time.Minute

// Config is the whole configuration, read strictly and validated once. What it
// holds can be used without further checks.
type Config struct {
	Listen   Listen
	Media    Media
	Data     string // folder; relative to the working directory
	Database string // DSN; "" for the private Postgres
	Trunks   []Trunk
	Queues   map[string]Queue
	Agents   []Agent
	Numbers  map[string]Number // by what is dialled

	order    []string       // of the queues, as the file has them
	demo     bool           // the demonstration centre, whose passwords are no secret
	lines    map[string]int // of each path, for messages
	warnings []Mistake
}

// Listen is where Hotline is reached.
type Listen struct {
	SIP  []string // "udp://127.0.0.1:5060"
	HTTP string   // "127.0.0.1:8080"; "" for none
}

// Media is where the sound goes.
type Media struct {
	IP    netip.Addr
	Ports media.PortRange
}

// Trunk is a carrier, known by its networks.
type Trunk struct {
	Name string
	From []netip.Prefix
}

// Queue is where callers wait.
type Queue struct {
	Needs     map[string]int // skill to lowest level, 1 to 10
	Ring      time.Duration
	WrapUp    time.Duration
	Record    bool
	Weight    int
	MaxWait   time.Duration // 0: no limit
	MaxLength int           // callers; 0: no limit
}

// Agent is a person with an extension.
type Agent struct {
	ID        string
	Name      string
	Extension string         // user part of the address of record, and of digest
	Password  string         // clear or HA1; "" for a phone that never authenticates
	Contact   string         // SIP URI of a phone that does not register
	Ready     bool           // `start: ready`
	Skills    map[string]int // level 1 to 10
}

// Number is what a dialled number leads to: a flow or a queue.
type Number struct {
	Flow  string
	Queue string
}

//go:embed demo.yaml
var demoConfig []byte

//go:embed example.yaml
var exampleConfig []byte

// demoName stands for a file name in messages about the demonstration centre.
const demoName = "demonstration centre"

// loadConfig reads a configuration file, or the demonstration centre for "".
// The error holds every mistake, one a line (see Mistakes).
func loadConfig(file string) (*Config, error) {
	if file == "" {
		cfg, err := parseConfig(demoName, demoConfig, os.LookupEnv)
		if err == nil {
			cfg.demo = true
		}
		return cfg, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return parseConfig(file, text, os.LookupEnv)
}

// parseConfig reads and validates. env looks up environment variables.
func parseConfig(file string, text []byte, env func(string) (string, bool)) (*Config, error) {
	r := &configReader{file: file, env: env}
	cfg := r.read(text)
	if cfg != nil {
		r.validate(cfg)
		cfg.warnings = r.warnings
		slices.SortStableFunc(cfg.warnings, byLine)
	}
	if len(r.mistakes) > 0 {
		slices.SortStableFunc(r.mistakes, byLine)
		return nil, r.mistakes
	}
	return cfg, nil
}

// Mistake is one thing wrong with a configuration.
type Mistake struct {
	File string
	Line int    // from 1
	Path string // "queues.support.ring"; "" for the file as a whole
	What string // what is wrong and what would be right
}

func (m Mistake) String() string {
	if m.Path == "" {
		return fmt.Sprintf("%s:%d: %s", m.File, m.Line, m.What)
	}
	return fmt.Sprintf("%s:%d: %s: %s", m.File, m.Line, m.Path, m.What)
}

// Mistakes are all that is wrong with one configuration, in the file's order.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	var b strings.Builder
	for i, one := range m {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.String())
	}
	return b.String()
}

func byLine(a, b Mistake) int { return a.Line - b.Line }

// Warnings are what is allowed and probably not meant.
func (c *Config) Warnings() []Mistake { return c.warnings }

// QueueNames are the queues in the order of the file, which is that of the
// department menu.
func (c *Config) QueueNames() []string { return slices.Clone(c.order) }

// Floor is what the floor is told. Queues and agents are sorted by id.
func (c *Config) Floor(version string) acd.Config {
	floor := acd.Config{Version: version}
	for _, name := range slices.Sorted(slices.Values(c.order)) {
		q := c.Queues[name]
		floor.Queues = append(floor.Queues, acd.Queue{
			ID:            acd.QueueID(name),
			Needs:         needs(q.Needs),
			Weight:        q.Weight,
			RingFor:       q.Ring,
			WrapUp:        q.WrapUp,
			MaxWait:       q.MaxWait,
			MaxLength:     q.MaxLength,
			HeadStart:     headStart,
			MissedToPause: 1,
		})
	}
	for _, a := range c.Agents {
		agent := acd.Agent{ID: acd.AgentID(a.ID), Name: a.Name}
		for _, skill := range sortedKeys(a.Skills) {
			agent.Skills = append(agent.Skills, acd.Skill{Name: skill, Level: a.Skills[skill]})
		}
		floor.Agents = append(floor.Agents, agent)
	}
	slices.SortFunc(floor.Agents, func(a, b acd.Agent) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return floor
}

func needs(levels map[string]int) []acd.Need {
	var needs []acd.Need
	for _, skill := range sortedKeys(levels) {
		needs = append(needs, acd.Need{Skill: skill, AtLeast: levels[skill]})
	}
	return needs
}

// MediaConfig is what the media engine is told.
func (c *Config) MediaConfig() (media.Config, error) {
	return media.Config{IP: c.Media.IP, Ports: c.Media.Ports}, nil
}

// SIPTrunks are the trunks as the endpoint knows them.
func (c *Config) SIPTrunks() []sip.Trunk {
	var trunks []sip.Trunk
	for _, t := range c.Trunks {
		trunks = append(trunks, sip.Trunk{Name: t.Name, From: t.From})
	}
	return trunks
}

// Accounts are the agents' accounts by extension.
func (c *Config) Accounts() map[string]sip.Account {
	accounts := make(map[string]sip.Account, len(c.Agents))
	for _, a := range c.Agents {
		accounts[a.Extension] = sip.Account{User: a.Extension, Password: a.Password, Contact: a.Contact}
	}
	return accounts
}

// line is where a path stands in the file, or the nearest above it.
func (c *Config) line(path string) int {
	for path != "" {
		if l, ok := c.lines[path]; ok {
			return l
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 1
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
