package media

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestReportIsReadByPion(t *testing.T) {
	r := reporter{cname: [16]byte([]byte("0123456789abcdef")), peerSSRC: 7, peerSR: 0x12345678, peerAt: time.Second, peerSent: true}
	s := sender{ssrc: 42, zero: 1000, packets: 5, octets: 800}
	var rx reception
	for i := range 10 {
		if i == 3 || i == 4 {
			continue // lost
		}
		rx.packet(header{seq: uint16(65532 + i), ts: uint32(160 * i), ssrc: 7}, true, time.Duration(i)*frame)
	}
	var buf [512]byte
	b := r.write(buf[:], &s, &rx, 3*time.Second, noon.Add(500*time.Millisecond), 1<<31, true)
	packets, err := rtcp.Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(packets) != 3 {
		t.Fatalf("%d packets", len(packets))
	}
	if err := rtcp.CompoundPacket(packets[:2]).Validate(); err != nil {
		t.Error(err)
	}
	sr := packets[0].(*rtcp.SenderReport)
	if sr.SSRC != 42 || sr.PacketCount != 5 || sr.OctetCount != 800 || sr.RTPTime != 1000+3*8000 {
		t.Errorf("sender report %+v", sr)
	}
	if sec, frac := sr.NTPTime>>32, uint32(sr.NTPTime); sec != uint64(noon.Unix())+2208988800 || frac != 1<<31 {
		t.Errorf("NTP time %d.%#x", sec, frac)
	}
	block := sr.Reports[0]
	if block.SSRC != 7 || block.TotalLost != 2 || block.FractionLost != 2*256/10 || block.LastSequenceNumber != 1<<16|5 ||
		block.LastSenderReport != 0x12345678 || block.Delay != 2<<16 {
		t.Errorf("report block %+v", block)
	}
	if sdes := packets[1].(*rtcp.SourceDescription); sdes.Chunks[0].Source != 42 || sdes.Chunks[0].Items[0].Text != "0123456789abcdef" {
		t.Errorf("description %+v", sdes)
	}
	if bye := packets[2].(*rtcp.Goodbye); bye.Sources[0] != 42 {
		t.Errorf("goodbye %+v", bye)
	}
	if r.due != 3*time.Second+rtcpInterval {
		t.Errorf("the next report is due at %v", r.due)
	}
	// Nothing sent since: a receiver report.
	b = r.write(buf[:], &s, &reception{}, 8*time.Second, noon, 0, false)
	if packets, err = rtcp.Unmarshal(b); err != nil {
		t.Fatal(err)
	}
	if rr, ok := packets[0].(*rtcp.ReceiverReport); !ok || len(rr.Reports) != 0 || len(packets) != 2 {
		t.Errorf("silent and deaf, the report is %v", packets)
	}
}

func TestReportsAreReadAsPionWritesThem(t *testing.T) {
	var r reporter
	sentAt := uint32(ntp(noon) >> 16)
	b, err := rtcp.Marshal([]rtcp.Packet{
		&rtcp.SenderReport{SSRC: 7, NTPTime: 0x1111_2222_3333_4444, Reports: []rtcp.ReceptionReport{
			{SSRC: 1, TotalLost: 99},
			{SSRC: 42, TotalLost: 12, Jitter: 80, LastSenderReport: sentAt, Delay: 1 << 15},
		}},
		&rtcp.Goodbye{Sources: []uint32{7}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !r.read(b, 42, 5*time.Second, noon.Add(750*time.Millisecond)) {
		t.Fatal("refused")
	}
	if r.remoteLost != 12 || r.remoteJitter != 10*time.Millisecond || r.roundTrip != 250*time.Millisecond {
		t.Errorf("lost %d, jitter %v, round trip %v", r.remoteLost, r.remoteJitter, r.roundTrip)
	}
	if r.peerSR != 0x2222_3333 || r.peerAt != 5*time.Second {
		t.Errorf("last SR %#x at %v", r.peerSR, r.peerAt)
	}
	// A report from before our first SR tells no round trip, a clock error none either.
	for _, lsr := range []uint32{0, sentAt + 10<<16} {
		b, _ = rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 7, Reports: []rtcp.ReceptionReport{{SSRC: 42, LastSenderReport: lsr}}}})
		if !r.read(b, 42, 0, noon) || r.roundTrip != 250*time.Millisecond {
			t.Errorf("round trip %v", r.roundTrip)
		}
	}
	// Less than nothing lost: duplicates.
	binary.BigEndian.PutUint32(b[12:], 0x00FFFFFF)
	if !r.read(b, 42, 0, noon) || r.remoteLost != 0 {
		t.Errorf("lost %d", r.remoteLost)
	}
}

func TestReportsAreVaried(t *testing.T) {
	var r reporter
	r.begin(0, 0)
	if r.due != 1250*time.Millisecond {
		t.Errorf("first report at the earliest at %v", r.due)
	}
	if d := vary(rtcpInterval, 1<<32-1); d <= 7499*time.Millisecond || d > 7500*time.Millisecond {
		t.Errorf("the longest interval is %v", d)
	}
	if d := vary(rtcpInterval, 0); d != 2500*time.Millisecond {
		t.Errorf("the shortest interval is %v", d)
	}
}

func FuzzRTCP(f *testing.F) {
	var buf [512]byte
	var rx reception
	rx.packet(header{ssrc: 7}, true, 0)
	r := reporter{}
	f.Add(append([]byte(nil), r.write(buf[:], &sender{ssrc: 42, packets: 1}, &rx, 0, noon, 0, true)...))
	f.Add([]byte{0x81, 201, 0, 7, 0, 0, 0, 1})
	f.Add([]byte{0x9F, 200, 0xFF, 0xFF, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r reporter
		r.read(b, 42, time.Second, noon)
		if r.roundTrip < 0 || r.roundTrip > time.Minute || r.remoteJitter < 0 || r.remoteLost >= 1<<23 {
			t.Errorf("impossible figures: %+v", r)
		}
	})
}
