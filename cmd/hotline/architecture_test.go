package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "hotline"

// room is what one folder may use.
type room struct {
	own []string // our packages
	ext []string // modules of others
	why string   // nothing else, because
}

// rooms is the plan of the house: every folder with Go code is in it.
var rooms = map[string]room{
	"cmd/hotline": {
		own: []string{"sip", "sip/sdp", "sip/media", "sip/webrtc", "acd", "acd/live", "acd/journal", "acd/calllog", "acd/console", "acd/sim", "ivr", "recordings"},
		ext: []string{"github.com/alecthomas/kong", "github.com/goccy/go-yaml", "github.com/jackc/pgx/v5"},
		why: "the service wires the packages, and a program is not a library",
	},
	"cmd/softphone": {
		own: []string{"sip/sdp", "sip/media"},
		ext: []string{"github.com/alecthomas/kong", "github.com/emiago/sipgo", "github.com/icholy/digest", "github.com/pion/rtp", "github.com/pion/rtcp"},
		why: "the softphone is a stranger on purpose: tests must not share the bugs of our dialogs",
	},
	"acd": {why: "the decision is pure: it runs live, in tests, in simulation and in replay alike"},
	"acd/live": {
		own: []string{"acd", "acd/journal", "ivr", "recordings", "sip/media"},
		why: "a phone line and the log are interfaces declared there, so that stories are tested without SIP and Postgres",
	},
	"acd/journal": {
		own: []string{"acd"},
		ext: []string{"github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go", "golang.org/x/sys"},
		why: "the journal keeps facts and decisions and knows nobody who makes or reads them",
	},
	"acd/calllog": {
		own: []string{"acd", "acd/journal"},
		ext: []string{"github.com/jackc/pgx/v5"},
		why: "the call log is a reader of the journal; calls never wait for it",
	},
	"acd/sim": {
		own: []string{"acd", "acd/journal"},
		why: "the simulation is the same referee without phones",
	},
	"acd/console": {
		own: []string{"acd", "acd/journal", "acd/calllog"},
		why: "what the console asks of the live floor is an interface declared there",
	},
	"sip": {
		own: []string{"sip/sdp", "sip/media", "sip/webrtc"},
		ext: []string{"github.com/emiago/sipgo", "github.com/icholy/digest"},
		why: "the edge speaks SIP and decides nothing about calls",
	},
	"sip/sdp": {why: "offer and answer are pure: text in, text out"},
	"sip/media": {
		ext: []string{"github.com/pion/rtp", "github.com/pion/rtcp", "github.com/pion/srtp/v3", "golang.org/x/sys"},
		why: "packets know nothing of calls",
	},
	"sip/webrtc": {
		own: []string{"sip/media"},
		ext: []string{"github.com/pion/webrtc/v4", "github.com/pion/ice/v4", "github.com/pion/rtp", "github.com/pion/rtcp"},
		why: "browser phones bring sound, and SIP is spoken by sip",
	},
	"ivr": {
		own: []string{"sip/media"},
		why: "a flow needs a voice and keys of a leg, and nothing of queues, SIP or files of calls",
	},
	"recordings": {
		own: []string{"sip/media"},
		why: "a tape needs the sound of a leg and nothing else",
	},
}

// roots never import each other; cmd/hotline wires them.
var roots = []string{"sip", "acd", "ivr", "recordings"}

const whyRoots = "the four don't know each other: declare a small interface where the service is needed, and let cmd/hotline wire it"

// objection says why from may not import to: "" if it may. module is the path of
// to's module, "" for the standard library.
func objection(from, to, toModule string) string {
	r, known := rooms[from]
	switch {
	case !known:
		return from + " has no room in the plan: add it to the design first"
	case toModule == "":
		return ""
	case toModule != module:
		if slices.Contains(r.ext, toModule) {
			return ""
		}
		return fmt.Sprintf("%s imports %s of %s, which its room doesn't list: %s", from, to, toModule, r.why)
	}
	to = strings.TrimPrefix(to, module+"/")
	if slices.Contains(r.own, to) {
		return ""
	}
	why := r.why
	switch {
	case strings.HasPrefix(to, "cmd/"):
		why = "a program is not a library"
	case slices.Contains(roots, from) && slices.Contains(roots, to):
		why = whyRoots
	}
	return fmt.Sprintf("%s imports %s: %s", from, to, why)
}

// goPackage is what go list tells.
type goPackage struct {
	ImportPath string
	Standard   bool
	Module     *struct{ Path string }
	Imports    []string
	ImportMap  map[string]string // of vendored paths
}

