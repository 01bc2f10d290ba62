package recordings

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hotline/sip/media"
)

// fakeDisk is a file in memory that can be full or stuck.
type fakeDisk struct {
	mu     sync.Mutex
	b      []byte
	err    error         // what writes return
	stuck  chan struct{} // writes wait until it is closed; nil: they don't
	closed bool
}

func (d *fakeDisk) WriteAt(b []byte, off int64) (int, error) {
	d.mu.Lock()
	stuck := d.stuck
	d.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		n := len(b) / 3 // a full disk takes what fits
		d.put(b[:n], off)
		return n, d.err
	}
	d.put(b, off)
	return len(b), nil
}

func (d *fakeDisk) put(b []byte, off int64) {
	if need := int(off) + len(b); need > len(d.b) {
		d.b = append(d.b, make([]byte, need-len(d.b))...)
	}
	copy(d.b[off:], b)
}

func (d *fakeDisk) Sync() error  { return nil }
func (d *fakeDisk) Close() error { d.closed = true; return nil }

func (d *fakeDisk) set(err error, stuck chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.stuck = err, stuck
}

func recordsTo(t *testing.T, d *fakeDisk, log *slog.Logger) *Tape {
	t.Helper()
	tape := newTape(Options{Call: "c1", Started: time.Now(), Log: log}, filepath.Join(t.TempDir(), "x.wav"), d)
	if err := tape.writeHeader(0); err != nil {
		t.Fatal(err)
	}
	go tape.write() // ends with Close
	return tape
}

// A disk that is full for a while costs that while, and nothing else.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		disk := &fakeDisk{}
		tape := recordsTo(t, disk, slog.New(slog.NewTextHandler(&log, nil)))
		caller := &phone{tap: tape.Caller()}
		time.Sleep(packetTime / 2) // between the flushes
		for i := range 500 {
			switch i {
			case 100:
				disk.set(syscall.ENOSPC, nil)
			case 300:
				disk.set(nil, nil)
			}
			caller.speaks()
			time.Sleep(packetTime)
			synctest.Wait()
			if _, err := parse(disk.b); err != nil {
				t.Fatalf("after packet %d: %v", i, err)
			}
		}
		s, err := tape.Close()
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("closed with %v, want %v", err, syscall.ENOSPC)
		}
		if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "call=c1") {
			t.Errorf("%d lines in the log:\n%s", n, log.String())
		}
		got, err := parse(disk.b)
		if err != nil {
			t.Fatal(err)
		}
		got.lasts(t, 10*time.Second+packetTime/2)
		// The flush at 2.0 s settled the file until 1.8 s, the one at 6.0 s until 5.8 s.
		says(t, got.left, 0xFF, 80, 80_000, func(i int) bool { return i+80 >= 14_400 && i+80 < 46_400 })
		if s.Lost != 4*time.Second || !disk.closed {
			t.Errorf("lost %v, closed %v", s.Lost, disk.closed)
		}
	})
}

func TestDiskFullToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &fakeDisk{}
		tape := recordsTo(t, disk, nil)
		disk.set(syscall.EIO, nil)
		caller := &phone{tap: tape.Caller()}
		for range 100 {
			caller.speaks()
			time.Sleep(packetTime)
		}
		s, err := tape.Close()
		if !errors.Is(err, syscall.EIO) || s.Length != 0 || s.Lost != 2*time.Second {
			t.Errorf("closed with %+v, %v", s, err)
		}
		if _, err := parse(disk.b); err != nil {
			t.Error(err)
		}
	})
}

// A disk that hangs for longer than the buffer holds costs the newest sound, and
// never holds up the shard.
func TestDiskStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &fakeDisk{}
		tape := recordsTo(t, disk, nil)
		caller := &phone{tap: tape.Caller()}
		agent := &phone{tap: tape.Agent()}
		stuck := make(chan struct{})
		time.Sleep(packetTime / 2) // between the flushes
		for i := range 500 {
			switch i {
			case 100:
				disk.set(nil, stuck)
			case 300: // 4 s later
				disk.set(nil, nil)
				close(stuck)
				synctest.Wait()
			}
			before := time.Now()
			caller.speaks()
			if i%2 == 0 {
				agent.speaks()
			} else {
				agent.loses()
			}
			if time.Since(before) != 0 {
				t.Fatal("the shard waited")
			}
			time.Sleep(packetTime)
		}
		s := closes(t, tape)
		got, err := parse(disk.b)
		if err != nil {
			t.Fatal(err)
		}
		got.lasts(t, 10*time.Second+packetTime/2)
		// The writer stops in the flush at 2.4 s, which has packets 0 to 119. The ring
		// takes 128 more of the caller's, and all of the agent's, who sends half as many.
		const full = 120 + ringSlots
		says(t, got.left, 0xFF, 80, 80_000, func(i int) bool { return i/160 >= full && i/160 < 300 })
		says(t, got.right, 0xFF, 80, 80_000, func(i int) bool { return i/160%2 == 1 })
		if want := (300 - full) * packetTime; s.Lost != want {
			t.Errorf("lost %v, want %v", s.Lost, want)
		}
	})
}

// A process that was stopped for ten minutes has ten minutes of silence in its
// file, and does not need their memory.
func TestSuspended(t *testing.T) {
	disk := &fakeDisk{}
	tape := newTape(Options{Call: "c1", Started: time.Now()}, "x.wav", disk)
	const stopped = 600 * rate
	for i := range 10 {
		b := bytes.Repeat([]byte{1}, 160)
		at := time.Duration(i) * packetTime
		tape.caller.ring.push(at, uint32(i*160), media.PCMU, b)
		tape.agent.ring.push(at+10*time.Minute, uint32(i*160), media.PCMU, b)
	}
	tape.collect(stopped + 1600)
	tape.advance(stopped + 1600)
	got, err := parse(disk.b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got.left {
		left, right := i < 1600, i >= stopped
		if left != (got.left[i] == 1) || right != (got.right[i] == 1) {
			t.Fatalf("frame %d is %#x, %#x", i, got.left[i], got.right[i])
		}
	}
	if kb := cap(tape.pending) / 1024; kb > 256 {
		t.Errorf("%d kB were needed", kb)
	}
}

func TestLongestFile(t *testing.T) {
	disk := &fakeDisk{}
	tape := newTape(Options{Call: "c1", Started: time.Now()}, "x.wav", disk)
	tape.base, tape.written = maxFrames, maxFrames
	tape.advance(maxFrames + 1)
	if !tape.off.Load() || !errors.Is(tape.failed, errTooLong) {
		t.Errorf("beyond the largest file: off %v, %v", tape.off.Load(), tape.failed)
	}
}
