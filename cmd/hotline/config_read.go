package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// configReader turns YAML into a Config. It walks the syntax tree itself, since
// a decoder stops at the first mistake and forgets the lines.
type configReader struct {
	file     string
	env      func(string) (string, bool)
	cfg      *Config
	mistakes Mistakes
	warnings []Mistake
}

// place is a node and what it is called.
type place struct {
	ast.Node
	path string
}

func (p place) line() int { return nodeLine(p.Node) }

func nodeLine(n ast.Node) int {
	if m, ok := n.(*ast.MappingValueNode); ok {
		return m.Key.GetToken().Position.Line
	}
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return nodeLine(m.Values[0])
	}
	return n.GetToken().Position.Line
}

func (r *configReader) wrong(p place, format string, args ...any) {
	r.mistakes = append(r.mistakes, Mistake{r.file, p.line(), p.path, fmt.Sprintf(format, args...)})
}

// read gives what can be read, with defaults for the rest; nil when it isn't
// even YAML.
func (r *configReader) read(text []byte) *Config {
	r.cfg = &Config{
		Listen: Listen{SIP: []string{"udp://127.0.0.1:5060", "tcp://127.0.0.1:5060"}, HTTP: "127.0.0.1:8080"},
		Data:   "var",
		Queues: map[string]Queue{}, Numbers: map[string]Number{}, lines: map[string]int{},
	}
	r.cfg.Media.IP = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	r.cfg.Media.Ports.First, r.cfg.Media.Ports.Last = 20000, 29999

	f, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		m := Mistake{File: r.file, Line: 1, What: "this is not YAML: " + err.Error()}
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) && syntax.Token != nil {
			m.Line, m.What = syntax.Token.Position.Line, "this is not YAML: "+syntax.Message
		}
		if lines := strings.Split(string(text), "\n"); m.Line <= len(lines) && strings.Contains(lines[m.Line-1], "${") {
			m.What += ` (inside { } and [ ] a variable must be in quotes, "${NAME}")`
		}
		r.mistakes = append(r.mistakes, m)
		return nil
	}
	var body ast.Node
	for _, d := range f.Docs {
		if d.Body == nil {
			continue
		}
		if body != nil {
			r.wrong(place{d.Body, ""}, "a second document: want one only, so take out the line ---")
			return nil
		}
		body = d.Body
	}
	if body == nil {
		r.mistakes = append(r.mistakes, Mistake{File: r.file, Line: 1, What: "the configuration is empty: `hotline init` writes one to start from"})
		return nil
	}
	switch body.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		r.wrong(place{body, ""}, "want key: value pairs, not %s", r.describe(body))
		return nil
	}
	c := r.cfg
	r.object(place{body, ""}, fields{
		"listen": func(p place) {
			r.object(p, fields{
				"sip":  func(p place) { c.Listen.SIP = r.texts(p) },
				"http": func(p place) { c.Listen.HTTP = r.text(p) },
			})
		},
		"media": func(p place) {
			r.object(p, fields{
				"ip":    func(p place) { r.parse(p, r.mediaIP) },
				"ports": func(p place) { r.parse(p, r.mediaPorts) },
			})
		},
		"data":     func(p place) { c.Data = r.text(p) },
		"database": func(p place) { c.Database = r.text(p) },
		"trunks":   func(p place) { r.list(p, r.trunk) },
		"queues":   func(p place) { r.entries(p, r.queue) },
		"agents":   func(p place) { r.list(p, r.agent) },
		"numbers":  func(p place) { r.entries(p, r.number) },
	})
	return c
}

func (r *configReader) trunk(p place) {
	var t Trunk
	r.object(p, fields{
		"name": func(p place) { t.Name = r.text(p) },
		"from": func(p place) {
			r.list(p, func(p place) {
				r.parse(p, func(s string) error {
					network, err := parseNetwork(s)
					if err == nil {
						t.From = append(t.From, network)
					}
					return err
				})
			})
		},
	})
	r.cfg.Trunks = append(r.cfg.Trunks, t)
}

func (r *configReader) queue(name string, p place) {
	q := Queue{Ring: 20 * time.Second, Record: true}
	r.object(p, fields{
		"needs":      func(p place) { q.Needs = r.levels(p) },
		"ring":       func(p place) { q.Ring = r.duration(p, "20s", q.Ring) },
		"wrap_up":    func(p place) { q.WrapUp = r.duration(p, "10s", q.WrapUp) },
		"record":     func(p place) { q.Record = r.truth(p) },
		"weight":     func(p place) { q.Weight = r.whole(p, 0) },
		"max_wait":   func(p place) { q.MaxWait = r.duration(p, "30m", q.MaxWait) },
		"max_length": func(p place) { q.MaxLength = r.whole(p, 0) },
	})
	r.cfg.Queues[name] = q
	r.cfg.order = append(r.cfg.order, name)
}

func (r *configReader) agent(p place) {
	var a Agent
	r.object(p, fields{
		"id":        func(p place) { a.ID = r.text(p) },
		"name":      func(p place) { a.Name = r.text(p) },
		"extension": func(p place) { a.Extension = r.text(p) },
		"password":  func(p place) { a.Password = r.text(p) },
		"contact":   func(p place) { a.Contact = r.text(p) },
		"start": func(p place) {
			r.parse(p, func(s string) error {
				if a.Ready = s == "ready"; !a.Ready {
					return fmt.Errorf("want ready, or leave it out for an agent who signs in with *11; not %q", s)
				}
				return nil
			})
		},
		"skills": func(p place) { a.Skills = r.levels(p) },
	})
	r.cfg.Agents = append(r.cfg.Agents, a)
}

func (r *configReader) number(name string, p place) {
	var n Number
	r.object(p, fields{
		"flow":  func(p place) { n.Flow = r.text(p) },
		"queue": func(p place) { n.Queue = r.text(p) },
	})
	r.cfg.Numbers[name] = n
}

func (r *configReader) mediaIP(s string) error {
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return fmt.Errorf("want an IP address of this machine, such as 192.0.2.10, not %q", s)
	}
	if ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "" {
		return fmt.Errorf("want the one address that phones send sound to, such as 192.0.2.10, not %s", s)
	}
	r.cfg.Media.IP = ip.Unmap()
	return nil
}

func (r *configReader) mediaPorts(s string) error {
	want := fmt.Errorf("want two ports with a dash, such as 20000-29999, not %q", s)
	a, b, ok := strings.Cut(s, "-")
	first, err1 := strconv.ParseUint(strings.TrimSpace(a), 10, 16)
	last, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 16)
	switch {
	case !ok || err1 != nil || err2 != nil:
		return want
	case first < 1024:
		return fmt.Errorf("want ports from 1024 to 65535, not %d", first)
	case last < first+7:
		return fmt.Errorf("want room for at least two calls, which is 8 ports, such as 20000-29999, not %q", s)
	}
	r.cfg.Media.Ports.First, r.cfg.Media.Ports.Last = uint16(first), uint16(last)
	return nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.Prefix{}, fmt.Errorf("want a network: write %s for this one address", netip.PrefixFrom(ip, ip.BitLen()))
	}
	network, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("want a network, such as 192.0.2.0/24, not %q", s)
	}
	if network != network.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s is an address inside its network: write %s", s, network.Masked())
	}
	return network, nil
}
