package media

import "encoding/binary"

// header is the part of an RTP header that matters here.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|V=2|P|X|  CC   |M|     PT      |       sequence number         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                           timestamp                           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           synchronization source (SSRC) identifier            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type header struct {
	marker bool
	pt     uint8
	seq    uint16
	ts     uint32
	ssrc   uint32
}

const headerLength = 12

const ptComfortNoise = 13 // RFC 3389, RFC 3551 §6

// parseRTP reads an RTP packet (RFC 3550 §5.1). The payload is a part of b,
// without contributing sources, extension and padding. ok is false when b is
// not RTP of version 2 or its lengths contradict each other.
func parseRTP(b []byte) (h header, payload []byte, ok bool) {
	if len(b) < headerLength || b[0]>>6 != 2 {
		return h, nil, false
	}
	h = header{
		marker: b[1]&0x80 != 0,
		pt:     b[1] & 0x7F,
		seq:    binary.BigEndian.Uint16(b[2:]),
		ts:     binary.BigEndian.Uint32(b[4:]),
		ssrc:   binary.BigEndian.Uint32(b[8:]),
	}
	payload = b[headerLength:]
	if b[0]&0x1F != 0 { // an extension or contributing sources: rare
		n := 4 * int(b[0]&0x0F)
		if len(payload) < n {
			return h, nil, false
		}
		payload = payload[n:]
		if b[0]&0x10 != 0 {
			if len(payload) < 4 {
				return h, nil, false
			}
			n = 4 + 4*int(binary.BigEndian.Uint16(payload[2:]))
			if len(payload) < n {
				return h, nil, false
			}
			payload = payload[n:]
		}
	}
	if b[0]&0x20 != 0 {
		if len(payload) == 0 {
			return h, nil, false
		}
		n := int(payload[len(payload)-1])
		if n == 0 || n > len(payload) {
			return h, nil, false
		}
		payload = payload[:len(payload)-n]
	}
	return h, payload, true
}

// put writes the header into the first 12 bytes of b.
func (h header) put(b []byte) {
	_ = b[headerLength-1]
	b[0] = 2 << 6
	b[1] = h.pt
	if h.marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], h.seq)
	binary.BigEndian.PutUint32(b[4:], h.ts)
	binary.BigEndian.PutUint32(b[8:], h.ssrc)
}

// isRTCP tells RTCP from RTP when both arrive on one port (RFC 5761 §4): RTCP
// packet types 200 to 204 would be RTP payload types 72 to 76 with the marker.
func isRTCP(b []byte) bool {
	return len(b) >= 8 && b[0]>>6 == 2 && b[1] >= 200 && b[1] <= 204
}
