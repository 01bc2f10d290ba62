package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"hotline/sip/media"
)

// recorder writes what the phone hears as a WAV file of 16-bit PCM. It is a
// media.Tap: packets pass a bounded channel to its own goroutine, which places them
// by RTP time; what nobody sent is silence.
type recorder struct {
	file    *os.File
	start   time.Time
	packets chan packet   // 256 packets are 5 s; when full, the newest is dropped and counted
	done    chan struct{} // closed when the goroutine ended
	dropped atomic.Uint64

	// Below: only the goroutine, and close after it.
	place   placement
	samples int64 // length of the file
	err     error // the first that happened
}

// packet is one heard packet; it holds its own copy of the sound.
type packet struct {
	at    time.Time
	ts    uint32
	codec media.Codec
	n     int
	sound [maxPacket]byte
}

// maxPacket is the longest packet that is recorded, in samples: 120 ms.
const maxPacket = 960

// maxSamples keeps the file below the 4 GB that its header can tell: 74 hours.
const maxSamples = 1<<31 - wavHeaderSize

// headerEvery is how often the header is brought up to date, in packets.
const headerEvery = 50

// startRecorder creates the file. start is the moment of its first sample.
func startRecorder(name string, start time.Time) (*recorder, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if _, err := f.Write(wavHeader(0)); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("record: %w", err)
	}
	r := &recorder{file: f, start: start, packets: make(chan packet, 256), done: make(chan struct{})}
	go r.run() // ends when close closes the channel
	return r, nil
}

// Heard is media.Tap's: it copies and never blocks.
func (r *recorder) Heard(at time.Time, ts uint32, c media.Codec, payload []byte) {
	p := packet{at: at, ts: ts, codec: c, n: len(payload)}
	if copy(p.sound[:], payload) < len(payload) {
		r.dropped.Add(1)
		return
	}
	select {
	case r.packets <- p:
	default:
		r.dropped.Add(1)
	}
}

func (r *recorder) run() {
	defer close(r.done)
	pcm, raw := make([]int16, maxPacket), make([]byte, 2*maxPacket)
	n := 0
	for p := range r.packets {
		if r.err != nil {
			continue
		}
		if p.codec == media.PCMA {
			media.DecodeALaws(pcm[:p.n], p.sound[:p.n])
		} else {
			media.DecodeULaws(pcm[:p.n], p.sound[:p.n])
		}
		for i, s := range pcm[:p.n] {
			binary.LittleEndian.PutUint16(raw[2*i:], uint16(s))
		}
		from := r.place.at(p.at.Sub(r.start), p.ts)
		if from+int64(p.n) > maxSamples {
			continue
		}
		// Writing past the end leaves zeros in between, which are silence.
		_, r.err = r.file.WriteAt(raw[:2*p.n], wavHeaderSize+2*from)
		r.samples = max(r.samples, from+int64(p.n))
		if n++; n%headerEvery == 0 && r.err == nil {
			_, r.err = r.file.WriteAt(wavHeader(r.samples), 0)
		}
	}
}

// close ends the file at the given moment, with silence up to there. Nothing may be
// heard any more: take the tap off the stream before.
func (r *recorder) close(end time.Time) error {
	close(r.packets)
	<-r.done
	r.samples = max(r.samples, min(inSamples(end.Sub(r.start)), maxSamples))
	if r.err == nil {
		r.err = r.file.Truncate(wavHeaderSize + 2*r.samples)
	}
	if r.err == nil {
		_, r.err = r.file.WriteAt(wavHeader(r.samples), 0)
	}
	if err := r.file.Close(); r.err == nil {
		r.err = err
	}
	if r.err != nil {
		return fmt.Errorf("record: %w", r.err)
	}
	if n := r.dropped.Load(); n > 0 {
		return fmt.Errorf("record: %d packets dropped, the disk is too slow", n)
	}
	return nil
}

func inSamples(d time.Duration) int64 { return int64(d) * sampleRate / int64(time.Second) }

// placement turns RTP time into a place in the file. The first packet lies where it
// arrived; those after it lie by their timestamps, until these disagree with the
// arrival by more than half a second: then the sender began anew.
type placement struct {
	anchored bool
	ts       uint32 // of the anchor
	base     int64  // its sample in the file
}

const maxDrift = sampleRate / 2

// at is the sample where a packet begins that arrived that long after the start.
func (p *placement) at(arrival time.Duration, ts uint32) int64 {
	arrived := max(inSamples(arrival), 0)
	if p.anchored {
		from := p.base + int64(int32(ts-p.ts))
		if d := from - arrived; d <= maxDrift && d >= -maxDrift {
			return max(from, 0)
		}
	}
	p.anchored, p.ts, p.base = true, ts, arrived
	return arrived
}
