package media

import (
	"encoding/binary"
	"math/bits"
	"time"
)

const (
	rtcpSR   = 200
	rtcpRR   = 201
	rtcpSDES = 202
	rtcpBYE  = 203

	// RFC 3550 §6.2: reports every 5 s at least, the first after half of that,
	// each varied by a factor of 0.5 to 1.5 (§6.3.1). With two members the
	// share of bandwidth never asks for more, so the rest of §6.2 is left out.
	rtcpInterval = 5 * time.Second

	rtcpBlock = 24
)

// reporter exchanges quality reports with the peer (RFC 3550 §6.4): it writes
// sender or receiver reports with a CNAME, and reads the peer's.
type reporter struct {
	cname  [16]byte // random per stream (RFC 7022), printable
	due    time.Duration
	spoken uint32 // packets sent at the last report: more now means SR

	peerSSRC uint32
	peerSR   uint32        // middle of the NTP time in the peer's last SR
	peerAt   time.Duration // when that came
	peerSent bool          // one came

	remoteLost   uint32
	remoteJitter time.Duration
	roundTrip    time.Duration
}

// begin schedules the first report; random is any number.
func (r *reporter) begin(now time.Duration, random uint32) {
	r.due = now + vary(rtcpInterval/2, random)
}

// vary gives d times 0.5 to 1.5.
func vary(d time.Duration, random uint32) time.Duration {
	part, _ := bits.Mul64(uint64(d), uint64(random)<<32)
	return d/2 + time.Duration(part)
}

// ntp is a wall-clock time in NTP format (RFC 3550 §4).
func ntp(t time.Time) uint64 {
	const since1900 = 2_208_988_800
	return uint64(t.Unix()+since1900)<<32 | uint64(t.Nanosecond())<<32/1e9
}

// write puts a compound packet into b and returns it. wall is now on the wall
// clock; with bye the stream is over.
//
//	SR or RR, with a report block when something was received
//	SDES CNAME
//	BYE
func (r *reporter) write(b []byte, s *sender, rx *reception, now time.Duration, wall time.Time, random uint32, bye bool) []byte {
	r.due = now + vary(rtcpInterval, random)
	b = b[:0]
	blocks := 0
	if rx.begun {
		blocks = 1
	}
	if s.packets != r.spoken {
		r.spoken = s.packets
		b = rtcpHeader(b, rtcpSR, blocks, 6+6*blocks)
		b = binary.BigEndian.AppendUint32(b, s.ssrc)
		b = binary.BigEndian.AppendUint64(b, ntp(wall))
		b = binary.BigEndian.AppendUint32(b, s.clock(now))
		b = binary.BigEndian.AppendUint32(b, s.packets)
		b = binary.BigEndian.AppendUint32(b, s.octets)
	} else {
		b = rtcpHeader(b, rtcpRR, blocks, 1+6*blocks)
		b = binary.BigEndian.AppendUint32(b, s.ssrc)
	}
	if blocks == 1 {
		fraction, lost, highest, jitter := rx.report()
		b = binary.BigEndian.AppendUint32(b, rx.ssrc)
		b = binary.BigEndian.AppendUint32(b, uint32(fraction)<<24|lost)
		b = binary.BigEndian.AppendUint32(b, highest)
		b = binary.BigEndian.AppendUint32(b, jitter)
		var lsr, dlsr uint32
		if r.peerSent && r.peerSSRC == rx.ssrc {
			lsr, dlsr = r.peerSR, fixed16(now-r.peerAt)
		}
		b = binary.BigEndian.AppendUint32(b, lsr)
		b = binary.BigEndian.AppendUint32(b, dlsr)
	}
	// SDES: one chunk with the CNAME, ended by zeros up to a word (§6.5).
	b = rtcpHeader(b, rtcpSDES, 1, 1+(2+len(r.cname)+4)/4)
	b = binary.BigEndian.AppendUint32(b, s.ssrc)
	b = append(b, 1, byte(len(r.cname)))
	b = append(b, r.cname[:]...)
	for pad := 4 - (2+len(r.cname))%4; pad > 0; pad-- {
		b = append(b, 0)
	}
	if bye {
		b = rtcpHeader(b, rtcpBYE, 1, 1)
		b = binary.BigEndian.AppendUint32(b, s.ssrc)
	}
	return b
}

// rtcpHeader appends the common header; words is the length of what follows.
func rtcpHeader(b []byte, kind uint8, count, words int) []byte {
	return append(b, 2<<6|byte(count), kind, byte(words>>8), byte(words))
}

// fixed16 is a time in 1/65536 s.
func fixed16(d time.Duration) uint32 { return uint32(uint64(max(d, 0)) << 16 / uint64(time.Second)) }

// read takes a compound packet from the peer. It stops at the first part that
// contradicts itself; ok says that there was none.
func (r *reporter) read(b []byte, ssrc uint32, now time.Duration, wall time.Time) (ok bool) {
	if !isRTCP(b) {
		return false
	}
	for len(b) > 0 {
		if len(b) < 4 || b[0]>>6 != 2 {
			return false
		}
		kind, count := b[1], int(b[0]&0x1F)
		n := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return false
		}
		body := b[4:n]
		b = b[n:]
		switch kind {
		case rtcpSR:
			if len(body) < 24+rtcpBlock*count {
				return false
			}
			r.peerSSRC = binary.BigEndian.Uint32(body)
			r.peerSR = binary.BigEndian.Uint32(body[6:])
			r.peerAt, r.peerSent = now, true
			r.blocks(body[24:], count, ssrc, wall)
		case rtcpRR:
			if len(body) < 4+rtcpBlock*count {
				return false
			}
			r.blocks(body[4:], count, ssrc, wall)
		}
	}
	return true
}

// blocks reads the report blocks that speak of us.
func (r *reporter) blocks(b []byte, count int, ssrc uint32, wall time.Time) {
	for ; count > 0; count-- {
		block := b[:rtcpBlock]
		b = b[rtcpBlock:]
		if binary.BigEndian.Uint32(block) != ssrc {
			continue
		}
		lost := binary.BigEndian.Uint32(block[4:]) & 0xFFFFFF
		if lost >= 1<<23 { // negative: more arrived than was sent
			lost = 0
		}
		r.remoteLost = lost
		r.remoteJitter = duration(int(min(binary.BigEndian.Uint32(block[12:]), 8000*60)))
		lsr, dlsr := binary.BigEndian.Uint32(block[16:]), binary.BigEndian.Uint32(block[20:])
		if lsr == 0 {
			continue
		}
		// RFC 3550 §6.4.1: A − LSR − DLSR, in 1/65536 s.
		trip := int32(uint32(ntp(wall)>>16) - lsr - dlsr)
		if trip >= 0 && trip < 60<<16 {
			r.roundTrip = time.Duration(int64(trip) * int64(time.Second) >> 16)
		}
	}
}
