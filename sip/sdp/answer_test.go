package sdp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// local is our side in these tests.
func local() Local {
	return Local{
		Addr: netip.MustParseAddrPort("192.0.2.1:20000"), Codecs: []Codec{PCMU, PCMA}, Events: true,
		SessionID: 77, Version: 3,
	}
}

// offering makes a peer's session: our fixed head, then the given lines.
func offering(lines ...string) string {
	return "v=0\r\no=- 1 1 IN IP4 198.51.100.9\r\ns=-\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\n" +
		strings.Join(lines, "\r\n") + "\r\n"
}

func mustParse(t *testing.T, text string) *Session {
	t.Helper()
	s, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return s
}

func (a Agreed) text() string {
	addr := func(p netip.AddrPort) string {
		if !p.IsValid() {
			return "-"
		}
		return p.String()
	}
	return fmt.Sprintf("remote %s rtcp %s codec %d events %d send %t receive %t held %t ptime %d",
		addr(a.Remote), addr(a.RemoteRTCP), a.PayloadType, a.EventPT, a.Send, a.Receive, a.Held, a.Ptime)
}

// TestPhones answers what real phones offer; each file has the offer, the
// answer to it, and what is agreed.
func TestPhones(t *testing.T) {
	files, err := filepath.Glob("testdata/phones/*.txt")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, rest, ok1 := strings.Cut(string(b), "-- offer --\n")
			offer, rest, ok2 := strings.Cut(rest, "-- answer --\n")
			want, agreed, ok3 := strings.Cut(rest, "-- agreed --\n")
			if !ok1 || !ok2 || !ok3 {
				t.Fatal("want sections offer, answer, agreed")
			}
			for _, dialect := range []string{offer, strings.ReplaceAll(offer, "\n", "\r\n")} {
				answer, got, err := Answer(local(), mustParse(t, dialect))
				if err != nil {
					t.Fatal(err)
				}
				if text := strings.ReplaceAll(string(answer.Bytes()), "\r\n", "\n"); text != want {
					t.Errorf("answer\n%s\nwant\n%s", text, want)
				}
				if got.text() != strings.TrimSpace(agreed) {
					t.Errorf("agreed %s\nwant   %s", got.text(), agreed)
				}
			}
		})
	}
}

func TestHoldDialects(t *testing.T) {
	const codec = "m=audio 4000 RTP/AVP 0"
	for _, row := range []struct {
		name    string
		offer   []string
		ours    Direction
		answer  string
		send    bool
		receive bool
		held    bool
	}{
		{"talk", []string{codec}, SendRecv, "sendrecv", true, true, false},
		{"sendonly", []string{codec, "a=sendonly"}, SendRecv, "recvonly", false, true, true},
		{"inactive", []string{codec, "a=inactive"}, SendRecv, "inactive", false, false, true},
		{"recvonly is no hold", []string{codec, "a=recvonly"}, SendRecv, "sendonly", true, false, false},
		{"session level", []string{"a=sendonly", codec}, SendRecv, "recvonly", false, true, true},
		{"media level wins", []string{"a=sendonly", codec, "a=sendrecv"}, SendRecv, "sendrecv", true, true, false},
		{"unspecified address", []string{codec, "c=IN IP4 0.0.0.0"}, SendRecv, "recvonly", false, true, true},
		{"unspecified and inactive", []string{codec, "c=IN IP4 0.0.0.0", "a=inactive"}, SendRecv, "inactive", false, false, true},
		{"we hold them", []string{codec}, SendOnly, "sendonly", true, false, false},
		{"both hold", []string{codec, "a=sendonly"}, SendOnly, "inactive", false, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := local()
			l.Direction = row.ours
			answer, got, err := Answer(l, mustParse(t, offering(row.offer...)))
			if err != nil {
				t.Fatal(err)
			}
			if answer.Audio.Direction.String() != row.answer || got.Send != row.send || got.Receive != row.receive || got.Held != row.held {
				t.Errorf("answer %s, agreed %s", answer.Audio.Direction, got.text())
			}
			if strings.Contains(row.name, "unspecified") && got.Remote.IsValid() {
				t.Errorf("sends to %s", got.Remote)
			}
		})
	}
}