func listPackages(t *testing.T, env []string, args ...string) map[string]goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-deps", "-json=ImportPath,Standard,Module,Imports,ImportMap"}, append(args, module+"/...")...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	packages := map[string]goPackage{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[p.ImportPath] = p
	}
}

// objections holds the plan against what go list told.
func objections(packages map[string]goPackage) []string {
	var all []string
	for _, path := range slices.Sorted(maps.Keys(packages)) {
		p := packages[path]
		if p.Module == nil || p.Module.Path != module {
			continue
		}
		from := strings.TrimPrefix(path, module+"/")
		for _, to := range p.Imports {
			if to == "C" {
				all = append(all, from+" uses cgo: the program is built without a C compiler")
				continue
			}
			if mapped, ok := p.ImportMap[to]; ok {
				to = mapped
			}
			toModule := ""
			if q := packages[to]; q.Module != nil {
				toModule = q.Module.Path
			} else if !q.Standard && strings.Contains(to, ".") {
				toModule = to
			}
			if o := objection(from, to, toModule); o != "" {
				all = append(all, o)
			}
		}
		if _, ok := rooms[from]; !ok {
			all = append(all, objection(from, "", ""))
		}
	}
	return all
}

func TestImportsFollowThePlan(t *testing.T) {
	for _, c := range []struct {
		name string
		env  []string
		args []string
	}{
		{"as built", nil, nil},
		{"portable", nil, []string{"-tags", "portable"}},
		{"macOS", []string{"GOOS=darwin", "CGO_ENABLED=0"}, nil},
		{"Windows", []string{"GOOS=windows", "CGO_ENABLED=0"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, o := range objections(listPackages(t, c.env, c.args...)) {
				t.Error(o)
			}
		})
	}
}

func TestThePlanSaysWhy(t *testing.T) {
	for from, r := range rooms {
		if r.why == "" {
			t.Errorf("%s: a room without a reason", from)
		}
		for _, to := range r.own {
			if _, ok := rooms[to]; !ok {
				t.Errorf("%s: %s is no room", from, to)
			}
		}
	}
	// The plan itself must keep the rule of the roots.
	for _, from := range roots {
		for _, to := range roots {
			if from != to && objection(from, module+"/"+to, module) != from+" imports "+to+": "+whyRoots {
				t.Errorf("%s may import %s", from, to)
			}
		}
	}
}

// A rule that can't fail holds nothing.
func TestThePlanObjects(t *testing.T) {
	own := &struct{ Path string }{module}
	packages := map[string]goPackage{
		"fmt":                     {ImportPath: "fmt", Standard: true},
		"hotline/acd":             {ImportPath: "hotline/acd", Module: own, Imports: []string{"fmt", "hotline/sip", "example.com/x"}},
		"hotline/sip":             {ImportPath: "hotline/sip", Module: own, Imports: []string{"hotline/sip/sdp", "hotline/cmd/hotline"}},
		"hotline/sip/sdp":         {ImportPath: "hotline/sip/sdp", Module: own},
		"hotline/utils":           {ImportPath: "hotline/utils", Module: own},
		"hotline/cmd/hotline":     {ImportPath: "hotline/cmd/hotline", Module: own, Imports: []string{"hotline/acd", "hotline/sip"}},
		"example.com/x":           {ImportPath: "example.com/x", Module: &struct{ Path string }{"example.com/x"}, Imports: []string{"hotline/acd"}},
		"hotline/acd/calllog":     {ImportPath: "hotline/acd/calllog", Module: own, Imports: []string{"github.com/jackc/pgx/v5", "C"}},
		"github.com/jackc/pgx/v5": {ImportPath: "github.com/jackc/pgx/v5", Module: &struct{ Path string }{"github.com/jackc/pgx/v5"}},
	}
	want := []string{
		"acd imports sip: " + whyRoots,
		"acd imports example.com/x of example.com/x, which its room doesn't list: " + rooms["acd"].why,
		"acd/calllog uses cgo: the program is built without a C compiler",
		"sip imports cmd/hotline: a program is not a library",
		"utils has no room in the plan: add it to the design first",
	}
	if got := objections(packages); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The root holds these folders and what tools need there.
func TestNoOtherFolders(t *testing.T) {
	root := filepath.Join("..", "..")
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !slices.Contains([]string{"acd", "cmd", "ivr", "recordings", "sip", "bin", "var"}, e.Name()) && !strings.HasPrefix(e.Name(), ".") {
			t.Errorf("folder %s: the root has cmd, sip, acd, ivr and recordings only", e.Name())
		}
		if strings.HasSuffix(e.Name(), ".go") {
			t.Errorf("%s: no code in the root", e.Name())
		}
	}
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{"internal", "pkg", "utils", "util", "models", "types", "common", "helpers"}, d.Name()) {
			t.Errorf("%s: a folder is named for what it is about", path)
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || path == filepath.Join(root, "var") || path == filepath.Join(root, "bin")) {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// foreign finds in the exported declarations of a file what comes from packages
// whose import path begins with one of the prefixes.
func foreign(file *ast.File, prefixes ...string) []string {
	names := map[string]string{}
	for _, imp := range file.Imports {
		path, _ := strconv.Unquote(imp.Path.Value)
		if !slices.ContainsFunc(prefixes, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") }) {
			continue
		}
		name := path[strings.LastIndex(path, "/")+1:]
		if imp.Name != nil {
			name = imp.Name.Name
		}
		names[name] = path
	}
	var found []string
	look := func(what string, n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				return false
			case *ast.StructType:
				// Unexported fields are ours alone; embedded ones are not.
				for _, f := range n.Fields.List {
					exported := len(f.Names) == 0 || slices.ContainsFunc(f.Names, (*ast.Ident).IsExported)
					if exported {
						ast.Inspect(f.Type, func(n ast.Node) bool { return report(n, names, what, &found) })
					}
				}
				return false
			}
			return report(n, names, what, &found)
		})
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if !d.Name.IsExported() || d.Recv != nil && !exportedReceiver(d.Recv) {
				continue
			}
			look(d.Name.Name, d.Type)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						look(s.Name.Name, s.Type)
					}
				case *ast.ValueSpec:
					if slices.ContainsFunc(s.Names, (*ast.Ident).IsExported) {
						look(s.Names[0].Name, s)
					}
				}
			}
		}
	}
	return found
}

