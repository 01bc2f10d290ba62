package journal

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fill sets every field to something that is not zero, so that a field without
// a JSON name or with a wrong one shows.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(noon.Add(time.Duration(*n) * time.Microsecond)))
		return
	case json.RawMessage:
		v.SetBytes([]byte(`{"a":[1,"\u0000"]}`))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.String:
		v.SetString(string(rune('a'+*n%26)) + "Đặng\n\"")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint64:
		v.SetUint(uint64(*n))
	default:
		panic("a fact has a field of kind " + v.Kind().String())
	}
}

func TestEveryFactRoundTrips(t *testing.T) {
	for _, f := range kinds {
		n := 0
		v := reflect.New(reflect.TypeOf(f)).Elem()
		zero := Entry{At: noon, Fact: v.Interface()}
		fill(v, &n)
		for i, e := range []Entry{zero, {At: noon.Add(time.Microsecond), Fact: v.Interface()}} {
			b, err := Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decode(b)
			if err != nil {
				t.Fatalf("%s: %v", b, err)
			}
			if i == 0 { // a zero RawMessage comes back as null, which says the same
				again, err := Encode(got)
				if err != nil || string(again) != string(b) {
					t.Errorf("%s became %s, %v", b, again, err)
				}
				continue
			}
			if d := cmp.Diff(e, got); d != "" {
				t.Errorf("%s: %s", b, d)
			}
		}
	}
}

// A new event or command that is not in the registry would be lost.
func TestEveryEventAndCommandIsRegistered(t *testing.T) {
	for file, marks := range map[string][]string{"../events.go": {"event"}, "../commands.go": {"command"}} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || fn.Name.Name != marks[0] {
				continue
			}
			name := fn.Recv.List[0].Type.(*ast.Ident).Name
			found++
			if _, ok := typeOf[name]; !ok {
				t.Errorf("%s of %s is not registered", name, file)
			}
		}
		if found == 0 {
			t.Errorf("nothing found in %s", file)
		}
	}
	f, err := parser.ParseFile(token.NewFileSet(), "facts.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]bool{"Entry": true, "AgentName": true, "OpenCall": true}
	ast.Inspect(f, func(n ast.Node) bool {
		if ts, ok := n.(*ast.TypeSpec); ok {
			if _, ok := ts.Type.(*ast.StructType); ok && !parts[ts.Name.Name] {
				if _, ok := typeOf[ts.Name.Name]; !ok {
					t.Errorf("%s is not registered", ts.Name.Name)
				}
			}
		}
		return true
	})
}

func TestNoTwoFactsShareAName(t *testing.T) {
	if len(typeOf) != len(kinds) || len(kindOf) != len(kinds) {
		t.Errorf("%d facts, %d names", len(kinds), len(typeOf))
	}
}

func TestWhatIsNoFactIsRefused(t *testing.T) {
	for _, f := range []Fact{nil, 7, "x", &Heartbeat{}, Undecodable{}} {
		if b, err := Encode(Entry{At: noon, Fact: f}); err == nil {
			t.Errorf("%T became %s", f, b)
		}
	}
	for _, at := range []time.Time{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if b, err := Encode(Entry{At: at, Fact: Heartbeat{}}); err == nil {
			t.Errorf("%v became %s", at, b)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, k := range kinds {
		n := 0
		v := reflect.New(reflect.TypeOf(k)).Elem()
		fill(v, &n)
		b, err := Encode(Entry{At: noon, Fact: v.Interface()})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"at":"2026-01-01T00:00:00Z","is":"Gap","fact":null}`))
	f.Add([]byte(`{"at":null,"is":"Tick","fact":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			return
		}
		// What was understood can be written and read again.
		again, err := Encode(e)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if _, err := Decode(again); err != nil {
			t.Fatalf("%q became %q: %v", b, again, err)
		}
	})
}
