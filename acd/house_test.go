package acd

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The referee is pure: no goroutine, channel, lock, clock, chance, float or map
// order. These are the imports that it can't break that with; another one has
// to be argued for.
var pureImports = []string{"cmp", "encoding/json", "errors", "fmt", "slices", "strings", "time"}

// What of package time reads the clock or waits for it.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

func TestThePackageIsPure(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) < 5 {
		t.Fatalf("only %d files found", len(files))
	}
	found, err := impurities(fset, files)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

// TestImpurityIsFound makes sure that the test above can fail.
func TestImpurityIsFound(t *testing.T) {
	tests := []struct{ want, code string }{
		{"go statement", `func f() { go f() }`},
		{"channel", `func f(c chan int) {}`},
		{"channel", `var c = make(chan<- bool, 1)`},
		{"select", `func f() { select {} }`},
		{"import of sync", `import "sync"; var m sync.Mutex`},
		{"import of sync/atomic", `import "sync/atomic"; var m atomic.Bool`},
		{"import of context", `import "context"; var c context.Context`},
		{"import of math/rand", `import "math/rand"; var n = rand.Int()`},
		{"import of math/rand/v2", `import r "math/rand/v2"; var n = r.Int()`},
		{"import of maps", `import "maps"; var s = maps.Keys(map[int]int{})`},
		{"import of example.org/x", `import "example.org/x"; var s = x.Y`},
		{"import of hotline/acd/journal", `import "hotline/acd/journal"; var s journal.Gap`},
		{"clock: time.Now", `import "time"; var now = time.Now()`},
		{"clock: time.Since", `import clock "time"; func f(t clock.Time) clock.Duration { return clock.Since(t) }`},
		{"clock: time.Now", `import . "time"; var now = Now`},
		{"float", `var x = 0.5`},
		{"float", `func f(n int) int { return int(float64(n) * 2) }`},
		{"float", `import "time"; func f(d time.Duration) bool { return d.Seconds() > 1 }`},
		{"range over a map", `func f(m map[int]int) { for range m {} }`},
		{"range over a map", `type names map[string]int; func f(n struct{ names }) { for k := range n.names { _ = k } }`},
		{"range over a map", `func f[M map[int]int](m M) { for range m {} }`},
	}
	for _, test := range tests {
		fset := token.NewFileSet()
		code := "package acd\n" + strings.ReplaceAll(test.code, "; ", "\n")
		file, err := parser.ParseFile(fset, "bad.go", code, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		found, _ := impurities(fset, []*ast.File{file})
		if !slices.ContainsFunc(found, func(f string) bool { return strings.HasSuffix(f, ": "+test.want) }) {
			t.Errorf("%s\nfound %q, want %q", code, found, test.want)
		}
	}
	fset := token.NewFileSet()
	good, _ := parser.ParseFile(fset, "good.go", `package acd
		import "time"
		func f(m map[int]int, s []time.Duration) (d time.Duration) { for _, x := range s { d += x * 3 / 2 }; _ = m[1]; return d }`, 0)
	if found, err := impurities(fset, []*ast.File{good}); err != nil || len(found) > 0 {
		t.Errorf("pure code is refused: %q, %v", found, err)
	}
}

// impurities lists what the files must not contain, as "place: what".
func impurities(fset *token.FileSet, files []*ast.File) (found []string, err error) {
	report := func(n ast.Node, what string) {
		found = append(found, fmt.Sprintf("%s: %s", fset.Position(n.Pos()), what))
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.Default(), Error: func(e error) {
		if err == nil {
			err = e // what can be checked goes on being checked
		}
	}}
	_, _ = conf.Check("hotline/acd", fset, files, info) // the first error is in err

	for _, file := range files {
		for _, imp := range file.Imports {
			if path, _ := strconv.Unquote(imp.Path.Value); !slices.Contains(pureImports, path) {
				report(imp, "import of "+path)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				report(n, "go statement")
			case *ast.SelectStmt:
				report(n, "select")
			case *ast.ChanType:
				report(n, "channel")
			case *ast.RangeStmt:
				if isMap(info.TypeOf(n.X)) {
					report(n, "range over a map")
				}
			case *ast.Ident:
				if o := info.Uses[n]; o != nil && o.Pkg() != nil && o.Pkg().Path() == "time" &&
					o.Parent() == o.Pkg().Scope() && slices.Contains(clocks, o.Name()) {
					report(n, "clock: time."+o.Name())
				}
			}
			if e, ok := n.(ast.Expr); ok && isFloat(info.TypeOf(e)) {
				report(n, "float")
			}
			return true
		})
	}
	return found, err
}

func isMap(t types.Type) bool {
	if t == nil {
		return false
	}
	if p, ok := types.Unalias(t).(*types.TypeParam); ok {
		u, ok := p.Constraint().Underlying().(*types.Interface)
		if !ok {
			return false
		}
		for i := range u.NumEmbeddeds() {
			term, ok := u.EmbeddedType(i).(*types.Union)
			if !ok {
				return isMap(u.EmbeddedType(i))
			}
			for j := range term.Len() {
				if isMap(term.Term(j).Type()) {
					return true
				}
			}
		}
		return false
	}
	_, ok := t.Underlying().(*types.Map)
	return ok
}

func isFloat(t types.Type) bool {
	if t == nil {
		return false
	}
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&(types.IsFloat|types.IsComplex) != 0
}
