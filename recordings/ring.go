package recordings

import (
	"sync/atomic"
	"time"

	"hotline/sip/media"
)

const (
	// slotSamples is the usual packet of 20 ms. A longer one takes several slots.
	slotSamples = 160
	// ringSlots hold 2.5 s: a disk may stall that long before sound is lost.
	// A power of two, so that the counters may wrap.
	ringSlots = 128
)

// heard is one packet, or a part of one, on its way to the writer.
type heard struct {
	at      time.Duration // of arrival, since the tape's epoch
	ts      uint32        // RTP timestamp of the first sample
	law     media.Codec
	samples uint8
	payload [slotSamples]byte
}

// ring hands packets of one side from the media shard to the writer. One
// goroutine pushes at a time and one pops; neither ever waits. When it is full
// the newest packet is dropped and counted.
type ring struct {
	pushed atomic.Uint64 // slots ever filled; stored by the pushing side only
	_      [56]byte      // the two counters live on different cache lines
	popped atomic.Uint64 // slots ever emptied; stored by the popping side only
	_      [56]byte
	lost   atomic.Uint64 // samples dropped
	slots  [ringSlots]heard
}

func (r *ring) push(at time.Duration, ts uint32, law media.Codec, payload []byte) {
	pushed := r.pushed.Load()
	free := ringSlots - (pushed - r.popped.Load())
	for len(payload) > 0 {
		if free == 0 {
			r.lost.Add(uint64(len(payload)))
			break
		}
		s := &r.slots[pushed%ringSlots]
		n := copy(s.payload[:], payload)
		s.at, s.ts, s.law, s.samples = at, ts, law, uint8(n)
		payload = payload[n:]
		// The rest of a long packet counts as if it had come by itself.
		ts += uint32(n)
		at += length(int64(n))
		pushed++
		free--
	}
	r.pushed.Store(pushed)
}

// oldest is the packet that waits longest, nil when none does. It is the
// writer's until drop.
func (r *ring) oldest() *heard {
	popped := r.popped.Load()
	if popped == r.pushed.Load() {
		return nil
	}
	return &r.slots[popped%ringSlots]
}

// drop frees the slot of the oldest packet.
func (r *ring) drop() { r.popped.Store(r.popped.Load() + 1) }
