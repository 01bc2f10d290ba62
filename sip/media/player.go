package media

import "time"

// maxCatchUp is how many packets are sent at once when the shard comes late;
// what is later still is played later, not in a burst that phones would drop.
const maxCatchUp = 3

// player paces clips into packets of 20 ms by absolute time: packet k is due
// 20·k ms after the first, however late the ones before were sent.
type player struct {
	clips  []*Clip
	loop   bool
	clip   int           // which plays
	at     int           // sample in it
	begun  bool          // ts and due are set
	ts     uint32        // of the next packet
	due    time.Duration // when it is to be sent; after the last, when that has been heard
	caught int           // packets sent since the deadline was last in the future
	done   chan<- error  // told once, nil for Loop; has room for one
}

// over reports whether nothing is left to be sent.
func (p *player) over() bool {
	for p.clip < len(p.clips) && p.at >= p.clips[p.clip].Samples() {
		p.clip, p.at = p.clip+1, 0
		if p.loop && p.clip == len(p.clips) {
			p.clip = 0
		}
	}
	return p.clip == len(p.clips)
}

// next says at which timestamp the packet that is due begins; call it until ok
// is false. ended says that the last packet has been heard to its end.
func (p *player) next(s *sender, now time.Duration) (ts uint32, ok, ended bool) {
	if !p.begun {
		if p.over() {
			return 0, false, true
		}
		var wait time.Duration
		p.ts, wait = s.open(now)
		p.due, p.begun, p.caught = now+wait, true, 0
	}
	if now < p.due {
		p.caught = 0
		return 0, false, false
	}
	if p.over() {
		return 0, false, true
	}
	if p.caught == maxCatchUp {
		// The rest goes on one packet's time from now, at the timestamp that
		// the clock then shows.
		p.due, p.caught = now+frame, 0
		p.ts = s.clock(p.due)
		return 0, false, false
	}
	p.caught++
	ts = p.ts
	p.ts += frameSize
	p.due += frame
	return ts, true, false
}

// fill writes the sound of one packet in the law of c; after the end of the last
// clip it is silence.
func (p *player) fill(b []byte, c Codec) {
	for len(b) > 0 && !p.over() {
		n := copy(b, p.clips[p.clip].Bytes(c)[p.at:])
		p.at += n
		b = b[n:]
	}
	for i := range b {
		b[i] = c.Quiet()
	}
}

// finish tells whoever waits.
func (p *player) finish(err error) {
	if p != nil && p.done != nil {
		p.done <- err
		p.done = nil
	}
}
