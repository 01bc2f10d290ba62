package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"hotline/acd/calllog"
)

// hotline runs the program with these words and gives what it printed.
func hotline(t *testing.T, in string, args ...string) (status int, out, errOut string) {
	t.Helper()
	t.Setenv("HOTLINE_CONFIG", "")
	os.Unsetenv("HOTLINE_CONFIG")
	var o, e bytes.Buffer
	status = run(args, strings.NewReader(in), &o, &e)
	return status, o.String(), e.String()
}

func TestInitThenCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("DB_PASSWORD", "")
	if status, out, errOut := hotline(t, "", "init"); status != 0 || !strings.Contains(out, "hotline serve --config hotline.yaml") {
		t.Fatal(status, out, errOut)
	}
	if fi, err := os.Stat("hotline.yaml"); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if status, out, errOut := hotline(t, "", "check"); status != 0 || out != "hotline.yaml: good: 2 numbers, 2 queues, 2 agents\n" {
		t.Error(status, out, errOut)
	}
	if status, _, errOut := hotline(t, "", "init"); status != 1 || errOut != "hotline: hotline.yaml exists and is left as it is: name another file, `hotline init FILE`\n" {
		t.Error(status, errOut)
	}
	if status, _, _ := hotline(t, "", "init", "second.yaml"); status != 0 {
		t.Error(status)
	}
	t.Setenv("HOTLINE_CONFIG", "second.yaml")
	var out bytes.Buffer
	if run([]string{"check"}, nil, &out, &out) != 0 || !strings.HasPrefix(out.String(), "second.yaml: good") {
		t.Error("HOTLINE_CONFIG is not heeded:", out.String())
	}
}

