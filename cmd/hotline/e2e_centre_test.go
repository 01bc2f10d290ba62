//go:build e2e

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const sipPort = 5060

// demonstration is the centre that `hotline serve` runs without a
// configuration, but for the wrap-up, which would only cost time here.
const demonstration = `
queues:
  support: {needs: {support: 1}, ring: 20s, wrap_up: 0s, record: true}
  payments: {needs: {payments: 1}, ring: 20s, wrap_up: 0s, record: true}
  technical: {needs: {technical: 1}, ring: 20s, wrap_up: 0s, record: true}
agents:
  - {id: a1001, name: "Agent 1001", extension: "1001", password: demo-1001, skills: {support: 5, payments: 5, vi: 8, en: 5}}
  - {id: a1002, name: "Agent 1002", extension: "1002", password: demo-1002, skills: {support: 5, technical: 5, vi: 8}}
  - {id: a1003, name: "Agent 1003", extension: "1003", password: demo-1003, skills: {support: 5, payments: 5, technical: 5, zh: 8, en: 5}}
numbers:
  "1900": {flow: main}
  "1901": {queue: support}
`

// centre is a running Hotline with an address and a data folder of its own, as
// one test sees it.
type centre struct {
	t *testing.T
	*house
}

// house is what the tests of one centre share.
type house struct {
	ip      netip.Addr
	dir     string   // where the service runs, with its configuration and its data
	flags   []string // of every command, to find the configuration
	wire    *wire
	service *program
	runs    []*program // of the service, the one under way last

	mu sync.Mutex
	db *pgx.Conn // nil: to be connected; guarded by mu
}

// in gives the centre to a subtest.
func (c *centre) in(t *testing.T) *centre { return &centre{t, c.house} }

// centres gives each centre an address of its own on lo, so that none gets in
// another's way.
var centres atomic.Uint32

// opens starts a centre. rules are the parts of the configuration that matter
// to the test: queues, agents and numbers, and whatever else it wants to say.
func opens(t *testing.T, rules string) *centre {
	t.Helper()
	dir, n := t.TempDir(), centres.Add(1)
	file := filepath.Join(dir, "hotline.yaml")
	c := &centre{t, &house{ip: netip.AddrFrom4([4]byte{127, 0, 2, byte(n)}), dir: dir, flags: []string{"--config", file}}}
	config := fmt.Sprintf(`
listen: {sip: ["udp://%[1]s:5060", "tcp://%[1]s:5060"], http: "%[1]s:8080"}
media: {ip: "%[1]s", ports: "20000-29999"}
data: %[2]q
`, c.ip, filepath.Join(c.dir, "data"))
	if !strings.Contains(rules, "\ndatabase:") {
		config += "database: \"\"\n"
	}
	if !strings.Contains(rules, "\ntrunks:") {
		config += "trunks:\n  - {name: carrier, from: [\"127.0.0.0/16\"]}\n"
	}
	if err := os.WriteFile(file, []byte(config+rules), 0o600); err != nil {
		t.Fatal(err)
	}
	c.opens()
	return c
}

// opensDemonstration starts the centre that needs no configuration.
func opensDemonstration(t *testing.T) *centre {
	t.Helper()
	c := &centre{t, &house{ip: netip.AddrFrom4([4]byte{127, 0, 0, 1}), dir: t.TempDir()}}
	if !portIsFree(sipPort) {
		cannotRun(t, "the port 5060 is taken")
	}
	c.opens()
	return c
}

func (c *centre) opens() {
	c.t.Helper()
	needsPostgres(c.t)
	c.wire = taps(c.t, c.ip)
	c.t.Cleanup(func() { // after all phones have gone
		if c.service != nil && c.service.runs() && !c.t.Failed() {
			c.books()
			c.closes()
		}
		c.hangsUpOnPostgres()
		for _, run := range c.runs {
			run.leaves()
		}
		if b, err := os.ReadFile(filepath.Join(c.dir, "data", "postgres", "postgres.log")); err == nil && c.t.Failed() {
			c.t.Logf("postgres.log ends with:\n%s", b[max(0, len(b)-4000):])
		}
	})
	c.starts()
}

