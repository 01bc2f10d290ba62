package media

import (
	"bytes"
	"testing"
)

// The reference of these tests is the text of G.711 itself, not another way to
// shift bits: Tables 1a and 2a list decision values x(n); a sample is coded as
// the number of decision values that it reaches, and decoded as the middle
// between two.

// ulawDecisions are x(1) to x(128) of Table 2a, in units of the 14-bit scale.
func ulawDecisions() (x []int) {
	v := 1
	for segment := range 8 {
		steps := 16
		if segment == 0 {
			x = append(x, v)
			steps = 15
		}
		for range steps {
			v += 2 << segment
			x = append(x, v)
		}
	}
	return x
}

// alawDecisions are x(1) to x(128) of Table 1a, in units of the 13-bit scale.
func alawDecisions() (x []int) {
	v := 0
	for segment := range 8 {
		for range 16 {
			v += 2 << max(0, segment-1)
			x = append(x, v)
		}
	}
	return x
}

func TestDecisionValuesAreThoseOfTheRecommendation(t *testing.T) {
	u, a := ulawDecisions(), alawDecisions()
	// Rows that the Recommendation prints.
	for n, v := range map[int]int{1: 1, 2: 3, 16: 31, 17: 35, 32: 95, 48: 223, 64: 479, 80: 991, 96: 2015, 112: 4063, 113: 4319, 127: 7903, 128: 8159} {
		if u[n-1] != v {
			t.Errorf("µ-law x(%d) = %d, expected %d", n, u[n-1], v)
		}
	}
	for n, v := range map[int]int{16: 32, 32: 64, 48: 128, 64: 256, 80: 512, 96: 1024, 112: 2048, 113: 2176, 127: 3968, 128: 4096} {
		if a[n-1] != v {
			t.Errorf("A-law x(%d) = %d, expected %d", n, a[n-1], v)
		}
	}
}

// reach is how many decision values v reaches, at most 127.
func reach(x []int, v int) int {
	n := 0
	for n < 127 && v >= x[n] {
		n++
	}
	return n
}

func TestEncodingEverySample(t *testing.T) {
	u, a := ulawDecisions(), alawDecisions()
	for i := -32768; i <= 32767; i++ {
		// A 16-bit sample is brought to the coder's scale by dropping bits, below
		// zero in one's complement (ITU-T G.191).
		mag, su, sa := i, byte(0x80), byte(0x80)
		if i < 0 {
			mag, su, sa = ^i, 0, 0
		}
		// Codes number the values upwards; µ-law then inverts all bits but the
		// sign, A-law every other bit.
		if got, expect := EncodeULaw(int16(i)), (byte(reach(u, mag>>2))^0x7F)|su; got != expect {
			t.Fatalf("µ-law of %d is %#02x, expected %#02x", i, got, expect)
		}
		if got, expect := EncodeALaw(int16(i)), (byte(reach(a, mag>>3))|sa)^0x55; got != expect {
			t.Fatalf("A-law of %d is %#02x, expected %#02x", i, got, expect)
		}
	}
}

func TestDecodingEveryCode(t *testing.T) {
	u, a := ulawDecisions(), alawDecisions()
	for n := range 128 {
		y := 0 // µ-law value 0 is 0; the others are the middle of their interval
		if n > 0 {
			y = (u[n-1] + u[n]) / 2 * 4
		}
		code := byte(n) ^ 0x7F
		if got := DecodeULaw(code | 0x80); int(got) != y {
			t.Errorf("µ-law code %#02x is %d, expected %d", code|0x80, got, y)
		}
		if got := DecodeULaw(code); int(got) != -y {
			t.Errorf("µ-law code %#02x is %d, expected %d", code, got, -y)
		}
		low := 0
		if n > 0 {
			low = a[n-1]
		}
		y = (low + a[n]) * 8 / 2
		if got := DecodeALaw((byte(n) | 0x80) ^ 0x55); int(got) != y {
			t.Errorf("A-law value %d is %d, expected %d", n, got, y)
		}
		if got := DecodeALaw(byte(n) ^ 0x55); int(got) != -y {
			t.Errorf("A-law value -%d is %d, expected %d", n, got, -y)
		}
	}
}

