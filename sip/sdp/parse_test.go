package sdp

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseRefuses(t *testing.T) {
	head := "v=0\no=- 1 1 IN IP4 1.2.3.4\ns=-\nc=IN IP4 1.2.3.4\nt=0 0\n"
	for _, row := range []struct{ name, text, want string }{
		{"empty", "", "empty"},
		{"not sdp", "hello", `line 1: "hello" is not a line of SDP`},
		{"no version first", "o=- 1 1 IN IP4 1.2.3.4\n", "line 1:"},
		{"other version", "v=1\n", "want one line v=0"},
		{"two versions", head + "v=0\n", "line 6:"},
		{"no origin", "v=0\ns=-\n", "no o= line"},
		{"short origin", "v=0\no=- 1 1\n", "line 2: origin"},
		{"host name", "v=0\no=- 1 1 IN IP4 a\nc=IN IP4 phone.example\n", "want an IP address"},
		{"zone", "v=0\no=- 1 1 IN IP4 a\nc=IN IP6 fe80::1%eth0\n", "without a zone"},
		{"other network", "v=0\no=- 1 1 IN IP4 a\nc=ATM X 1\n", "want \"c=IN IP4 address\""},
		{"port too high", head + "m=audio 70000 RTP/AVP 0\n", "want a number from 0 to 65535"},
		{"negative port", head + "m=audio -1 RTP/AVP 0\n", "want a number"},
		{"no formats", head + "m=audio 4000 RTP/AVP\n", "line 6: media"},
		{"not a token", head + "m=audio 4000 RTP/AVP 0\x01\n", "not a token"},
		{"long token", head + "m=audio 4000 RTP/AVP " + strings.Repeat("9", 65) + "\n", "not a token"},
		{"no address", "v=0\no=- 1 1 IN IP4 a\nt=0 0\nm=audio 4000 RTP/AVP 0\n", "has no address"},
		{"rtpmap", head + "m=audio 4000 RTP/AVP 0\na=rtpmap:PCMU\n", "line 7: rtpmap"},
		{"rtpmap rate", head + "m=audio 4000 RTP/AVP 0\na=rtpmap:0 PCMU/x\n", "clock rate"},
		{"rtcp", head + "m=audio 4000 RTP/AVP 0\na=rtcp:x\n", "want a port"},
		{"time", "v=0\no=- 1 1 IN IP4 a\nt=now\n", "want \"t=0 0\""},
		{"too large", head + strings.Repeat("a=x\n", MaxSize/4), "want at most 65536"},
		{"too many lines", head + strings.Repeat("a=x\n", MaxLines), "more than 2000 lines"},
		{"too many media", head + strings.Repeat("m=audio 4000 RTP/AVP 0\n", MaxMedia+1), "more than 32 m= lines"},
		{"too many formats", head + "m=audio 4000 RTP/AVP" + strings.Repeat(" 0", MaxFormats+1) + "\n", "129 formats"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse([]byte(row.text))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error %v, want … %s …", err, row.want)
			}
		})
	}
}

func TestParseTolerates(t *testing.T) {
	s := mustParse(t, "v=0\no=x 99999999999999999999999 abc IN IP4 phone.example\ns= \n"+
		"i=who\nb=AS:84\nk=clear\nz=0 0\nt=0 0\nt=1 2\nr=x\na=\n\n"+
		"m=AUDIO 4000/2 rtp/avp 0 8 101\nc=IN IP4 10.0.0.1 \na=ptime:20.0\na=fmtp:* x\na=rtpmap:55 none/1\n"+
		"a=fmtp:101 0-16\na=rtpmap:101 telephone-event/8000\na=rtcp:4009\n\x00")
	if s.SessionID != 0 || s.Version != 0 || s.Origin.Addr.IsValid() || s.User != "x" || s.Time != "0 0" {
		t.Errorf("origin %+v, time %q", s.Origin, s.Time)
	}
	m := s.Audio
	if m.Port != 4000 || m.Connection != netip.MustParseAddr("10.0.0.1") || m.Ptime != 20 ||
		m.RTCP.String() != "10.0.0.1:4009" {
		t.Errorf("%+v", m)
	}
	if pt, events := m.events(); pt != 101 || events != "0-16" {
		t.Errorf("telephone-event %d %q", pt, events)
	}
}

func TestEventRanges(t *testing.T) {
	for list, want := range map[string]bool{
		"0-15": false, "0-16": true, "0-15,16": true, "0-15, 16,70": true, "16": true, "": false, "0-": false, "a-b": false, "0-300": false,
	} {
		if hasEvent16(list) != want {
			t.Errorf("%q: %t", list, !want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	files, _ := filepath.Glob("testdata/phones/*.txt")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, rest, _ := bytes.Cut(b, []byte("-- offer --\n"))
		offer, rest, _ := bytes.Cut(rest, []byte("-- answer --\n"))
		answer, _, _ := bytes.Cut(rest, []byte("-- agreed --\n"))
		f.Add(offer)
		f.Add(answer)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		offer, err := Parse(b)
		if err != nil {
			return
		}
		// What was read is written so that it reads the same again.
		written := offer.Bytes()
		again, err := Parse(written)
		if err != nil {
			t.Fatalf("%v in what we wrote\n%s", err, written)
		}
		if rewritten := again.Bytes(); !bytes.Equal(written, rewritten) {
			t.Fatalf("wrote\n%s\nthen\n%s", written, rewritten)
		}
		_, _ = Accept(local(), Offer(local()), offer)
		l := local()
		if a := offer.Audio.Connection; a.IsValid() && a.Is6() {
			l.Addr = netip.MustParseAddrPort("[2001:db8::1]:20000")
		}
		answer, agreed, err := Answer(l, offer)
		if err != nil {
			return
		}
		if agreed.Remote.IsValid() && (agreed.Remote.Port() == 0 || agreed.Remote.Addr().IsUnspecified() || agreed.Remote.Addr().IsMulticast()) || agreed.Send && !agreed.Remote.IsValid() {
			t.Fatalf("agreed %s", agreed.text())
		}
		if agreed.PayloadType != PCMU && agreed.PayloadType != PCMA || agreed.Ptime <= 0 || agreed.Held && agreed.Send {
			t.Fatalf("agreed %s", agreed.text())
		}
		read, err := Parse(answer.Bytes())
		if err != nil {
			t.Fatalf("%v in our answer\n%s", err, answer.Bytes())
		}
		lines, answers := offer.Media(), read.Media()
		if len(lines) != len(answers) {
			t.Fatalf("%d m= lines answered with %d", len(lines), len(answers))
		}
		taken := 0
		for i := range lines {
			if lines[i].Kind != answers[i].Kind || lines[i].Proto != answers[i].Proto {
				t.Fatalf("line %d: %s %s answered with %s %s", i, lines[i].Kind, lines[i].Proto, answers[i].Kind, answers[i].Proto)
			}
			if answers[i].Port != 0 {
				taken++
			}
		}
		if taken != 1 {
			t.Fatalf("%d lines taken", taken)
		}
		// The offerer, reading our answer, comes to the same thing.
		if fmt.Sprint(read.Media()) != fmt.Sprint(answer.Media()) {
			t.Fatalf("answer %v read back as %v", answer.Media(), read.Media())
		}
	})
}