// starts runs the service, again after its end, and waits until it answers.
func (c *centre) starts() {
	c.t.Helper()
	cmd := ourCommand(c.t, "hotline", append([]string{"serve", "--log-level", "debug"}, c.flags...)...)
	cmd.Dir = c.dir
	c.service = launches(c.t, "hotline", cmd)
	c.runs = append(c.runs, c.service)
	awaitFor(c.t, time.Minute, "the centre is open", func() bool { // the first start makes a Postgres
		if !c.service.runs() {
			c.t.Fatal("hotline ended at its start")
		}
		return strings.Contains(c.service.said.from(0), "Hotline answers on")
	})
	phone := c.plainPhone("127.0.0.1")
	defer phone.close()
	if a := phone.answers(phone.request("OPTIONS", "sip:"+c.ip.String())); a.code != 200 {
		c.t.Fatalf("OPTIONS at the start: %d", a.code)
	}
}

// closes ends the service in order, when nobody is on the line any more.
func (c *centre) closes() {
	c.t.Helper()
	c.hangsUpOnPostgres()
	c.service.signals(syscall.SIGTERM)
	if status := c.service.ends(30 * time.Second); status != 0 {
		c.t.Errorf("hotline ended with status %d", status)
	}
	c.noComplaints()
	if _, err := os.Stat(filepath.Join(c.dir, "data", "postgres", "cluster", "postmaster.pid")); err == nil {
		c.t.Errorf("the private Postgres still runs")
	}
}

// noComplaints looks for what must never be in the service's log. That the journal
// is late is no fault here: on a busy machine its disk may be slow.
func (c *centre) noComplaints() {
	c.t.Helper()
	for line := range strings.Lines(c.service.said.from(0)) {
		if strings.Contains(line, "DATA RACE") || strings.Contains(line, "panic") || strings.HasPrefix(line, "fatal error") ||
			strings.Contains(line, "level=ERROR") && !strings.Contains(line, "journal is late") {
			c.t.Errorf("the service's log: %s", line)
		}
	}
}

// crashes kills the service and says when.
func (c *centre) crashes() time.Time {
	c.t.Helper()
	c.hangsUpOnPostgres()
	at := time.Now()
	c.service.kills()
	return at
}

// command runs hotline with another command on this centre's configuration.
func (c *centre) command(args ...string) string {
	c.t.Helper()
	out, err := c.tryCommand(args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *centre) tryCommand(args ...string) (string, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, ours(c.t, "hotline"), append(slices.Clone(c.flags), args...)...)
	cmd.Dir = c.dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("hotline %s: %w\n%s", strings.Join(args, " "), err, errOut.String())
	}
	return out.String(), nil
}

// address is a SIP address at this centre.
func (c *centre) address(user string) string {
	return "sip:" + user + "@" + netip.AddrPortFrom(c.ip, sipPort).String()
}

// log asks the call log by SQL; one row. It fails the test when that isn't
// possible, also when there is no row.
func log[T any](c *centre, sql string, args ...any) T {
	c.t.Helper()
	v, err := tryLog[T](c, sql, args...)
	if err != nil {
		c.t.Fatalf("call log: %v\n%s %v", err, sql, args)
	}
	return v
}

// tryLog is log for what may not be there yet, and for when Postgres is away.
func tryLog[T any](c *centre, sql string, args ...any) (v T, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		var dsn string
		if dsn, err = c.tryCommand("dsn"); err != nil {
			return v, err
		}
		if c.db, err = pgx.Connect(ctx, strings.TrimSpace(dsn)); err != nil {
			return v, err
		}
	}
	rows, _ := c.db.Query(ctx, sql, args...) // its error is that of the rows
	v, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (v T, err error) {
		switch any(v).(type) {
		case record:
			return pgx.RowToStructByName[T](row)
		}
		err = row.Scan(&v)
		return v, err
	})
	if err != nil && c.db.IsClosed() {
		c.db = nil
	}
	return v, err
}