func TestAnswerRefuses(t *testing.T) {
	for _, row := range []struct {
		name, want string
		offer      []string
	}{
		{"no audio", "no audio", []string{"m=video 4000 RTP/AVP 96"}},
		{"no media at all", "no audio", nil},
		{"encrypted", "RTP/SAVP is not supported", []string{"m=audio 4000 RTP/SAVP 0"}},
		{"browser", "UDP/TLS/RTP/SAVPF is not supported", []string{"m=audio 4000 UDP/TLS/RTP/SAVPF 0"}},
		{"other codecs", "payload types 18 96", []string{"m=audio 4000 RTP/AVP 18 96", "a=rtpmap:96 opus/48000/2"}},
		{"switched off", "port 0", []string{"m=audio 0 RTP/AVP 0"}},
		{"static type misused", "payload types 0", []string{"m=audio 4000 RTP/AVP 0", "a=rtpmap:0 G722/8000"}},
		{"multicast", "224.2.1.1 is not the address", []string{"m=audio 4000 RTP/AVP 0", "c=IN IP4 224.2.1.1/127"}},
		{"broadcast", "255.255.255.255", []string{"m=audio 4000 RTP/AVP 0", "c=IN IP4 255.255.255.255"}},
		{"other family", "address family", []string{"m=audio 4000 RTP/AVP 0", "c=IN IP6 2001:db8::1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, _, err := Answer(local(), mustParse(t, offering(row.offer...)))
			if !errors.Is(err, ErrNoCommonCodec) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error %v, want no common codec: … %s …", err, row.want)
			}
		})
	}
}

func TestIPv6(t *testing.T) {
	l := local()
	l.Addr = netip.MustParseAddrPort("[2001:db8::1]:20000")
	offer := mustParse(t, "v=0\no=- 1 1 IN IP6 2001:db8::2\ns=-\nc=IN IP6 2001:db8::2\nt=0 0\nm=audio 5004 RTP/AVP 0\na=rtcp:5010\n")
	answer, got, err := Answer(l, offer)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(answer.Bytes()), "c=IN IP6 2001:db8::1\r\n") {
		t.Errorf("answer\n%s", answer.Bytes())
	}
	if got.Remote.String() != "[2001:db8::2]:5004" || got.RemoteRTCP.String() != "[2001:db8::2]:5010" {
		t.Error(got.text())
	}
}

func TestOfferIsReadAsMeant(t *testing.T) {
	const want = "v=0\r\no=- 77 3 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n" +
		"m=audio 20000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n" +
		"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
	if got := string(Offer(local()).Bytes()); got != want {
		t.Errorf("offer\n%s\nwant\n%s", got, want)
	}
}

func TestAccept(t *testing.T) {
	for _, row := range []struct {
		name   string
		ours   Direction
		answer []string
		want   string
	}{
		{"both codecs named", SendRecv, []string{"m=audio 4000 RTP/AVP 8 0 101", "a=rtpmap:101 telephone-event/8000"},
			"remote 198.51.100.9:4000 rtcp - codec 8 events 101 send true receive true held false ptime 20"},
		{"no events", SendRecv, []string{"m=audio 4000 RTP/AVP 0", "a=ptime:30"},
			"remote 198.51.100.9:4000 rtcp - codec 0 events 0 send true receive true held false ptime 30"},
		{"their own number for events", SendRecv, []string{"m=audio 4000 RTP/AVP 0 97", "a=rtpmap:97 telephone-event/8000"},
			"remote 198.51.100.9:4000 rtcp - codec 0 events 97 send true receive true held false ptime 20"},
		{"we hold", SendOnly, []string{"m=audio 4000 RTP/AVP 0", "a=recvonly"},
			"remote 198.51.100.9:4000 rtcp - codec 0 events 0 send true receive false held false ptime 20"},
		{"a hold answered with sendrecv", SendOnly, []string{"m=audio 4000 RTP/AVP 0"},
			"remote 198.51.100.9:4000 rtcp - codec 0 events 0 send true receive false held false ptime 20"},
		{"they hold us in the answer", SendRecv, []string{"m=audio 4000 RTP/AVP 0", "a=sendonly"},
			"remote 198.51.100.9:4000 rtcp - codec 0 events 0 send false receive true held true ptime 20"},
		{"they hold us the old way", SendRecv, []string{"m=audio 4000 RTP/AVP 0", "c=IN IP4 0.0.0.0"},
			"remote - rtcp - codec 0 events 0 send false receive true held true ptime 20"},
		{"our inactive is no hold of theirs", Inactive, []string{"m=audio 4000 RTP/AVP 0", "a=inactive"},
			"remote 198.51.100.9:4000 rtcp - codec 0 events 0 send false receive false held false ptime 20"},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := local()
			l.Direction = row.ours
			got, err := Accept(l, Offer(l), mustParse(t, offering(row.answer...)))
			if err != nil {
				t.Fatal(err)
			}
			if got.text() != row.want {
				t.Errorf("got  %s\nwant %s", got.text(), row.want)
			}
		})
	}
	for _, refused := range [][]string{
		{"m=audio 0 RTP/AVP 0"}, {"m=audio 4000 RTP/AVP 18"}, {"m=video 4000 RTP/AVP 0"}, nil,
	} {
		if _, err := Accept(local(), Offer(local()), mustParse(t, offering(refused...))); !errors.Is(err, ErrNoCommonCodec) {
			t.Errorf("%v: error %v", refused, err)
		}
	}
}
