package recordings

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"hotline/sip/media"
)

// sound is a recording as any program would read it.
type sound struct {
	law         media.Codec
	left, right []byte
}

// parse reads a WAV file chunk by chunk, as a stranger would. Every claim of
// the header has to be covered by the file; the file may have more.
func parse(b []byte) (s sound, err error) {
	le := binary.LittleEndian
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return s, errors.New("not a WAV file")
	}
	if riff := int(le.Uint32(b[4:])); riff+8 > len(b) {
		return s, fmt.Errorf("RIFF claims %d bytes of %d", riff+8, len(b))
	}
	facts := -1
	for b = b[12:]; len(b) >= 8; {
		size := int(le.Uint32(b[4:]))
		if 8+size > len(b) {
			return s, fmt.Errorf("chunk %q claims %d bytes of %d", b[:4], 8+size, len(b))
		}
		body := b[8 : 8+size]
		switch string(b[:4]) {
		case "fmt ":
			if size != 18 || le.Uint16(body[2:]) != 2 || le.Uint32(body[4:]) != 8000 || le.Uint16(body[14:]) != 8 {
				return s, fmt.Errorf("format %x", body)
			}
			switch le.Uint16(body) {
			case 7:
				s.law = media.PCMU
			case 6:
				s.law = media.PCMA
			default:
				return s, fmt.Errorf("format %x", body)
			}
		case "fact":
			facts = int(le.Uint32(body))
		case "data":
			if facts != size/2 || size%2 != 0 {
				return s, fmt.Errorf("%d bytes of sound, %d frames", size, facts)
			}
			for i := 0; i < size; i += 2 {
				s.left = append(s.left, body[i])
				s.right = append(s.right, body[i+1])
			}
			return s, nil
		}
		b = b[8+size:]
	}
	return s, errors.New("no sound")
}

func read(t testing.TB, file string) sound {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := parse(b)
	if err != nil {
		t.Fatalf("%s: %v", filepath.Base(file), err)
	}
	return s
}

func TestHeader(t *testing.T) {
	for _, c := range []struct {
		law    media.Codec
		frames int64
		want   string
	}{
		{media.PCMU, 0, "52494646 32000000 57415645 666d7420 12000000 0700 0200 401f0000 803e0000 0200 0800 0000 66616374 04000000 00000000 64617461 00000000"},
		{media.PCMU, 8000, "52494646 b23e0000 57415645 666d7420 12000000 0700 0200 401f0000 803e0000 0200 0800 0000 66616374 04000000 401f0000 64617461 803e0000"},
		{media.PCMA, 1, "52494646 34000000 57415645 666d7420 12000000 0600 0200 401f0000 803e0000 0200 0800 0000 66616374 04000000 01000000 64617461 02000000"},
		{media.PCMA, maxFrames, "52494646 f6ffffff 57415645 666d7420 12000000 0600 0200 401f0000 803e0000 0200 0800 0000 66616374 04000000 e2ffff7f 64617461 c4ffffff"},
	} {
		h := header(c.law, c.frames)
		want, err := hex.DecodeString(stripSpaces(c.want))
		if err != nil {
			t.Fatal(err)
		}
		if string(h[:]) != string(want) {
			t.Errorf("%v, %d frames:\n%x\nwant\n%x", c.law, c.frames, h, want)
		}
	}
}

func stripSpaces(s string) string {
	var out []byte
	for _, c := range []byte(s) {
		if c != ' ' {
			out = append(out, c)
		}
	}
	return string(out)
}

// file writes a recording of so many frames, then extra bytes of sound.
func file(t *testing.T, law media.Codec, claimed int64, bytes int) string {
	h := header(law, claimed)
	b := h[:]
	for i := range bytes {
		b = append(b, byte(i))
	}
	name := filepath.Join(t.TempDir(), "x.wav")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRecover(t *testing.T) {
	for name, c := range map[string]struct {
		file   string
		frames int
	}{
		"closed":                 {file(t, media.PCMU, 100, 200), 100},
		"sound after the header": {file(t, media.PCMA, 100, 700), 350},
		"never flushed":          {file(t, media.PCMU, 0, 6400), 3200},
		"half a frame":           {file(t, media.PCMU, 100, 203), 101},
		"sound that was lost":    {file(t, media.PCMU, 100, 20), 10},
		"nothing but the header": {file(t, media.PCMA, 0, 0), 0},
	} {
		t.Run(name, func(t *testing.T) {
			before, err := os.ReadFile(c.file)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s, err := Recover(c.file)
				if err != nil {
					t.Fatal(err)
				}
				want := Summary{File: c.file, Length: length(int64(c.frames)), Bytes: int64(headerSize + 2*c.frames)}
				if s != want {
					t.Errorf("recovered %+v, want %+v", s, want)
				}
				got := read(t, c.file)
				if len(got.left) != c.frames {
					t.Errorf("%d frames, want %d", len(got.left), c.frames)
				}
				after, err := os.ReadFile(c.file)
				if err != nil {
					t.Fatal(err)
				}
				if string(after[headerSize:]) != string(before[headerSize:headerSize+2*c.frames]) {
					t.Error("the sound was changed")
				}
			}
		})
	}
	t.Run("created and killed", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "x.wav")
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Recover(name); err != nil || s.Length != 0 {
			t.Errorf("recovered %+v, %v", s, err)
		}
		read(t, name)
	})
	t.Run("torn header", func(t *testing.T) {
		name := file(t, media.PCMU, 100, 200)
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b[4] ^= 0x55
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Recover(name); err != nil {
			t.Fatal(err)
		}
		if got := read(t, name); len(got.left) != 100 {
			t.Errorf("%d frames", len(got.left))
		}
	})
	for name, content := range map[string]string{
		"another file": "This is no recording, but it is long enough to have been one, of course.",
		"cut header":   "RIFF\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.wav")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if s, err := Recover(file); err == nil {
				t.Errorf("recovered %+v", s)
			}
			if b, err := os.ReadFile(file); err != nil || string(b) != content {
				t.Errorf("the file is %q now, %v", b, err)
			}
		})
	}
	if _, err := Recover(filepath.Join(t.TempDir(), "none.wav")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func FuzzRecover(f *testing.F) {
	h := header(media.PCMU, 3)
	f.Add(append(h[:], 1, 2, 3, 4, 5, 6))
	f.Add(h[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "x.wav")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Recover(name); err == nil {
			read(t, name)
		}
	})
}
