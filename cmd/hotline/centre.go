package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"hotline/acd"
	"hotline/acd/live"
	"hotline/ivr"
)

// agentLines are the agents as the referee rings and speaks to them.
func agentLines(cfg *Config) []live.AgentLine {
	lines := make([]live.AgentLine, 0, len(cfg.Agents))
	for _, a := range cfg.Agents {
		lines = append(lines, live.AgentLine{
			ID:        acd.AgentID(a.ID),
			Name:      a.Name,
			Extension: a.Extension,
			Language:  mothertongue(a.Skills),
			Static:    a.Contact != "",
			Start:     a.Ready,
		})
	}
	return lines
}

// mothertongue is the language that an agent knows best; English if none is
// among the skills.
func mothertongue(skills map[string]int) ivr.Language {
	best, level := ivr.English, 0
	for _, l := range []ivr.Language{ivr.Vietnamese, ivr.English, ivr.Chinese} {
		if skills[string(l)] > level {
			best, level = l, skills[string(l)]
		}
	}
	return best
}

// keysOfAMenu is how many departments a caller can choose between by one key.
const keysOfAMenu = 9

// departments are the queues of the built-in flow's department menu, in the
// order of the configuration.
func departments(cfg *Config) []ivr.Department {
	names := cfg.QueueNames()
	var out []ivr.Department
	for _, name := range names[:min(len(names), keysOfAMenu)] {
		out = append(out, ivr.Department{Queue: name, Name: name})
	}
	return out
}

// greet tells a newcomer in a few lines where the service is and what to try.
func greet(w io.Writer, cfg *Config, addrs []string, data string) {
	var b strings.Builder
	fmt.Fprintf(&b, "\nHotline answers on %s\n", strings.Join(addrs, " and "))
	numbers := sortedKeys(cfg.Numbers)
	for _, n := range numbers {
		what := "menus"
		if q := cfg.Numbers[n].Queue; q != "" {
			what = "straight to " + q
		}
		fmt.Fprintf(&b, "  dial       %-8s %s\n", n, what)
	}
	const shown = 8
	for i, a := range cfg.Agents {
		if i == shown {
			fmt.Fprintf(&b, "  agents     and %d more\n", len(cfg.Agents)-shown)
			break
		}
		login := "registers with its password"
		switch {
		case a.Contact != "":
			login = "rings at " + a.Contact
		case cfg.demo:
			login = "password " + a.Password
		}
		fmt.Fprintf(&b, "  agent      %-8s %s (%s)\n", a.Extension, login, strings.Join(skillList(a.Skills), ", "))
	}
	fmt.Fprintf(&b, "  recordings %s\n", filepath.Join(data, "recordings"))
	if cfg.Database == "" {
		fmt.Fprintf(&b, "  call log   psql \"$(bin/hotline dsn)\" or bin/hotline calls\n")
	} else {
		fmt.Fprintf(&b, "  call log   in your database: bin/hotline calls\n")
	}
	if cfg.demo {
		fmt.Fprint(&b, `
Try this first, in two more terminals:
  bin/softphone agent --registrar sip:127.0.0.1:5060 --user 1001 --password demo-1001 --dial '*11' --answer-after 2s --play tone:800
  bin/softphone call sip:1901@127.0.0.1:5060 --play tone:440 --record heard.wav --for 15s
then: bin/hotline calls

`)
	} else {
		fmt.Fprint(&b, "  agents     dial *11 to sign in, *12 to pause, *13 to sign out, *14 to end the wrap-up\n\n")
	}
	io.WriteString(w, b.String())
}

func skillList(skills map[string]int) []string {
	list := sortedKeys(skills)
	slices.SortStableFunc(list, func(a, b string) int { return skills[b] - skills[a] })
	for i, s := range list {
		list[i] = fmt.Sprintf("%s %d", s, skills[s])
	}
	return list
}