// Rows of Tables 3 and 4, including those in which decoding and encoding again
// would give a neighbour. Values are numbered as there, from 1 in A-law and
// from 0 in µ-law.
func TestConversionRows(t *testing.T) {
	for u, a := range map[int]int{0: 1, 1: 1, 2: 2, 15: 8, 16: 9, 31: 24, 32: 25, 33: 27, 35: 31, 36: 33, 47: 44, 48: 46, 49: 48, 63: 62, 64: 64, 79: 79, 80: 80, 81: 82, 96: 97, 127: 128} {
		for _, sign := range []byte{0, 0x80} {
			if got, expect := ULawToALaw(byte(u)^0xFF^sign), byte(a-1)^0xD5^sign; got != expect {
				t.Errorf("µ-law value %d: %#02x, expected %#02x", u, got, expect)
			}
		}
	}
	for a, u := range map[int]int{1: 1, 2: 3, 8: 15, 9: 16, 25: 32, 26: 32, 33: 36, 45: 48, 46: 48, 48: 49, 49: 50, 63: 64, 64: 64, 65: 65, 79: 79, 80: 80, 81: 80, 82: 81, 97: 96, 128: 127} {
		for _, sign := range []byte{0, 0x80} {
			if got, expect := ALawToULaw(byte(a-1)^0xD5^sign), byte(u)^0xFF^sign; got != expect {
				t.Errorf("A-law value %d: %#02x, expected %#02x", a, got, expect)
			}
		}
	}
}

func TestConversionKeepsSignAndOrderAndSettles(t *testing.T) {
	for i := range 256 {
		b := byte(i)
		u := DecodeULaw(b)
		a := DecodeALaw(ULawToALaw(b))
		step := max(8, abs(int(u))/16+8)
		if abs(int(a)-int(u)) > step {
			t.Errorf("µ-law %#02x: %d became %d", b, u, a)
		}
		once := ULawToALaw(b)
		if again := ULawToALaw(ALawToULaw(once)); again != once {
			t.Errorf("µ-law %#02x: A-law %#02x changes to %#02x by another passage", b, once, again)
		}
	}
}

func abs(x int) int { return max(x, -x) }

func TestSlicesDoAsSingles(t *testing.T) {
	pcm := tone(1000)
	u, a := make([]byte, 1000), make([]byte, 1000)
	EncodeULaws(u, pcm)
	EncodeALaws(a, pcm)
	du, da := make([]int16, 1000), make([]int16, 1000)
	DecodeULaws(du, u)
	DecodeALaws(da, a)
	ua, au := make([]byte, 1000), make([]byte, 1000)
	ULawsToALaws(ua, u)
	ALawsToULaws(au, a)
	for i, x := range pcm {
		if u[i] != EncodeULaw(x) || a[i] != EncodeALaw(x) || du[i] != DecodeULaw(u[i]) || da[i] != DecodeALaw(a[i]) ||
			ua[i] != ULawToALaw(u[i]) || au[i] != ALawToULaw(a[i]) {
			t.Fatalf("sample %d differs", i)
		}
	}
	if DecodeULaw(PCMU.Quiet()) != 0 || abs(int(DecodeALaw(PCMA.Quiet()))) > 8 {
		t.Error("silence is not silent")
	}
}

func TestClip(t *testing.T) {
	pcm := tone(500)
	c := NewClip(pcm)
	if c.Samples() != 500 || c.Duration().Microseconds() != 62500 {
		t.Errorf("%d samples, %v", c.Samples(), c.Duration())
	}
	b := toneIn(PCMA, 500)
	fromA := NewClipG711(PCMA, b)
	if !bytes.Equal(fromA.Bytes(PCMA), c.Bytes(PCMA)) {
		t.Error("the clip's own law was changed")
	}
	expect := make([]byte, 500)
	ALawsToULaws(expect, b)
	if !bytes.Equal(fromA.Bytes(PCMU), expect) {
		t.Error("the other law is not the conversion")
	}
	b[0]++
	if fromA.Bytes(PCMA)[0] == b[0] {
		t.Error("the clip shares the caller's bytes")
	}
	var none *Clip
	if none.Samples() != 0 || none.Bytes(PCMU) != nil || none.Duration() != 0 {
		t.Error("a nil clip is not empty")
	}
}
