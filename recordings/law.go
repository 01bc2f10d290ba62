package recordings

import "hotline/sip/media"

// convert rewrites sound from one law into another, in place.
func convert(sound []byte, from, to media.Codec) {
	switch {
	case from == to:
	case to == media.PCMA:
		media.ULawsToALaws(sound, sound)
	default:
		media.ALawsToULaws(sound, sound)
	}
}

// Codes up to these magnitudes are below about -44 dBFS, which nobody hears on
// a telephone: linear 196 in µ-law, 200 in A-law (16 bits).
const (
	quietULaw = 20
	quietALaw = 12
)

// silent says that no sample can be heard. G.711 is monotonic in its magnitude
// bits, so there is no need to decode.
func silent(sound []byte, c media.Codec) bool {
	if c == media.PCMA {
		for _, b := range sound {
			if (b^0x55)&0x7F > quietALaw {
				return false
			}
		}
		return true
	}
	for _, b := range sound {
		if ^b&0x7F > quietULaw {
			return false
		}
	}
	return true
}

// silence is the code of a zero sample.
func silence(c media.Codec) byte {
	if c == media.PCMA {
		return 0xD5
	}
	return 0xFF
}
