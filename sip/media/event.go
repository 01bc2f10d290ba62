package media

import (
	"encoding/binary"
	"time"
)

// Telephone-events (RFC 4733): a key travels as packets of its own payload
// type. All packets of one press carry the timestamp of its beginning; that
// timestamp, not a packet, is the press. A press of 50 ms at 8 kHz, sent
// with one packet each 20 ms:
//
//	  ms    seq   ts    M  E  duration
//	   0    100   8000  1  0     160    the press begins: three times, so that
//	   0    101   8000  0  0     160    it is known at once although one is lost
//	   0    102   8000  0  0     160
//	  20    103   8000  0  0     320    still down
//	  40    104   8000  0  1     400    it ends within these 20 ms, at 50 ms:
//	  60    105   8000  0  1     400    three times, one packet apart
//	  80    106   8000  0  1     400
//
// A key held longer than the 65,535 samples that the duration can count goes on
// as another segment, which begins where the one before ended, without marker
// (§2.5.1.3).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     event     |E|R| volume    |          duration             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

const (
	eventLength = 4

	// When no packet of a press came for so long, its end was lost. Packets come
	// every 50 ms or oftener (§2.5.1.2); three lost in a row are bridged.
	eventTimeout = 200 * time.Millisecond
	// A segment may begin so many samples after the last duration heard of the
	// one before, when updates between were lost.
	eventSlack = 2 * frameSize
	// The volume we send, in −dBm0: as loud as a real keypad.
	eventVolume = 10

	minPress = 40 * time.Millisecond           // ITU-T Q.24: shorter is not a key
	maxPress = 0xFFFF * 125 * time.Microsecond // one segment
	pauseAt  = 60 * time.Millisecond           // between two of our presses
	starts   = 3                               // packets that say that a press began
	ends     = 3                               // packets that say that it ended
)

const keys = "0123456789*#ABCD" // by event code (§3.2)

// eventCode is the reverse of keys.
func eventCode(key byte) (uint8, bool) {
	for i := range len(keys) {
		if keys[i] == key {
			return uint8(i), true
		}
	}
	return 0, false
}

// event is the payload of a telephone-event packet.
type event struct {
	code     uint8
	end      bool
	volume   uint8
	duration uint16
}

// parseEvent reads the first event of a payload; a redundant copy of earlier
// ones may follow it.
func parseEvent(b []byte) (event, bool) {
	if len(b) < eventLength {
		return event{}, false
	}
	return event{
		code:     b[0],
		end:      b[1]&0x80 != 0,
		volume:   b[1] & 0x3F,
		duration: binary.BigEndian.Uint16(b[2:]),
	}, true
}

func (e event) put(b []byte) {
	b[0] = e.code
	b[1] = e.volume & 0x3F
	if e.end {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], e.duration)
}

// keyListener turns the packets of presses into keys, one per press, at the
// first packet that is heard of it.
type keyListener struct {
	heard    bool
	ssrc     uint32
	ts       uint32 // of the press or segment
	code     uint8
	duration uint16
	down     bool          // no end was heard
	at       time.Duration // of the last packet
}

// packet takes one packet with payload e. pressed says that key was just
// pressed.
func (k *keyListener) packet(h header, e event, now time.Duration) (key byte, pressed bool) {
	held := k.down && now-k.at < eventTimeout
	known := k.heard && h.ssrc == k.ssrc
	switch {
	case known && h.ts == k.ts: // an update, or a copy of the end
		k.duration = max(k.duration, e.duration)
		k.down = k.down && !e.end
		k.at = now
		return 0, false
	case known && int32(h.ts-k.ts) < 0 && now-k.at < eventTimeout: // overtaken by a newer press
		return 0, false
	case known && held && !h.marker && e.code == k.code &&
		h.ts-k.ts-uint32(k.duration) <= eventSlack: // the next segment of a long press
		k.ts, k.duration, k.down, k.at = h.ts, e.duration, !e.end, now
		return 0, false
	}
	*k = keyListener{heard: true, ssrc: h.ssrc, ts: h.ts, code: e.code, duration: e.duration, down: !e.end, at: now}
	if int(e.code) >= len(keys) {
		return 0, false // a flash or a fax tone
	}
	return keys[e.code], true
}

// keyPresser sends presses, one after the other.
type keyPresser struct {
	queue  [32]press
	n      int
	ts     uint32
	begin  time.Duration // when the current press began
	due    time.Duration // of its next packet
	step   int           // packets sent of the current press
	length uint16        // in samples
	ended  int           // end packets sent
	active bool
	free   time.Duration // the next press may begin
}

type press struct {
	code uint8
	d    time.Duration
}

// press queues a key; false: the queue is full.
func (k *keyPresser) press(code uint8, d time.Duration) bool {
	if k.n == len(k.queue) {
		return false
	}
	k.queue[k.n] = press{code, min(max(d, minPress), maxPress)}
	k.n++
	return true
}

// busy reports whether a press is under way: no other sound is sent meanwhile.
func (k *keyPresser) busy() bool { return k.active }

// deadline is when next has something to send.
func (k *keyPresser) deadline() (time.Duration, bool) {
	switch {
	case k.active:
		return k.due, true
	case k.n > 0:
		return k.free, true
	}
	return 0, false
}

// next gives the packet that is due; call it until ok is false.
func (k *keyPresser) next(s *sender, pt uint8, now time.Duration) (h header, e event, ok bool) {
	if !k.active {
		if k.n == 0 || now < k.free {
			return h, e, false
		}
		ts, _ := s.open(now)
		k.ts, k.begin, k.due, k.step, k.ended, k.active = ts, now, now, 0, 0, true
		k.length = uint16(samples(k.queue[0].d))
	}
	if now < k.due {
		return h, e, false
	}
	e = event{code: k.queue[0].code, volume: eventVolume}
	// As with audio, a packet tells of the 20 ms that begin when it is sent.
	tick := max(0, k.step-(starts-1))
	e.duration = uint16(min(uint32(frameSize*(tick+1)), uint32(k.length)))
	if tick > 0 && e.duration == k.length {
		e.end = true
	}
	h = s.take(k.ts, 0, pt)
	h.marker = k.step == 0
	k.step++
	switch {
	case k.step < starts: // the copies of the start go out at once
	case now-k.due > 3*frame:
		k.due = now + frame // the shard was held up: no burst
	default:
		k.due += frame
	}
	if e.end {
		if k.ended++; k.ended == ends {
			s.reached(k.ts, int(k.length))
			k.active = false
			k.free = max(now, k.begin+duration(int(k.length))) + pauseAt
			copy(k.queue[:], k.queue[1:k.n])
			k.n--
		}
	}
	return h, e, true
}

// drop forgets what is queued and under way.
func (k *keyPresser) drop() { k.n, k.active = 0, false }
