package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// fields are the keys that a mapping may have.
type fields map[string]func(place)

// object reads a mapping with known keys.
func (r *configReader) object(p place, known fields) {
	seen := map[string]int{}
	for _, pair := range r.pairs(p, "key: value pairs") {
		key, at := pair.key, pair.at
		path := join(p.path, key)
		read, ok := known[key]
		if !ok {
			r.wrong(place{at, path}, "unknown key%s", suggest(key, sortedKeys(known)))
			continue
		}
		if r.again(seen, at, path) {
			continue
		}
		read(place{pair.value, path})
	}
}

// entries reads a mapping with names of the user's choice as keys.
func (r *configReader) entries(p place, read func(name string, p place)) {
	seen := map[string]int{}
	for _, pair := range r.pairs(p, "name: {…} pairs") {
		path := join(p.path, pair.key)
		if !r.again(seen, pair.at, path) {
			read(pair.key, place{pair.value, path})
		}
	}
}

type pair struct {
	key   string
	at    ast.Node
	value ast.Node
}

func (r *configReader) pairs(p place, want string) []pair {
	var values []*ast.MappingValueNode
	switch n := p.Node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		r.wrong(p, "want %s, not %s", want, r.describe(p.Node))
		return nil
	}
	var pairs []pair
	for _, v := range values {
		switch v.Key.(type) {
		case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
			pairs = append(pairs, pair{v.Key.GetToken().Value, v.Key, v.Value})
		default:
			r.wrong(place{v.Key, p.path}, "a key must be a plain word or in quotes, not %s", r.describe(v.Key))
		}
	}
	return pairs
}

// again notes where a key stands, and says if it stood somewhere before.
func (r *configReader) again(seen map[string]int, at ast.Node, path string) bool {
	if first, ok := seen[path]; ok {
		r.wrong(place{at, path}, "is here a second time, after line %d: keep one", first)
		return true
	}
	seen[path] = nodeLine(at)
	r.cfg.lines[path] = seen[path]
	return false
}

// list reads a sequence.
func (r *configReader) list(p place, read func(place)) {
	s, ok := p.Node.(*ast.SequenceNode)
	if !ok {
		r.wrong(p, "want a list, [a, b] or lines that begin with a dash, not %s", r.describe(p.Node))
		return
	}
	for i, n := range s.Values {
		item := place{n, fmt.Sprintf("%s[%d]", p.path, i)}
		r.cfg.lines[item.path] = item.line()
		read(item)
	}
}

func (r *configReader) texts(p place) []string {
	var texts []string
	r.list(p, func(p place) { texts = append(texts, r.text(p)) })
	return texts
}

// text reads a string and puts the environment in.
func (r *configReader) text(p place) string {
	s, ok := r.raw(p)
	if !ok {
		quote := ""
		switch p.Node.(type) {
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
			quote = fmt.Sprintf(": put it in quotes, \"%s\"", p.GetToken().Value)
		}
		r.wrong(p, "want text, not %s%s", r.describe(p.Node), quote)
	}
	return s
}

// parse reads a string and hands it on, unless the string itself is wrong.
func (r *configReader) parse(p place, as func(string) error) {
	before := len(r.mistakes)
	s := r.text(p)
	if len(r.mistakes) > before {
		return
	}
	if err := as(s); err != nil {
		r.wrong(p, "%v", err)
	}
}

func (r *configReader) raw(p place) (string, bool) {
	switch n := p.Node.(type) {
	case *ast.StringNode:
		return r.expand(p, n.Value), true
	case *ast.LiteralNode:
		return r.expand(p, n.Value.Value), true
	}
	return "", false
}

// whole reads a whole number that is not negative; a variable may hold it.
func (r *configReader) whole(p place, otherwise int) int {
	s, ok := r.raw(p)
	if n, is := p.Node.(*ast.IntegerNode); is {
		s, ok = n.GetToken().Value, true
	} else if ok && !strings.Contains(p.GetToken().Value, "${") {
		ok = false // in quotes
	}
	n, err := strconv.Atoi(s)
	if !ok || err != nil || n < 0 {
		r.wrong(p, "want a whole number from 0 up, such as 5, not %s", r.describe(p.Node))
		return otherwise
	}
	return n
}

func (r *configReader) truth(p place) bool {
	if b, ok := p.Node.(*ast.BoolNode); ok {
		return b.Value
	}
	if s, ok := r.raw(p); ok && strings.Contains(p.GetToken().Value, "${") {
		if b, err := strconv.ParseBool(s); err == nil {
			return b
		}
	}
	r.wrong(p, "want true or false, not %s", r.describe(p.Node))
	return false
}

func (r *configReader) duration(p place, example string, otherwise time.Duration) time.Duration {
	s, ok := r.raw(p)
	d, err := time.ParseDuration(s)
	if !ok || err != nil || d < 0 {
		r.wrong(p, "want a time with its unit, such as %s, not %s", example, r.describe(p.Node))
		return otherwise
	}
	return d
}

// levels reads skills with their levels.
func (r *configReader) levels(p place) map[string]int {
	levels := map[string]int{}
	r.entries(p, func(skill string, p place) {
		before := len(r.mistakes)
		n := r.whole(p, 1)
		if len(r.mistakes) == before && (n < 1 || n > 10) {
			r.wrong(p, "want a level from 1 to 10, not %d", n)
			n = 1
		}
		r.checkName(p, skill)
		levels[skill] = n
	})
	return levels
}

// expand puts the environment in: ${NAME}, and $$ for a dollar sign.
func (r *configReader) expand(p place, s string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			out.WriteByte('$')
			s = rest[1:]
		case strings.HasPrefix(rest, "{"):
			name, after, closed := strings.Cut(rest[1:], "}")
			if !closed || !isVariable(name) {
				r.wrong(p, "want ${NAME} with letters, digits and _ only; a plain dollar sign is written $$")
				return out.String()
			}
			value, set := r.env(name)
			if !set {
				r.wrong(p, "the environment has no variable %s: set it, or write $$ for a plain dollar sign", name)
			}
			out.WriteString(value)
			s = after
		default:
			out.WriteByte('$')
			s = rest
		}
	}
}

func isVariable(name string) bool {
	for i, c := range name {
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// describe names what stands in the file, for messages. A value that came from
// the environment is not shown: it may be a secret.
func (r *configReader) describe(n ast.Node) string {
	switch n := n.(type) {
	case *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "key: value pairs"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode:
		return strconv.Quote(n.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + n.GetToken().Value
	case *ast.BoolNode:
		return n.GetToken().Value
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias: write the value out, or put it in quotes if & or * belong to it"
	case *ast.TagNode:
		return "a tag: write the value alone, or put it in quotes if ! belongs to it"
	case *ast.MergeKeyNode:
		return "<<: write the values out"
	}
	return "this kind of YAML"
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// suggest names the key that was meant, or all.
func suggest(key string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := edits(key, k); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf(": did you mean %s?", best)
	}
	return ": want one of " + strings.Join(known, ", ")
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := slices.Clone(row)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
