package media

// G.711 codes a sample of sound in one byte, in two dialects ("laws"): µ-law in
// North America and Japan, A-law elsewhere. The tables here are those of ITU-T
// G.711 (11/88): Tables 1 and 2 for coding, Tables 3 and 4 for passing from
// one law to the other without decoding.

// Codec is the law of a stream, numbered as its static RTP payload type
// (RFC 3551 §6).
type Codec uint8

const (
	PCMU Codec = 0 // µ-law
	PCMA Codec = 8 // A-law
)

// String gives the encoding name as SDP writes it.
func (c Codec) String() string {
	switch c {
	case PCMU:
		return "PCMU"
	case PCMA:
		return "PCMA"
	}
	return "unknown"
}

// Valid reports whether c is one of the two laws.
func (c Codec) Valid() bool { return c == PCMU || c == PCMA }

// Quiet is the code of silence.
func (c Codec) Quiet() byte {
	if c == PCMA {
		return 0xD5
	}
	return 0xFF
}

var (
	ulawLinear = decodeTable(decodeULaw)
	alawLinear = decodeTable(decodeALaw)

	// µ-law has 14 significant bits, A-law 13 of which the lowest never
	// matters, so the tables are indexed by the sample's upper bits.
	linearULaw = encodeTable[[1 << 14]byte](2, encodeULaw)
	linearALaw = encodeTable[[1 << 12]byte](4, encodeALaw)

	ulawALaw = convertTable(0xFF, 0xD5, ulawToALawRuns)
	alawULaw = convertTable(0xD5, 0xFF, alawToULawRuns)
)

// EncodeULaw codes a 16-bit linear sample in µ-law.
func EncodeULaw(x int16) byte { return linearULaw[uint16(x)>>2] }

// EncodeALaw codes a 16-bit linear sample in A-law.
func EncodeALaw(x int16) byte { return linearALaw[uint16(x)>>4] }

// DecodeULaw gives the 16-bit linear sample of a µ-law code.
func DecodeULaw(b byte) int16 { return ulawLinear[b] }

// DecodeALaw gives the 16-bit linear sample of an A-law code.
func DecodeALaw(b byte) int16 { return alawLinear[b] }

// ULawToALaw converts one code by Table 3 of G.711.
func ULawToALaw(b byte) byte { return ulawALaw[b] }

// ALawToULaw converts one code by Table 4 of G.711.
func ALawToULaw(b byte) byte { return alawULaw[b] }

// EncodeULaws codes pcm into dst, which must be at least as long.
func EncodeULaws(dst []byte, pcm []int16) {
	dst = dst[:len(pcm)]
	for i, x := range pcm {
		dst[i] = linearULaw[uint16(x)>>2]
	}
}

// EncodeALaws codes pcm into dst, which must be at least as long.
func EncodeALaws(dst []byte, pcm []int16) {
	dst = dst[:len(pcm)]
	for i, x := range pcm {
		dst[i] = linearALaw[uint16(x)>>4]
	}
}

// DecodeULaws decodes b into dst, which must be at least as long.
func DecodeULaws(dst []int16, b []byte) {
	dst = dst[:len(b)]
	for i, c := range b {
		dst[i] = ulawLinear[c]
	}
}

// DecodeALaws decodes b into dst, which must be at least as long.
func DecodeALaws(dst []int16, b []byte) {
	dst = dst[:len(b)]
	for i, c := range b {
		dst[i] = alawLinear[c]
	}
}

// ULawsToALaws converts src into dst, which must be at least as long and may be src.
func ULawsToALaws(dst, src []byte) { translate(dst, src, &ulawALaw) }

// ALawsToULaws converts src into dst, which must be at least as long and may be src.
func ALawsToULaws(dst, src []byte) { translate(dst, src, &alawULaw) }

// convert brings src from one law to the other; equal laws are copied.
func convert(dst []byte, to Codec, src []byte, from Codec) {
	switch {
	case from == to:
		copy(dst[:len(src)], src)
	case to == PCMA:
		ULawsToALaws(dst, src)
	default:
		ALawsToULaws(dst, src)
	}
}

