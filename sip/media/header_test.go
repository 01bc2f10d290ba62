package media

import (
	"bytes"
	"testing"

	"github.com/pion/rtp"
)

func TestHeaderIsReadAsPionReadsIt(t *testing.T) {
	p := rtp.Packet{
		Header: rtp.Header{
			Version: 2, Marker: true, PayloadType: 8, SequenceNumber: 65535, Timestamp: 4e9, SSRC: 0xCAFEBABE,
			CSRC: []uint32{1, 2, 3},
		},
		Payload: []byte("sound"), PaddingSize: 7,
	}
	p.Header.Padding = true
	if err := p.Header.SetExtension(1, []byte{42}); err != nil {
		t.Fatal(err)
	}
	b, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	h, payload, ok := parseRTP(b)
	if !ok || h != (header{true, 8, 65535, 4e9, 0xCAFEBABE}) || string(payload) != "sound" {
		t.Errorf("read %+v %q %v", h, payload, ok)
	}
}

func TestHeaderRefusesJunk(t *testing.T) {
	good := rtpPacket(header{seq: 1}, []byte{1, 2, 3, 4})
	for name, b := range map[string][]byte{
		"empty":                       {},
		"keepalive of Linphone":       make([]byte, 20),
		"CRLF keepalive":              []byte("\r\n\r\n"),
		"short":                       good[:11],
		"STUN":                        append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42}, make([]byte, 12)...),
		"version 1":                   append([]byte{1 << 6}, good[1:]...),
		"sources beyond the end":      append([]byte{2<<6 | 2}, good[1:]...),
		"extension beyond the end":    append([]byte{2<<6 | 0x10}, good[1:]...),
		"padding longer than payload": append([]byte{2<<6 | 0x20}, append(good[1:15:15], 5)...),
		"padding of nothing":          append([]byte{2<<6 | 0x20}, append(good[1:15:15], 0)...),
	} {
		if _, _, ok := parseRTP(b); ok {
			t.Errorf("%s was taken for RTP", name)
		}
	}
}

func FuzzRTP(f *testing.F) {
	f.Add(rtpPacket(header{marker: true, pt: 101, seq: 7, ts: 8, ssrc: 9}, []byte{1, 10, 0, 160}))
	f.Add(append([]byte{2<<6 | 0x3F}, make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, ok := parseRTP(b)
		if !ok {
			return
		}
		var theirs rtp.Packet
		if err := theirs.Unmarshal(bytes.Clone(b)); err == nil {
			if theirs.SequenceNumber != h.seq || theirs.Timestamp != h.ts || theirs.SSRC != h.ssrc ||
				theirs.Marker != h.marker || theirs.PayloadType != h.pt || !bytes.Equal(theirs.Payload, payload) {
				t.Errorf("read %+v %x, pion reads %v %x", h, payload, theirs, theirs.Payload)
			}
		}
		var again [headerLength]byte
		h.put(again[:])
		if h2, _, ok := parseRTP(again[:]); !ok || h2 != h {
			t.Errorf("%+v written and read is %+v", h, h2)
		}
		parseEvent(payload)
	})
}
