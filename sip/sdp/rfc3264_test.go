package sdp

import (
	"slices"
	"strings"
	"testing"
)

// TestRFC3264 is the ledger of the sentences of RFC 3264 that we rely on: each
// row quotes one (shortened) and holds us to it. Sentences on multicast, on
// streams that are added or removed later, and on capabilities are not in it:
// we refuse multicast and never have more than one stream.
func TestRFC3264(t *testing.T) {
	answer := func(t *testing.T, l Local, lines ...string) (*Session, Agreed) {
		t.Helper()
		s, agreed, err := Answer(l, mustParse(t, offering(lines...)))
		if err != nil {
			t.Fatal(err)
		}
		return s, agreed
	}
	for _, row := range []struct {
		section, rule string
		holds         func(t *testing.T) bool
	}{
		{"5", "the numeric value of the session id and version MUST be representable with a 64 bit signed integer; the initial version MUST be less than (2**62)-1",
			func(t *testing.T) bool { s := Offer(local()); return s.SessionID>>63 == 0 && s.Version < 1<<62-1 }},
		{"5", "the \"s=\" line MUST be present",
			func(t *testing.T) bool { return strings.Contains(string(Offer(local()).Bytes()), "\r\ns=-\r\n") }},
		{"5.1", "if the session or media is sendonly or recvonly, this MUST be said; sendrecv is the default",
			func(t *testing.T) bool {
				l := local()
				l.Direction = SendOnly
				return strings.Contains(string(Offer(l).Bytes()), "a=sendonly\r\n") && mustParse(t, offering("m=audio 1 RTP/AVP 0")).Audio.Direction == SendRecv
			}},
		{"5.1", "in all cases, the formats in the m= line MUST be listed in order of preference",
			func(t *testing.T) bool {
				l := local()
				l.Codecs = []Codec{PCMA, PCMU}
				return slices.Equal(Offer(l).Audio.Formats, []string{"8", "0", "101"})
			}},
		{"6", "the answer MUST contain exactly the same number of m= lines as the offer, in the same order",
			func(t *testing.T) bool {
				s, _ := answer(t, local(), "m=video 2 RTP/AVP 96", "m=audio 4 RTP/AVP 0", "m=text 6 RTP/AVP 98")
				m := s.Media()
				return len(m) == 3 && m[0].Kind == "video" && m[1].Kind == "audio" && m[2].Kind == "text"
			}},
		{"6", "the t= line in the answer MUST equal the one in the offer",
			func(t *testing.T) bool {
				offer := mustParse(t, strings.Replace(offering("m=audio 4 RTP/AVP 0"), "t=0 0", "t=5 6", 1))
				s, _, err := Answer(local(), offer)
				return err == nil && strings.Contains(string(s.Bytes()), "\r\nt=5 6\r\n")
			}},
		{"6", "an offered stream with port zero MUST be answered with port zero; to reject a stream its port MUST be set to zero, and at least one format MUST be present",
			func(t *testing.T) bool {
				s, _ := answer(t, local(), "m=audio 0 RTP/AVP 8", "m=video 2 RTP/AVP 96", "m=audio 4 RTP/AVP 0")
				m := s.Media()
				return m[0].Port == 0 && m[1].Port == 0 && m[2].Port != 0 && len(m[0].Formats) == 1 && len(m[1].Formats) == 1
			}},
		{"6.1", "sendonly MUST be answered recvonly or inactive, recvonly sendonly or inactive, inactive inactive",
			func(t *testing.T) bool {
				for _, offered := range []Direction{SendOnly, RecvOnly, Inactive} {
					for _, ours := range []Direction{SendRecv, SendOnly, RecvOnly, Inactive} {
						l := local()
						l.Direction = ours
						s, _ := answer(t, l, "m=audio 4 RTP/AVP 0", "a="+offered.String())
						if d := s.Audio.Direction; d != offered.Mirror() && d != Inactive {
							return false
						}
					}
				}
				return true
			}},
		{"6.1", "for streams marked sendrecv or recvonly the m= line MUST contain at least one codec the answerer will use of those in the offer",
			func(t *testing.T) bool {
				s, agreed := answer(t, local(), "m=audio 4 RTP/AVP 18 8 0")
				return s.Audio.Formats[0] == "8" && agreed.PayloadType == PCMA
			}},
		{"6.1", "in the case of RTP, if a codec was referenced with a payload type in the offer, the same number SHOULD be used in the answer; the mapping is per direction",
			func(t *testing.T) bool {
				s, agreed := answer(t, local(), "m=audio 4 RTP/AVP 0 99", "a=rtpmap:99 telephone-event/8000")
				return slices.Contains(s.Audio.Formats, "99") && agreed.EventPT == 99
			}},
		{"6.1", "the answerer MUST send using a media format in the offer that is also listed in the answer",
			func(t *testing.T) bool {
				_, agreed := answer(t, local(), "m=audio 4 RTP/AVP 0")
				return agreed.PayloadType == PCMU && agreed.EventPT == 0
			}},
		{"7", "the offerer MUST send using a media format listed in the answer",
			func(t *testing.T) bool {
				agreed, err := Accept(local(), Offer(local()), mustParse(t, offering("m=audio 4 RTP/AVP 8")))
				return err == nil && agreed.PayloadType == PCMA && agreed.EventPT == 0
			}},
		{"8", "a new offer's o= line MUST be the previous one's but for the version, which MUST increment by one from the previous SDP; without a change it MUST equal it",
			func(t *testing.T) bool {
				first := Offer(local())
				same := Offer(local())
				same.Follow(first)
				l := local()
				l.Direction, l.Version, l.SessionID = SendOnly, 0, 0
				held := Offer(l)
				held.Follow(same)
				return same.Version == 3 && held.Version == 4 && held.SessionID == 77
			}},
		{"8.4", "an agent MUST be capable of receiving SDP with a connection address of 0.0.0.0, in which case neither RTP nor RTCP are to be sent to the peer",
			func(t *testing.T) bool {
				_, agreed := answer(t, local(), "m=audio 4 RTP/AVP 0", "c=IN IP4 0.0.0.0", "a=rtcp:9")
				return !agreed.Send && agreed.Held && !agreed.Remote.IsValid() && !agreed.RemoteRTCP.IsValid()
			}},
		{"8.4", "to place a stream on hold the stream is marked sendonly (or inactive if it was recvonly)",
			func(t *testing.T) bool {
				_, agreed := answer(t, local(), "m=audio 4 RTP/AVP 0", "a=sendonly")
				return agreed.Held && !agreed.Send && agreed.Receive
			}},
	} {
		t.Run(row.section+" "+row.rule[:min(40, len(row.rule))], func(t *testing.T) {
			if !row.holds(t) {
				t.Errorf("RFC 3264 §%s: %s", row.section, row.rule)
			}
		})
	}
}
