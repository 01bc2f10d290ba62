//go:build e2e

package main_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"golang.org/x/sys/unix"

	"hotline/sip/media"
)

// wire is what passed between one address and its peers over UDP: SIP as text,
// for the failures that need explaining, and RTP as packets, for phones that
// can't record what they hear.
type wire struct {
	at netip.Addr

	mu  sync.Mutex
	sip []sipOnWire
	rtp map[netip.AddrPort][]rtpOnWire // by destination
	n   int
}

type sipOnWire struct {
	at       time.Time
	from, to netip.AddrPort
	text     string
}

type rtpOnWire struct {
	at     time.Time
	from   netip.AddrPort
	packet rtp.Packet
}

// mostOnWire bounds what is kept; 100,000 packets are half an hour of one stream.
const mostOnWire = 100_000

// taps listens to all that one loopback address sends and receives, until the
// test ends.
func taps(t *testing.T, at netip.Addr) *wire {
	t.Helper()
	// The kernel wants the protocol in network order. Asked for IP alone, it shows
	// each packet once: where it arrives.
	ip := int(binary.NativeEndian.Uint16([]byte{unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff}))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, ip)
	if err != nil {
		cannotRun(t, fmt.Sprintf("can't listen on the loopback interface: %v", err))
	}
	// Reads end now and then, to see whether the test has.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		t.Fatal(err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20) // a wish
	w := &wire{at: at, rtp: map[netip.AddrPort][]rtpOnWire{}}
	over, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with over
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			select {
			case <-over:
				return
			default:
			}
			if n, _, err := unix.Recvfrom(fd, b, 0); err == nil { // else a time-out, or a signal
				w.packet(time.Now(), b[:n])
			}
		}
	}()
	t.Cleanup(func() {
		close(over)
		<-done
		_ = unix.Close(fd)
		if t.Failed() {
			t.Logf("what %s sent and received over UDP:\n%s", at, w.transcript())
		}
	})
	return w
}

// packet takes one IPv4 packet.
func (w *wire) packet(at time.Time, b []byte) {
	if len(b) < 28 || b[0]>>4 != 4 || b[9] != unix.IPPROTO_UDP {
		return
	}
	head := int(b[0]&15) * 4
	if len(b) < head+8 {
		return
	}
	from, to := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	if from != w.at && to != w.at {
		return
	}
	udp := b[head:]
	source := netip.AddrPortFrom(from, binary.BigEndian.Uint16(udp))
	target := netip.AddrPortFrom(to, binary.BigEndian.Uint16(udp[2:]))
	body := udp[8:]

	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n++; w.n > mostOnWire {
		return
	}
	if source.Port() == sipPort && from == w.at || target.Port() == sipPort && to == w.at {
		w.sip = append(w.sip, sipOnWire{at, source, target, string(body)})
		return
	}
	if len(body) < 12 || body[0]>>6 != 2 || body[1]&0x7f >= 72 && body[1]&0x7f <= 76 { // RTCP, RFC 5761 §4
		return
	}
	p := rtpOnWire{at: at, from: source}
	if p.packet.Unmarshal(append([]byte(nil), body...)) == nil {
		w.rtp[target] = append(w.rtp[target], p)
	}
}

// messages gives the SIP messages that hold all the given texts.
func (w *wire) messages(holding ...string) []sipOnWire {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []sipOnWire
next:
	for _, m := range w.sip {
		for _, h := range holding {
			if !strings.Contains(m.text, h) {
				continue next
			}
		}
		found = append(found, m)
	}
	return found
}

// heard is the sound that was sent to a port, placed by its RTP time.
func (w *wire) heard(to netip.AddrPort) []int16 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var pcm []int16
	var first uint32
	for i, p := range w.rtp[to] {
		if i == 0 {
			first = p.packet.Timestamp
		}
		from := int(int32(p.packet.Timestamp - first))
		if from < 0 || from > 30*60*soundRate {
			continue
		}
		if n := from + len(p.packet.Payload); n > len(pcm) {
			pcm = append(pcm, make([]int16, n-len(pcm))...)
		}
		switch p.packet.PayloadType {
		case uint8(media.PCMU):
			media.DecodeULaws(pcm[from:], p.packet.Payload)
		case uint8(media.PCMA):
			media.DecodeALaws(pcm[from:], p.packet.Payload)
		}
	}
	return pcm
}

// transcript is what passed, for a person: a line for each SIP message with what
// tells it apart, and one for each stream.
func (w *wire) transcript() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, m := range w.sip {
		first, _, _ := strings.Cut(m.text, "\r\n")
		fmt.Fprintf(&b, "%s %s > %s  %s", m.at.Format("15:04:05.000"), m.from, m.to, first)
		a := answer{text: m.text}
		for _, h := range []string{"CSeq", "Call-ID", "Reason", "Contact"} {
			if v := a.header(h); v != "" {
				fmt.Fprintf(&b, " | %s: %s", h, v)
			}
		}
		if _, sdp, ok := strings.Cut(m.text, "\r\nm="); ok {
			sdp, _, _ = strings.Cut(sdp, "\r\n")
			fmt.Fprintf(&b, " | m=%s", sdp)
		}
		b.WriteByte('\n')
	}
	for to, packets := range w.rtp {
		for i, p := range packets {
			if i == 0 || p.from != packets[i-1].from || p.packet.PayloadType != packets[i-1].packet.PayloadType || p.packet.SSRC != packets[i-1].packet.SSRC {
				fmt.Fprintf(&b, "%s %s > %s  RTP payload type %d SSRC %x seq %d ts %d, packet %d of %d\n", p.at.Format("15:04:05.000"), p.from, to,
					p.packet.PayloadType, p.packet.SSRC, p.packet.SequenceNumber, p.packet.Timestamp, i, len(packets))
			}
		}
	}
	return b.String()
}
