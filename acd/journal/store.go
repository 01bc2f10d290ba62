package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	streamName      = "hotline"
	factsSubject    = "hotline.facts"
	snapshotSubject = "hotline.snapshot" // batches that hold a FloorSnapshot, to find the last one at once
	incarnationKey  = "incarnation"      // in the stream's metadata
)

// openWithin bounds the start of the embedded server. It reads an index that it
// wrote at its last sync, not the whole journal.
const openWithin = 30 * time.Second

// store is one life of the embedded server with its connections.
type store struct {
	server *server.Server
	write  *nats.Conn
	read   *nats.Conn // apart: a long read must not stand in front of an append
	js     jetstream.JetStream

	incarnation string
	last        uint64 // last sequence when it was opened
	inbox       string // where acknowledgements arrive
	acks        chan *nats.Msg
	notes       *serverNotes
}

// openStore starts the server. first says that a journal which can't be read
// may be set aside for a new one.
func (j *Journal) openStore(ctx context.Context, first bool) (*store, error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	st, err := j.startStore(ctx, !first)
	if first && errors.Is(err, errUnreadable) {
		aside := filepath.Join(j.opts.Dir, fmt.Sprintf("unreadable-%d", time.Now().Unix()))
		if err := os.Rename(filepath.Join(j.opts.Dir, server.JetStreamStoreDir), aside); err != nil {
			return nil, fmt.Errorf("set the unreadable journal aside: %w", err)
		}
		j.log.Error("the journal could not be read; it was set aside and a new one begun", "kept", aside)
		st, err = j.startStore(ctx, false)
	}
	return st, err
}

var errUnreadable = errors.New("the stream is there but can't be recovered")

func (j *Journal) startStore(ctx context.Context, mustExist bool) (*store, error) {
	folder := filepath.Join(j.opts.Dir, server.JetStreamStoreDir, "$G", "streams", streamName)
	_, err := os.Stat(folder)
	existed := err == nil

	srv, err := server.NewServer(&server.Options{
		ServerName:             "hotline",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               j.opts.Dir,
		JetStreamMaxMemory:     64 << 20, // nothing is kept in memory; the default reserves most of the machine's
		JetStreamMaxStore:      1 << 60,  // no limit of ours: the disk's end is noticed when it comes
		SyncAlways:             j.opts.Sync == Always,
		SyncInterval:           time.Duration(j.opts.Sync),
		MaxPayload:             maxBatch,
		MaxPending:             4 * maxBatch,
		PingInterval:           24 * time.Hour, // both ends live in one process
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	notes := &serverNotes{log: j.log, quiet: &j.troubled, complaint: make(chan struct{}, 1)}
	srv.SetLoggerV2(notes, false, false, false)
	srv.Start()
	st := &store{server: srv, notes: notes}
	fail := func(err error) (*store, error) {
		st.close()
		if last := notes.last.Load(); last != nil {
			return nil, fmt.Errorf("%w (%s)", err, *last)
		}
		return nil, err
	}
	wait := openWithin
	if d, ok := ctx.Deadline(); ok {
		wait = time.Until(d)
	}
	if !srv.ReadyForConnections(wait) {
		return fail(errors.New("embedded NATS server did not get ready"))
	}
	if !srv.JetStreamEnabled() {
		return fail(errors.New("embedded NATS server could not open its files"))
	}
	if st.write, err = dial(srv); err != nil {
		return fail(fmt.Errorf("connect to embedded NATS server: %w", err))
	}
	if st.read, err = dial(srv); err != nil {
		return fail(fmt.Errorf("connect to embedded NATS server: %w", err))
	}
	if st.js, err = jetstream.New(st.write); err != nil {
		return fail(err)
	}
	if err := st.openStream(ctx, j.opts.MaxAge, existed || mustExist); err != nil {
		return fail(err)
	}
	st.inbox = nats.NewInbox()
	st.acks = make(chan *nats.Msg, 2*maxWaiting) // never full: at most maxWaiting are under way
	if _, err := st.write.ChanSubscribe(st.inbox+".*", st.acks); err != nil {
		return fail(fmt.Errorf("subscribe to acknowledgements: %w", err))
	}
	return st, nil
}

func dial(srv *server.Server) (*nats.Conn, error) {
	return nats.Connect("", nats.InProcessServer(srv), nats.NoReconnect(), nats.PingInterval(24*time.Hour),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // errors show as missing answers
}

func (st *store) openStream(ctx context.Context, maxAge time.Duration, existed bool) error {
	want := jetstream.StreamConfig{
		Name:        streamName,
		Description: "Hotline: facts in the order in which they happened",
		Subjects:    []string{factsSubject, snapshotSubject},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		MaxMsgs:     -1,
		MaxBytes:    -1,
		MaxMsgSize:  -1,
		MaxAge:      maxAge,
		AllowDirect: true,
	}
	s, err := st.js.Stream(ctx, streamName)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) && existed:
		return errUnreadable
	case errors.Is(err, jetstream.ErrStreamNotFound):
		want.Metadata = map[string]string{incarnationKey: randomID()}
		if s, err = st.js.CreateStream(ctx, want); err != nil {
			return fmt.Errorf("create stream: %w", err)
		}
	case err != nil:
		return fmt.Errorf("open stream: %w", err)
	case s.CachedInfo().Config.MaxAge != maxAge:
		want.Metadata = s.CachedInfo().Config.Metadata
		if s, err = st.js.UpdateStream(ctx, want); err != nil {
			return fmt.Errorf("update stream: %w", err)
		}
	}
	info := s.CachedInfo()
	st.incarnation = info.Config.Metadata[incarnationKey]
	if st.incarnation == "" {
		return errUnreadable
	}
	st.last = info.State.LastSeq
	return nil
}

// first returns the first kept sequence (last+1 if there is none).
func (st *store) first(ctx context.Context) (uint64, error) {
	js, err := jetstream.New(st.read)
	if err != nil {
		return 0, err
	}
	s, err := js.Stream(ctx, streamName)
	if err != nil {
		return 0, fmt.Errorf("ask for the journal's first entry: %w", err)
	}
	return max(s.CachedInfo().State.FirstSeq, 1), nil
}

func (st *store) close() {
	if st.write != nil {
		st.write.Close()
	}
	if st.read != nil {
		st.read.Close()
	}
	st.server.Shutdown()
	st.server.WaitForShutdown()
}

// serverNotes passes on what the server warns of and drops its chatter.
type serverNotes struct {
	log       *slog.Logger
	quiet     *atomic.Bool // the journal reports the outage itself
	last      atomic.Pointer[string]
	complaint chan struct{} // 1: something was warned of since it was last read
}

func (n *serverNotes) note(level slog.Level, format string, v []any) {
	text := fmt.Sprintf(format, v...)
	if strings.HasPrefix(text, "Maximum payloads over") {
		return // meant for networks; a snapshot of a large floor is one message
	}
	n.last.Store(&text)
	if n.quiet.Load() {
		level = slog.LevelDebug
	}
	n.log.Log(context.Background(), level, "journal store: "+text)
	select {
	case n.complaint <- struct{}{}:
	default: // one is enough
	}
}

func (n *serverNotes) Noticef(string, ...any)         {}
func (n *serverNotes) Debugf(string, ...any)          {}
func (n *serverNotes) Tracef(string, ...any)          {}
func (n *serverNotes) Warnf(format string, v ...any)  { n.note(slog.LevelWarn, format, v) }
func (n *serverNotes) Errorf(format string, v ...any) { n.note(slog.LevelError, format, v) }
func (n *serverNotes) Fatalf(format string, v ...any) { n.note(slog.LevelError, format, v) }