func (c *centre) hangsUpOnPostgres() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db != nil {
		_ = c.db.Close(context.Background())
		c.db = nil
	}
}

// record is a row of call_log; absent texts are empty, absent times zero,
// absent durations -1.
type record struct {
	Call, Number, Caller, Language, Queue, Agent string
	Outcome, Stage, HungUpBy, Recording          string
	Arrived, Answered, Queued, Connected, Ended  time.Time
	Wait, Ring, Talk, Hold                       int64 // ms
}

const recordColumns = `call_id as call, number, coalesce(caller, '') as caller, coalesce(language, '') as language,
	coalesce(queue, '') as queue, coalesce(agent, '') as agent, coalesce(outcome, '') as outcome, coalesce(stage, '') as stage,
	coalesce(hung_up_by, '') as hung_up_by, coalesce(recording, '') as recording,
	arrived_at as arrived, coalesce(answered_at, '0001-01-01Z') as answered, coalesce(queued_at, '0001-01-01Z') as queued,
	coalesce(connected_at, '0001-01-01Z') as connected, coalesce(ended_at, '0001-01-01Z') as ended,
	coalesce(wait_ms, -1) as wait, coalesce(ring_ms, -1) as ring, coalesce(talk_ms, -1) as talk, coalesce(hold_ms, -1) as hold`

// record is the last call of a number as the log has it; an error, as long as there
// is none.
func (c *centre) record(caller string) (record, error) {
	return tryLog[record](c, "select "+recordColumns+" from call_log where caller = $1 order by arrived_at desc limit 1", caller)
}

// ended waits for the end of a number's last call in the log.
func (c *centre) ended(caller string) record {
	c.t.Helper()
	return c.awaitRecord(caller, "ended", func(r record) bool { return r.Outcome != "" })
}

// reaches waits until a number's last call is in a stage.
func (c *centre) reaches(caller, stage string) record {
	c.t.Helper()
	return c.awaitRecord(caller, stage, func(r record) bool { return r.Stage == stage && r.Outcome == "" })
}

func (c *centre) awaitRecord(caller, what string, is func(record) bool) record {
	c.t.Helper()
	var last record
	var err error
	done := false
	defer func() {
		if !done {
			c.t.Logf("the log has of %s: %+v (%v)", caller, last, err)
		}
	}()
	await(c.t, fmt.Sprintf("the call of %s in the log: %s", caller, what), func() bool {
		last, err = c.record(caller)
		done = err == nil && is(last)
		return done
	})
	return last
}

// agent waits until an agent's time ledger has come to a state, written
// "NotReady(meal)" where it has a reason.
func (c *centre) agent(id, state string) {
	c.t.Helper()
	last, done := "", false
	var err error
	defer func() {
		if !done {
			c.t.Logf("%s is %s (%v)", id, last, err)
		}
	}()
	await(c.t, fmt.Sprintf("agent %s is %s", id, state), func() bool {
		last, err = tryLog[string](c, `select state || coalesce('(' || reason || ')', '') from agent_time where agent = $1 and to_at is null`, id)
		done = last == state
		return done
	})
}

// talks waits until a number's call is a talk of which so much is recorded.
func (c *centre) talks(caller string, long time.Duration) record {
	c.t.Helper()
	r := c.awaitRecord(caller, "talking and recorded", func(r record) bool { return r.Stage == "Talking" && r.Recording != "" })
	c.growsTo(r.Recording, long)
	return r
}

// growsTo waits until a recording is so long; a second of it is 16,000 bytes.
func (c *centre) growsTo(recording string, long time.Duration) {
	c.t.Helper()
	await(c.t, fmt.Sprintf("%s grows to %v", recording, long), func() bool {
		info, err := os.Stat(recording)
		return err == nil && info.Size() > int64(16000*long.Seconds())
	})
}

// offers are the results of a call's offers in their order: "a1001 busy, a1003 answered".
func (c *centre) offers(call string) string {
	c.t.Helper()
	return log[string](c, `select coalesce(string_agg(agent || ' ' || coalesce(result, '?'), ', ' order by started_at), '') from offers where call_id = $1`, call)
}

