package recordings

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hotline/sip/media"
)

const (
	// flushEvery and settle together are what a killed process loses at most.
	flushEvery = 400 * time.Millisecond
	// settle is how far the file stays behind the clock, in frames (200 ms), so
	// that packets which were overtaken still find their place.
	settle = rate / 5
	// stretch is the most that is written at once, in frames.
	stretch = 1 * rate
)

// Options say what to record and where.
type Options struct {
	Dir     string      // folder of all recordings; a folder per day is made in it
	Call    string      // names the file; one recording per call
	Started time.Time   // the file's first sample; its UTC date names the folder
	Codec   media.Codec // law of the file; the side that speaks the other one is converted
	Log     *slog.Logger
}

// Summary says what became of a recording.
type Summary struct {
	File   string        // absolute
	Length time.Duration // of the file
	Lost   time.Duration // sound that arrived but was dropped, by a full buffer or a failing disk; both sides added up
	Late   time.Duration // sound that the network delivered too late to be placed; both sides added up
	Bytes  int64         // of the file, header included
}

// Tape is a recording under way. It follows the wall clock from Options.Started
// to Close, whatever arrives; what does not arrive is silence.
type Tape struct {
	path  string
	call  string
	law   media.Codec
	log   *slog.Logger
	epoch time.Time // when Start ran
	lead  time.Duration

	caller, agent side

	off     atomic.Bool // Heard no longer listens
	closing sync.Once
	stop    chan struct{} // closed by Close
	stopped chan struct{} // closed by the writer when it has ended

	// Owned by the writer until stopped is closed.
	disk    disk
	base    int64  // frames before this one are settled: written, or lost for good
	written int64  // frames in the file
	pending []byte // frames from base on, both sides interleaved
	late    int64  // samples
	dropped int64  // frames that the disk refused
	failed  error  // the disk's first refusal
	summary Summary
	err     error
}

// disk is what a Tape needs of its file.
type disk interface {
	WriteAt(b []byte, off int64) (int, error)
	Sync() error
	Close() error
}

// Start creates Dir/2006/01/02/<call>.wav and begins to record. It fails when
// the file exists: a recording is never written over.
func Start(o Options) (*Tape, error) {
	t, err := start(o)
	if err != nil {
		return nil, fmt.Errorf("start recording of call %s: %w", o.Call, err)
	}
	return t, nil
}

func start(o Options) (*Tape, error) {
	switch {
	case o.Call == "" || strings.HasPrefix(o.Call, ".") || strings.ContainsAny(o.Call, "/\\\x00"):
		return nil, fmt.Errorf("%q can not name a file", o.Call)
	case o.Started.IsZero():
		return nil, errors.New("no time of start")
	case o.Codec != media.PCMU && o.Codec != media.PCMA:
		return nil, fmt.Errorf("no file format for codec %v", o.Codec)
	}
	dir, err := filepath.Abs(filepath.Join(o.Dir, o.Started.UTC().Format("2006/01/02")))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, o.Call+".wav")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, err
	}
	t := newTape(o, path, f)
	if err := t.writeHeader(0); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	go t.write() // ends when Close closes t.stop
	return t, nil
}

func newTape(o Options, path string, d disk) *Tape {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	now := time.Now()
	t := &Tape{
		path: path, call: o.Call, law: o.Codec, log: o.Log,
		epoch: now, lead: now.Sub(o.Started),
		stop: make(chan struct{}), stopped: make(chan struct{}),
		disk: d,
	}
	t.caller.tape, t.caller.channel = t, 0
	t.agent.tape, t.agent.channel = t, 1
	return t
}

// File is the absolute path.
func (t *Tape) File() string { return t.path }

// Caller takes what the caller says: the left channel. It may be moved from one
// stream to another, but must not be the tap of two at a time.
func (t *Tape) Caller() media.Tap { return &t.caller }

// Agent takes what the agent says: the right channel. As with Caller, one
// stream at a time; after a transfer it is the next agent's stream.
func (t *Tape) Agent() media.Tap { return &t.agent }

// Close writes what was heard until now, brings file and folder safely to the
// disk and says what became of the recording. The file is valid also when the
// error is not nil: it has what the disk took. Further calls return the same.
// Close waits for the disk.
func (t *Tape) Close() (Summary, error) {
	t.closing.Do(func() {
		t.off.Store(true)
		close(t.stop)
	})
	<-t.stopped
	return t.summary, t.err
}

// side is one channel of the tape.
type side struct {
	tape    *Tape
	channel int // 0 left, 1 right
	ring    ring
	place   placer // owned by the writer
}

// Heard takes a packet from the media shard. It never blocks and never
// allocates: when the disk is 2.5 s behind, the packet is dropped and counted.
func (s *side) Heard(at time.Time, ts uint32, c media.Codec, payload []byte) {
	if s.tape.off.Load() {
		return
	}
	s.ring.push(at.Sub(s.tape.epoch), ts, c, payload)
}

// write is the writer: it alone touches the file.
func (t *Tape) write() {
	defer close(t.stopped)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			// Whatever arrived before now is in the rings, or will be long before
			// settle has passed.
			now := t.frame(time.Since(t.epoch))
			t.collect(now)
			t.advance(now - settle)
		case <-t.stop:
			now := t.frame(time.Since(t.epoch))
			t.collect(now)
			t.finish(now)
			return
		}
	}
}

