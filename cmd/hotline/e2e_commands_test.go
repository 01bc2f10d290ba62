//go:build e2e

package main_test

import (
	"encoding/csv"
	"encoding/json"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

// commandsShowTheLog: `hotline calls` and `missed` say what SQL says.
func commandsShowTheLog(t *testing.T, c *centre) {
	needs(t, "psql")
	c.calls("0901111115", "1901", "--hangup-after-answer", "300ms").report() // nobody is signed in
	c.ended("0901111115")
	for command, sql := range map[string]string{
		"calls": `select coalesce(json_agg(json_build_object('call_id', call_id, 'number', number, 'caller', caller, 'language', language,
			'queue', queue, 'agent', agent, 'outcome', outcome, 'stage', stage, 'wait_ms', wait_ms, 'ring_ms', ring_ms, 'talk_ms', talk_ms,
			'hold_ms', hold_ms, 'hung_up_by', hung_up_by, 'recording', recording) order by arrived_at desc), '[]')::text from call_log`,
		"missed": `select coalesce(json_agg(json_build_object('call_id', call_id, 'number', number, 'caller', caller, 'language', language,
			'queue', queue, 'outcome', outcome, 'stage', stage, 'wait_ms', wait_ms, 'tries', tries) order by arrived_at desc), '[]')::text from missed_calls`,
	} {
		var want, got []map[string]any
		decode(t, log[string](c, sql), &want)
		decode(t, c.command(command, "--json"), &got)
		if len(got) != len(want) || len(got) == 0 {
			t.Errorf("hotline %s shows %d calls, SQL %d", command, len(got), len(want))
			continue
		}
		for i, w := range want {
			for column, value := range w {
				if !reflect.DeepEqual(got[i][column], value) {
					t.Errorf("hotline %s: %s of %v is %v, and %v by SQL", command, column, w["call_id"], got[i][column], value)
				}
			}
		}
		rows, err := csv.NewReader(strings.NewReader(c.command(command, "--csv"))).ReadAll()
		if err != nil || len(rows) != len(want)+1 {
			t.Errorf("hotline %s --csv: %d lines, %v", command, len(rows), err)
		}
		var none, all []map[string]any
		decode(t, c.command(command, "--json", "--queue", "technical"), &none)
		decode(t, c.command(command, "--json", "--queue", "support", "--since", "1h"), &all)
		support := 0
		for _, w := range want {
			if w["queue"] == "support" {
				support++
			}
		}
		if len(none) != 0 || len(all) != support {
			t.Errorf("hotline %s shows %d calls of technical and %d of support, want 0 and %d", command, len(none), len(all), support)
		}
		if table := c.command(command); strings.Count(table, "\n") != len(want)+1 || !strings.Contains(table, "0901111115") {
			t.Errorf("hotline %s:\n%s", command, table)
		}
	}
	out, err := exec.Command("psql", strings.TrimSpace(c.command("dsn")), "-Atc", "select count(*) from call_log").CombinedOutput()
	if n := log[string](c, "select count(*)::text from call_log"); err != nil || strings.TrimSpace(string(out)) != n {
		t.Errorf("psql: %s (%v), want %s", out, err, n)
	}
}

func decode(t *testing.T, text string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), to); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
}
