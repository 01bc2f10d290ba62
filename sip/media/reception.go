package media

import "time"

const (
	maxDropout  = 3000 // RFC 3550 A.1: a bigger step is not loss but another count
	maxMisorder = 100  // RFC 3550 A.1: what is older than this is not merely late
	seenWindow  = 128  // numbers below the highest in which duplicates are known
)

// arrival says what a packet is in its source's sequence.
type arrival uint8

const (
	arrivedNext  arrival = iota // newer than all before, perhaps after a gap
	arrivedLate                 // older than the newest, but new
	arrivedFirst                // of a new source, or one that counts anew
	arrivedTwice
	arrivedWild // far off; if its successor follows, the source counts anew
)

// reception keeps the books of what arrives on one stream, by the algorithms of
// RFC 3550 A.1 (sequence), A.3 (loss) and A.8 (jitter). Totals go on when the
// peer changes its SSRC.
type reception struct {
	ssrc    uint32
	begun   bool
	base    uint32 // first sequence number of this source
	high    uint16 // highest so far
	cycles  uint32 // wraps, already shifted
	wild    uint16 // the number that would prove a new count
	isWild  bool
	seen    [seenWindow / 64]uint64 // ring of bits, by sequence number
	got     uint64                  // packets of this source
	transit uint32                  // of the audio packet before
	timed   bool                    // transit is known
	jitter  uint32                  // in samples, scaled by 16

	received, late, duplicate uint64 // of all sources
	expectedBefore            uint64 // of sources that are gone
	gotBefore                 uint64

	reportedExpected, reportedGot uint64 // at the last report
}

// packet books one valid packet. audio is false for packets whose timestamp
// does not follow their sending time (keys).
func (r *reception) packet(h header, audio bool, now time.Duration) arrival {
	a := r.place(h)
	switch a {
	case arrivedTwice:
		r.duplicate++
		return a
	case arrivedWild:
		return a
	case arrivedLate:
		r.late++
	}
	r.received++
	r.got++
	if audio {
		r.time(h.ts, now)
	}
	return a
}

func (r *reception) place(h header) arrival {
	if !r.begun || h.ssrc != r.ssrc {
		r.restart(h)
		return arrivedFirst
	}
	switch step := h.seq - r.high; {
	case step == 0:
		return arrivedTwice
	case step < maxDropout:
		r.forget(step)
		if h.seq < r.high {
			r.cycles += 1 << 16
		}
		r.high = h.seq
		r.isWild = false
		r.mark(h.seq)
		return arrivedNext
	case step <= 0xFFFF-maxMisorder:
		if r.isWild && h.seq == r.wild {
			r.restart(h)
			return arrivedFirst
		}
		r.wild, r.isWild = h.seq+1, true
		return arrivedWild
	}
	if r.marked(h.seq) {
		return arrivedTwice
	}
	r.mark(h.seq)
	return arrivedLate
}

// restart begins a source with h.
func (r *reception) restart(h header) {
	r.expectedBefore, r.gotBefore = r.expected(), r.gotBefore+r.got
	r.ssrc, r.begun = h.ssrc, true
	r.base, r.high, r.cycles = uint32(h.seq), h.seq, 0
	r.isWild, r.timed = false, false
	r.got = 0
	r.seen = [len(r.seen)]uint64{}
	r.mark(h.seq)
}

func (r *reception) mark(seq uint16) { r.seen[seq/64%uint16(len(r.seen))] |= 1 << (seq % 64) }

func (r *reception) marked(seq uint16) bool {
	return r.seen[seq/64%uint16(len(r.seen))]&(1<<(seq%64)) != 0
}

// forget clears the bits of the next steps numbers, which still show what came
// one window before.
func (r *reception) forget(steps uint16) {
	if steps >= seenWindow {
		r.seen = [len(r.seen)]uint64{}
		return
	}
	for seq := r.high + 1; steps > 0; steps-- {
		r.seen[seq/64%uint16(len(r.seen))] &^= 1 << (seq % 64)
		seq++
	}
}

// time follows the variation of transit times (RFC 3550 A.8). Arrival times are
// those of the shard, which are as exact as its tick.
func (r *reception) time(ts uint32, now time.Duration) {
	transit := samples(now) - ts
	if r.timed {
		d := int32(transit - r.transit)
		if d < 0 {
			d = -d
		}
		if d < 8000 { // a bigger step is a new timestamp base, not jitter
			r.jitter += uint32(d) - (r.jitter+8)>>4
		}
	}
	r.transit, r.timed = transit, true
}

// expected is how many packets the sources have sent up to the newest one seen.
func (r *reception) expected() uint64 {
	if !r.begun {
		return 0
	}
	return r.expectedBefore + uint64(r.cycles+uint32(r.high)-r.base+1)
}

// lost is how many of them did not arrive.
func (r *reception) lost() uint64 {
	expected, got := r.expected(), r.gotBefore+r.got
	if got > expected { // late ones from before the first
		return 0
	}
	return expected - got
}

func (r *reception) jitterTime() time.Duration { return duration(int(r.jitter >> 4)) }

// report gives the figures of a report block and begins the next interval:
// loss since the last report in 1/256, packets lost in total (both RFC 3550
// A.3), the extended highest sequence number, jitter in samples.
func (r *reception) report() (fraction uint8, lost, highest, jitter uint32) {
	expected, got := r.expected(), r.gotBefore+r.got
	e, g := expected-r.reportedExpected, got-r.reportedGot
	r.reportedExpected, r.reportedGot = expected, got
	if e > g && e > 0 {
		fraction = uint8(min((e-g)<<8/e, 255))
	}
	return fraction, uint32(min(r.lost(), 1<<23-1)), r.cycles | uint32(r.high), r.jitter >> 4
}