func translate(dst, src []byte, table *[256]byte) {
	dst = dst[:len(src)]
	for i, c := range src {
		dst[i] = table[c]
	}
}

// A µ-law code is inverted on the wire and holds sign, segment and step:
//
//	7   6 5 4   3 2 1 0
//	S   segment step       value = (2·step + 33)·2^segment − 33, 14 bits
func decodeULaw(b byte) int16 {
	b = ^b
	v := int16(b&0x0F)<<3 + 0x84
	v = v<<(b>>4&7) - 0x84
	if b&0x80 != 0 {
		return -v
	}
	return v
}

func encodeULaw(x int16) byte {
	const bias = 33
	sign, v := byte(0), int(x)>>2
	if v < 0 {
		sign, v = 0x80, ^v
	}
	v = min(v+bias, 0x1FFF)
	segment := byte(0)
	for ; v > 63; v >>= 1 {
		segment++
	}
	return ^(sign | segment<<4 | byte(v>>1)&0x0F)
}

// An A-law code has its even bits inverted on the wire, and its sign bit is 1
// for positive values. The lowest two segments have equal steps.
func decodeALaw(b byte) int16 {
	b ^= 0x55
	v := int16(b&0x0F)<<4 + 8
	if segment := b >> 4 & 7; segment > 0 {
		v = (v + 0x100) << (segment - 1)
	}
	if b&0x80 == 0 {
		return -v
	}
	return v
}

func encodeALaw(x int16) byte {
	sign, v := byte(0x80), int(x)>>4
	if v < 0 {
		sign, v = 0, ^v
	}
	segment := byte(0)
	if v > 15 {
		segment = 1
		for ; v > 31; v >>= 1 {
			segment++
		}
	}
	return (sign | segment<<4 | byte(v)&0x0F) ^ 0x55
}

func decodeTable(decode func(byte) int16) (t [256]int16) {
	for i := range t {
		t[i] = decode(byte(i))
	}
	return t
}

func encodeTable[T [1 << 14]byte | [1 << 12]byte](shift int, encode func(int16) byte) (t T) {
	for i := range len(t) {
		t[i] = encode(int16(uint16(i << shift)))
	}
	return t
}

// A run says what the next n values of a table's left column become: out, out+1
// and so on, each of them repeat times. The values of each law are numbered by
// their size from 0, equally for both signs.
type run struct{ n, out, repeat int }

// ulawToALawRuns is Table 3/G.711. Where µ-law is finer than A-law, neighbours
// share a code; where a tie was possible the table chooses so that µ→A→µ→A
// changes no sample after the first conversion.
var ulawToALawRuns = []run{
	{16, 0, 2}, {16, 8, 1},
	{1, 24, 1}, {1, 26, 1}, {1, 28, 1}, {1, 30, 1}, {12, 32, 1},
	{1, 45, 1}, {15, 47, 1},
	{16, 63, 1},
	{1, 79, 1}, {47, 81, 1},
}

// alawToULawRuns is Table 4/G.711.
var alawToULawRuns = []run{
	{1, 1, 1}, {1, 3, 1}, {1, 5, 1}, {1, 7, 1}, {1, 9, 1}, {1, 11, 1}, {1, 13, 1}, {1, 15, 1}, {16, 16, 1},
	{8, 32, 2}, {12, 36, 1},
	{4, 48, 2}, {14, 50, 1},
	{2, 64, 2}, {15, 65, 1},
	{2, 80, 2}, {47, 81, 1},
}

// convertTable expands runs for both signs. from and to are the codes of the
// smallest positive value in each law, with which all other codes are masked.
func convertTable(from, to byte, runs []run) (t [256]byte) {
	in := 0
	for _, r := range runs {
		for i := range r.n {
			out := byte(r.out + i/r.repeat)
			t[byte(in)^from] = out ^ to
			t[byte(in)^from^0x80] = out ^ to ^ 0x80
			in++
		}
	}
	if in != 128 {
		panic("media: a G.711 conversion table does not cover 128 values")
	}
	return t
}