// books checks what must be true of every log at any moment.
func (c *centre) books() {
	c.t.Helper()
	for what, sql := range map[string]string{
		"ended calls without an outcome, or outcomes without an end": `
			select count(*) from call_log where (outcome is null) <> (ended_at is null)`,
		"calls whose times are out of order": `
			select count(*) from call_log where not (arrived_at <= coalesce(answered_at, arrived_at)
				and coalesce(answered_at, arrived_at) <= coalesce(queued_at, answered_at, arrived_at)
				and coalesce(queued_at, arrived_at) <= coalesce(connected_at, queued_at, arrived_at)
				and coalesce(connected_at, queued_at, answered_at, arrived_at) <= coalesce(ended_at, 'infinity'))`,
		"offers of ended calls that are still open": `
			select count(*) from offers o join call_log c using (call_id) where c.ended_at is not null and o.ended_at is null`,
		"visits of ended calls that are still open": `
			select count(*) from log.visits v join call_log c using (call_id) where c.ended_at is not null and v.ended_at is null`,
		"gaps and overlaps of an agent's time": `
			select count(*) from (select to_at, lead(from_at) over w as next, row_number() over w as n, count(*) over (partition by agent) as of
				from agent_time window w as (partition by agent order by from_at)) l
			where n < of and to_at is distinct from next or n = of and to_at is not null`,
		"segments that don't cover their call": `
			select count(*) from (select c.call_id from call_log c left join log.segments s using (call_id)
				where c.ended_at > c.arrived_at group by c.call_id, c.arrived_at, c.ended_at
				having sum(s.to_at - s.from_at) is distinct from c.ended_at - c.arrived_at) x`,
		"facts in quarantine": `select count(*) from log.quarantine`,
	} {
		if n, err := tryLog[int](c, sql); err != nil {
			c.t.Errorf("the books: %s: %v", what, err)
		} else if n != 0 {
			c.t.Errorf("the books: %d %s", n, what)
		}
	}
	if alarms, err := tryLog[string](c, `select coalesce(string_agg(text, '; '), '') from log.alarms`); err != nil || alarms != "" {
		c.t.Errorf("alarms: %s (%v)", alarms, err)
	}
}

// span is when the test saw something happen: not before and not after. The
// phones tell of it themselves, but a busy machine may let them tell late.
type span struct{ from, to time.Time }

// nearly asks that the log and the test saw something at the same time, to the
// second.
func nearly(t *testing.T, what string, got time.Time, saw span) {
	t.Helper()
	if got.Before(saw.from.Add(-time.Second)) || got.After(saw.to.Add(time.Second)) {
		t.Errorf("%s: the log says %s, the test saw it between %s and %s", what,
			got.Format("15:04:05.000"), saw.from.Format("15:04:05.000"), saw.to.Format("15:04:05.000"))
	}
}

// lasted is nearly for how long something was.
func lasted(t *testing.T, what string, got time.Duration, began, ended span) {
	t.Helper()
	if got < ended.from.Sub(began.to)-time.Second || got > ended.to.Sub(began.from)+time.Second {
		t.Errorf("%s: the log says %v, the test saw %v to %v", what, got, ended.from.Sub(began.to), ended.to.Sub(began.from))
	}
}

// ports are handed out from here, ten to a phone.
var ports atomic.Uint32

// freePort finds ports that a phone can have: UDP and TCP of this one and the next
// few are not taken.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 15000 + int(ports.Add(1)%1000)*10
		if portIsFree(port) && portIsFree(port+1) && portIsFree(port+2) {
			return port
		}
	}
	t.Fatal("no free ports")
	return 0
}

func portIsFree(port int) bool {
	at := fmt.Sprintf("127.0.0.1:%d", port)
	u, err := net.ListenPacket("udp4", at)
	if err != nil {
		return false
	}
	defer u.Close()
	l, err := net.Listen("tcp4", at)
	if err != nil {
		return false
	}
	defer l.Close()
	return true
}