func report(n ast.Node, names map[string]string, what string, found *[]string) bool {
	if s, ok := n.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok && names[x.Name] != "" {
			*found = append(*found, fmt.Sprintf("%s shows %s.%s", what, names[x.Name], s.Sel.Name))
		}
	}
	return true
}

func exportedReceiver(recv *ast.FieldList) bool {
	exported := false
	ast.Inspect(recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			exported = exported || id.IsExported()
		}
		return true
	})
	return exported
}

// sipStack is what must stay behind the API of sip.
var sipStack = []string{"github.com/emiago/sipgo", "github.com/icholy/digest"}

func TestNoSipgoInTheAPIOfSIP(t *testing.T) {
	files, err := filepath.Glob("../../sip/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range foreign(f, sipStack...) {
			t.Errorf("%s: %s: the stack must be replaceable behind the API of sip", filepath.Base(name), found)
		}
		for _, imp := range f.Imports {
			if path, _ := strconv.Unquote(imp.Path.Value); path == "github.com/emiago/sipgo/sip" && (imp.Name == nil || imp.Name.Name != "sipmsg") {
				t.Errorf("%s: name the import of %s sipmsg", filepath.Base(name), path)
			}
		}
	}
}

func TestForeignTypesAreFound(t *testing.T) {
	const source = `package sip
import (
	sipmsg "github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
	"time"
)
type Shown struct { Request *sipmsg.Request; hidden *sipmsg.Response; At time.Time }
type hidden struct { Request *sipmsg.Request }
type Embeds struct { sipmsg.Uri }
type Alias = digest.Challenge
type OnIt interface { Do(map[string][]sipmsg.Header) }
var Err = sipmsg.ErrTransactionTimeout
func Takes(func(sipmsg.Message)) { var _ sipmsg.Request }
func fine(sipmsg.Message) {}
func (Shown) Gives() digest.Challenge { panic(0) }
func (hidden) Gives() digest.Challenge { panic(0) }
func Fine(time.Time) {}
`
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Shown shows github.com/emiago/sipgo/sip.Request",
		"Embeds shows github.com/emiago/sipgo/sip.Uri",
		"Alias shows github.com/icholy/digest.Challenge",
		"OnIt shows github.com/emiago/sipgo/sip.Header",
		"Err shows github.com/emiago/sipgo/sip.ErrTransactionTimeout",
		"Takes shows github.com/emiago/sipgo/sip.Message",
		"Gives shows github.com/icholy/digest.Challenge",
	}
	if got := foreign(f, sipStack...); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