// frame of the timeline at a time since the epoch.
func (t *Tape) frame(at time.Duration) int64 {
	return int64((at + t.lead) / (time.Second / rate))
}

// collect takes what waits in the rings to its place in pending, in the order
// of arrival.
func (t *Tape) collect(now int64) {
	for {
		s, h := &t.caller, t.caller.ring.oldest()
		if other := t.agent.ring.oldest(); h == nil || other != nil && other.at < h.at {
			s, h = &t.agent, other
		}
		if h == nil {
			return
		}
		t.keep(s, h, min(t.frame(h.at), now+jump))
		s.ring.drop()
	}
}

func (t *Tape) keep(s *side, h *heard, arrival int64) {
	// After a stall (a stopped process, a suspended machine) the file follows
	// piece by piece, so that pending stays small.
	if arrival-t.base > 5*stretch {
		t.advance(arrival - stretch)
	}
	sound := h.payload[:h.samples]
	convert(sound, h.law, t.law)
	n := int64(len(sound))
	frame, ok := s.place.place(arrival, h.ts, n, silent(sound, t.law), t.base)
	if !ok {
		t.late += n
		return
	}
	if cut := t.base - frame; cut > 0 {
		t.late += cut
		sound, frame = sound[cut:], t.base
	}
	from := frame - t.base
	t.extend(from + int64(len(sound)))
	place := t.pending[from*frameSize:][:len(sound)*frameSize]
	for i, b := range sound {
		place[i*frameSize+s.channel] = b
	}
}

// extend makes pending at least so many frames long.
func (t *Tape) extend(frames int64) {
	old, need := len(t.pending), int(frames*frameSize)
	if need <= old {
		return
	}
	t.pending = slices.Grow(t.pending, need-old)[:need]
	hush := t.pending[old:]
	hush[0] = silence(t.law)
	for n := 1; n < len(hush); n *= 2 {
		copy(hush[n:], hush[:n])
	}
}

// advance settles the file up to a frame: what is pending, and silence where
// nothing is. It goes on after an error of the disk: the stretch is lost, and
// silence takes its place when the disk works again.
func (t *Tape) advance(to int64) {
	to = min(to, maxFrames)
	for t.base < to {
		n := min(to-t.base, stretch)
		t.extend(n)
		err := t.store(t.pending[:n*frameSize])
		if err != nil {
			t.refused(err)
			t.dropped += n
		}
		t.base += n
		t.pending = t.pending[:copy(t.pending, t.pending[n*frameSize:])]
	}
	if t.base == maxFrames && !t.off.Swap(true) {
		t.refused(errTooLong)
	}
}

// errTooLong ends a recording that nobody can have meant.
var errTooLong = errors.New("the recording reached 74 hours, which is all that a WAV file holds")

// store writes frames at base, the sound first and then the header that counts
// it, so that the file is valid at every moment.
func (t *Tape) store(sound []byte) error {
	if t.written < t.base { // a hole that an error left
		hush := bytes.Repeat([]byte{silence(t.law)}, stretch*frameSize)
		for t.written < t.base {
			n := min(t.base-t.written, stretch)
			if err := t.append(hush[:n*frameSize]); err != nil {
				return err
			}
		}
	}
	if err := t.append(sound); err != nil {
		return err
	}
	return t.writeHeader(t.written)
}

func (t *Tape) append(sound []byte) error {
	if _, err := t.disk.WriteAt(sound, headerSize+t.written*frameSize); err != nil {
		return err
	}
	t.written += int64(len(sound)) / frameSize
	return nil
}

func (t *Tape) writeHeader(frames int64) error {
	h := header(t.law, frames)
	_, err := t.disk.WriteAt(h[:], 0)
	return err
}

func (t *Tape) refused(err error) {
	if t.failed != nil {
		return
	}
	t.failed = err
	t.log.Error("the disk refuses a recording; the call goes on", "call", t.call, "file", t.path, "error", err)
}

// finish settles all that was heard and closes the file.
func (t *Tape) finish(to int64) {
	// A sender whose clock runs ahead has its last words after now.
	ahead := t.base + int64(len(t.pending))/frameSize
	t.advance(max(to, ahead))

	errs := []error{t.failed}
	if err := t.disk.Sync(); err != nil {
		errs = append(errs, err)
	}
	if err := t.disk.Close(); err != nil {
		errs = append(errs, err)
	}
	if err := syncFolder(filepath.Dir(t.path)); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		t.err = fmt.Errorf("recording %s: %w", t.path, err)
	}
	lost := int64(t.caller.ring.lost.Load()+t.agent.ring.lost.Load()) + t.dropped
	t.summary = Summary{
		File:   t.path,
		Length: length(t.written),
		Lost:   length(lost),
		Late:   length(t.late),
		Bytes:  headerSize + t.written*frameSize,
	}
}

// syncFolder makes the file's name survive a loss of power.
func syncFolder(dir string) error {
	if os.PathSeparator == '\\' {
		return nil // Windows can't open a folder to sync it, and need not
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