func mustAbs(t *testing.T, file string) string {
	t.Helper()
	abs, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

func TestCheckSaysEveryMistake(t *testing.T) {
	t.Chdir(t.TempDir())
	bad := strings.NewReplacer("ring: 20s", "ring: 20", "flow: main", "flow: none").Replace(good)
	if err := os.WriteFile("bad.yaml", []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "bad.yaml:8: queues.support.ring: want a time with its unit, such as 20s, not the number 20\n" +
		"bad.yaml:13: numbers.1900.flow: there is no flow \"none\": want main, the built-in one\n"
	status, out, errOut := hotline(t, "", "check", "bad.yaml")
	if status != 1 || out != want || errOut != "hotline: bad.yaml: 2 mistakes\n" {
		t.Errorf("%d\n%s%s", status, out, errOut)
	}
	abs := mustAbs(t, "bad.yaml")
	status, _, errOut = hotline(t, "", "dsn", "--config", "bad.yaml")
	if status != 1 || errOut != strings.ReplaceAll(want, "bad.yaml", abs) {
		t.Errorf("%d\n%s", status, errOut)
	}
	if status, _, errOut := hotline(t, "", "check", "nowhere.yaml"); status != 1 || !strings.Contains(errOut, "nowhere.yaml: no such file") {
		t.Error(status, errOut)
	}
}

func TestPasswd(t *testing.T) {
	// printf 1001:hotline:demo-1001 | md5sum, and sha256sum (RFC 7616 §3.4.2).
	const want = "ha1:916a2dd78a64f12cf41abf3d9a101d68:44c726945a89cef5bc50b352fccac29e8e189cfee4f94cea4a3b571a1aa588a5\n"
	status, out, errOut := hotline(t, "demo-1001\n", "passwd", "1001")
	if status != 0 || out != want {
		t.Fatal(status, out, errOut)
	}
	if _, err := parse(strings.Replace(good, `"secret"`, `"`+strings.TrimSpace(out)+`"`, 1)); err != nil {
		t.Error(err)
	}
	if _, again, _ := hotline(t, "demo-1001", "passwd", "1001"); again != out {
		t.Error("the last line needs no end:", again)
	}
	if status, _, errOut := hotline(t, "\n", "passwd", "1001"); status != 1 || errOut != "hotline: the password is empty\n" {
		t.Error(status, errOut)
	}
	if status, _, _ := hotline(t, "x\n", "passwd", "10 01"); status != 1 {
		t.Error(status)
	}
}

func TestDSN(t *testing.T) {
	t.Chdir(t.TempDir())
	status, _, errOut := hotline(t, "", "dsn")
	if status != 1 || !strings.Contains(errOut, "the private Postgres isn't running; it runs while `hotline serve` does") {
		t.Error(status, errOut)
	}
	const dsn = "postgres://u:p@db.example/hotline"
	if err := os.WriteFile("c.yaml", []byte(strings.Replace(good, `database: ""`, "database: "+dsn, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, out, errOut := hotline(t, "", "dsn", "--config", "c.yaml"); status != 0 || out != dsn+"\n" {
		t.Error(status, out, errOut)
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{nil, 0, "Usage: hotline <command>"},
		{[]string{"--help"}, 0, "List missed calls"},
		{[]string{"version"}, 0, "hotline "},
		{[]string{"dance"}, 2, "dance"},
		{[]string{"calls", "--json", "--csv"}, 2, "--json and --csv can't be used together"},
		{[]string{"calls", "--since", "yesterday"}, 1, `--since: want how long ago, such as 24h or 7d, or a moment, such as 2026-11-22 or "2026-11-22 14:30", not "yesterday"`},
		{[]string{"missed", "--limit=-1"}, 1, "--limit: want a number from 0 up, not -1"},
	} {
		status, out, errOut := hotline(t, "", c.args...)
		if status != c.status || !strings.Contains(out+errOut, c.says) {
			t.Errorf("%v: %d\n%s%s", c.args, status, out, errOut)
		}
	}
}

func TestSince(t *testing.T) {
	zone := time.FixedZone("ICT", 7*3600)
	now := time.Date(2026, 11, 22, 9, 30, 0, 0, zone)
	for s, want := range map[string]time.Time{
		"24h":                  now.Add(-24 * time.Hour),
		"1h30m":                now.Add(-90 * time.Minute),
		"7d":                   time.Date(2026, 11, 15, 9, 30, 0, 0, zone),
		"2026-11-21":           time.Date(2026, 11, 21, 0, 0, 0, 0, zone),
		"2026-11-21 14:30":     time.Date(2026, 11, 21, 14, 30, 0, 0, zone),
		"2026-11-21T14:30:05":  time.Date(2026, 11, 21, 14, 30, 5, 0, zone),
		"2026-11-21T14:30:00Z": time.Date(2026, 11, 21, 14, 30, 0, 0, time.UTC),
	} {
		if got, err := parseSince(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "d", "-1d", "-5h", "x", "2026-13-01", "1.5d"} {
		if got, err := parseSince(s, now); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func someCalls() []calllog.Call {
	ms := func(n int64) *int64 { return &n }
	at := time.Date(2026, 11, 22, 2, 30, 0, 123e6, time.UTC)
	end := at.Add(time.Minute)
	return []calllog.Call{
		{CallID: "c1", Number: "1900", Caller: "+84901234567", Language: "vi", Queue: "support", Agent: "anna", Outcome: "answered",
			ArrivedAt: at, EndedAt: &end, WaitMS: ms(4230), TalkMS: ms(51_000), HungUpBy: "caller", Recording: "/var/a b.wav"},
		{CallID: "c2", Number: "1901", Caller: "=1+\x1b[2J\u202e\"x\"", ArrivedAt: at},
	}
}

func TestCallsAsATable(t *testing.T) {
	var b bytes.Buffer
	if err := writeTable(&b, callColumns, someCalls(), time.FixedZone("ICT", 7*3600)); err != nil {
		t.Fatal(err)
	}
	want := `ARRIVED AT           NUMBER  CALLER         LANGUAGE  QUEUE    AGENT  OUTCOME   STAGE  WAIT  TALK  HUNG UP BY  RECORDING
2026-11-22 09:30:00  1900    +84901234567   vi        support  anna   answered  -      4.2s  51s   caller      /var/a b.wav
2026-11-22 09:30:00  1901    =1+?[2J?"x"    -         -        -      -         -      -     -     -           -
`
	if squeeze(b.String()) != squeeze(want) {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if strings.ContainsAny(b.String(), "\x1b\u202e") {
		t.Error("a caller's name steers the terminal")
	}
}

// squeeze forgets how wide columns are.
func squeeze(s string) string {
	var lines []string
	for l := range strings.Lines(s) {
		lines = append(lines, strings.Join(strings.Fields(l), " "))
	}
	return strings.Join(lines, "\n")
}

func TestCallsAsCSV(t *testing.T) {
	var b bytes.Buffer
	if err := write(&b, form{CSV: true}, callColumns, someCalls()); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatal(rows, err)
	}
	cell := func(row int, name string) string {
		for i, n := range rows[0] {
			if n == name {
				return rows[row][i]
			}
		}
		t.Fatalf("no column %s in %v", name, rows[0])
		return ""
	}
	for _, c := range []struct {
		row        int
		name, want string
	}{
		{1, "arrived_at", "2026-11-22T02:30:00.123Z"}, {1, "caller", "+84901234567"}, {1, "wait_ms", "4230"}, {1, "connected_at", ""},
		{2, "caller", "'=1+\x1b[2J\u202e\"x\""}, {2, "outcome", ""},
	} {
		if got := cell(c.row, c.name); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestCallsAsJSON(t *testing.T) {
	for _, rows := range [][]calllog.Call{nil, someCalls()} {
		var b bytes.Buffer
		if err := write(&b, form{JSON: true}, callColumns, rows); err != nil {
			t.Fatal(err)
		}
		var got []map[string]any
		if err := json.Unmarshal(b.Bytes(), &got); err != nil || len(got) != len(rows) || got == nil {
			t.Fatalf("%v: %s", err, b.String())
		}
		if len(rows) == 0 {
			continue
		}
		if got[0]["arrived_at"] != "2026-11-22T02:30:00.123Z" || got[0]["wait_ms"] != 4230.0 || got[1]["outcome"] != nil {
			t.Errorf("%s", b.String())
		}
	}
}

func TestHarmless(t *testing.T) {
	for s, want := range map[string]string{"": "", "+84281900": "+84281900", "+1-2": "'+1-2", "+": "'+", "=A1": "'=A1", "@x": "'@x", "-5": "'-5", "\tx": "'\tx", "1900": "1900"} {
		if got := harmless(s); got != want {
			t.Errorf("%q: %q", s, got)
		}
	}
}

// The lists bear the columns of the log's rows, all of them.
func TestColumnsAreTheLogs(t *testing.T) {
	check(t, callColumns)
	check(t, missedColumns)
}

func check[R any](t *testing.T, columns []column[R]) {
	t.Helper()
	names := map[string]bool{}
	for _, c := range columns {
		names[c.name] = true
	}
	row := reflect.TypeFor[R]()
	for i := range row.NumField() {
		if name := row.Field(i).Tag.Get("db"); !names[name] {
			t.Errorf("%v: %s is not listed", row, name)
		}
		delete(names, row.Field(i).Tag.Get("db"))
	}
	if len(names) > 0 {
		t.Errorf("%v has no %v", row, names)
	}
}

// The whole way: private Postgres, schema, empty lists.
func TestListsOfAnEmptyLog(t *testing.T) {
	data := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := calllog.StartPrivate(ctx, calllog.PrivateOptions{Dir: privateDir(data)})
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	defer p.Close()
	file := filepath.Join(data, "c.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(good, "data: var", "data: "+data, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"calls", "--json"}, "[]\n"},
		{[]string{"missed", "--json", "--since", "7d"}, "[]\n"},
		{[]string{"missed", "--csv", "--queue", "support"}, "call_id,arrived_at,number,caller,language,queue,outcome,stage,queued_at,ended_at,wait_ms,tries,got_through_at\n"},
	} {
		status, out, errOut := hotline(t, "", append(c.args, "--config", file)...)
		if status != 0 || out != c.want {
			t.Errorf("%v: %d\n%s%s", c.args, status, out, errOut)
		}
	}
	if status, out, _ := hotline(t, "", "dsn", "--config", file); status != 0 || out != p.DSN()+"\n" {
		t.Errorf("dsn: %d, %s", status, out)
	}
}
