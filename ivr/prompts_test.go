package ivr

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hotline/sip/media"
)

type row struct{ name, lang, third, fourth string }

// table reads a file of tab-separated rows of four.
func table(t *testing.T, file string) (rows []row) {
	b, err := os.ReadFile(filepath.Join("prompts", file))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 4 || slices.Contains(f, "") {
			t.Fatalf("prompts/%s:%d: %d fields, want 4: %q", file, i+1, len(f), line)
		}
		rows = append(rows, row{f[0], f[1], f[2], f[3]})
	}
	return rows
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])[:16]
}

// A text that was changed, added or removed has to be rendered again.
func TestEveryTextIsRendered(t *testing.T) {
	rendered := make(map[string]row)
	for _, r := range table(t, "rendered.tsv") {
		rendered[r.lang+"/"+r.name] = r
	}
	total := 0
	for _, text := range table(t, "texts.tsv") {
		at := text.lang + "/" + text.name
		r, ok := rendered[at]
		if !ok {
			t.Errorf("%s is not rendered, or named twice; run: make prompts", at)
			continue
		}
		delete(rendered, at)
		spoken := text.fourth
		if spoken == "=" {
			spoken = text.third
		}
		if checksum([]byte(text.third+"\t"+spoken)) != r.third {
			t.Errorf("the text of %s was changed and not rendered; run: make prompts", at)
		}
		sound, err := os.ReadFile(filepath.Join("prompts", at+".wav"))
		if err != nil {
			t.Error(err)
			continue
		}
		if checksum(sound) != r.fourth {
			t.Errorf("prompts/%s.wav is not the file that was rendered; run: make prompts", at)
		}
		if len(sound) > 300_000 {
			t.Errorf("prompts/%s.wav has %d bytes", at, len(sound))
		}
		total += len(sound)
	}
	for at := range rendered {
		t.Errorf("%s is rendered and has no text; run: make prompts", at)
	}
	if total > 2_500_000 {
		t.Errorf("the prompts have %d bytes together", total)
	}
	files, err := fs.Glob(assets, "prompts/*/*.wav")
	if want := len(table(t, "texts.tsv")); err != nil || len(files) != want {
		t.Errorf("%d files for %d texts, %v", len(files), want, err)
	}
}

func TestEveryLanguageHasEveryPrompt(t *testing.T) {
	p := prompts(t)
	want := slices.Sorted(maps.Keys(p.clips[Vietnamese]))
	for _, l := range languages {
		if got := slices.Sorted(maps.Keys(p.clips[l])); !slices.Equal(got, want) {
			t.Errorf("%s has the prompts\n%v\nand vi\n%v", l, got, want)
		}
	}
	if _, err := p.Clip("fr", "greeting"); err == nil {
		t.Error("there is a French greeting")
	}
}

// Whoever asks for a prompt by a name in the code finds it, in any package.
func TestEveryPromptInTheCodeExists(t *testing.T) {
	p := prompts(t)
	names := []string{
		"greeting", "recorded", "language", "wrong_key", "no_key", "goodbye", "no_agents", "closing",
		"sorry_failed", "agent_signed_in", "agent_paused", "agent_signed_out", "agent_wrapup_ended",
		"agent_no_wrapup", "connecting", "timed_out", "full",
		"for_support", "for_payments", "for_technical", "for_sales", "for_aftersales", "for_complaints", "for_other",
		"press_1", "press_2", "press_3", "press_4", "press_5", "press_6", "press_7", "press_8", "press_9",
	}
	asked := regexp.MustCompile(`\.Clip\([^,()]+, "([^"]+)"\)`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.IsDir() && d.Name() == "var" {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		for _, m := range asked.FindAllSubmatch(b, -1) {
			names = append(names, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range languages {
		for _, name := range names {
			if _, err := p.Clip(l, name); err != nil {
				t.Error(err)
			}
		}
	}
}

func linear(c *media.Clip) []float64 {
	out := make([]float64, c.Samples())
	for i, b := range c.Bytes(media.PCMU) {
		out[i] = float64(media.DecodeULaw(b)) / 32768
	}
	return out
}

// rms in dB of full scale.
func rms(x []float64) float64 {
	var power float64
	for _, v := range x {
		power += v * v
	}
	return 10 * math.Log10(power/float64(len(x))+1e-12)
}

func loudest(x []float64) (peak float64) {
	for _, v := range x {
		peak = max(peak, math.Abs(v))
	}
	return peak
}

func TestPromptsSoundAlike(t *testing.T) {
	const frame = 160 // 20 ms
	p := prompts(t)
	for lang, clips := range p.clips {
		for name, clip := range clips {
			x := linear(clip)
			var spoken []float64
			var hush, longest, before int // frames
			for i := 0; i+frame <= len(x); i += frame {
				f := x[i : i+frame]
				if rms(f) < -45 {
					hush++
					longest = max(longest, hush)
					continue
				}
				if len(spoken) == 0 {
					before = hush
				}
				hush = 0
				spoken = append(spoken, f...)
			}
			at := string(lang) + "/" + name
			if s := clip.Duration().Seconds(); s < 0.4 || s > 8 {
				t.Errorf("%s takes %.1f s", at, s)
			}
			if len(spoken) < len(x)/2 {
				t.Errorf("%s: %d of %d samples can be heard", at, len(spoken), len(x))
				continue
			}
			if level := rms(spoken); level < -25 || level > -20 {
				t.Errorf("%s is spoken at %.1f dB, want about -23", at, level)
			}
			if peak := 20 * math.Log10(loudest(x)); peak > -3 {
				t.Errorf("%s has a peak of %.1f dB", at, peak)
			}
			if before > 5 || hush > 10 || longest > 35 {
				t.Errorf("%s is silent for %d frames of 20 ms before, %d after and %d at most", at, before, hush, longest)
			}
			if edge := max(loudest(x[:80]), loudest(x[len(x)-80:])); edge > 0.01 {
				t.Errorf("%s begins or ends with a click of %.3f", at, edge)
			}
		}
	}
}

func TestReadWAV(t *testing.T) {
	good, err := assets.ReadFile("prompts/en/press_1.wav")
	if err != nil {
		t.Fatal(err)
	}
	with := func(at int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[at:], b)
		return c
	}
	for name, b := range map[string][]byte{
		"nothing":       nil,
		"no RIFF":       with(0, 'X'),
		"A-law":         with(20, 6),
		"stereo":        with(22, 2),
		"16 kHz":        with(24, 0x80, 0x3E),
		"16 bits":       with(34, 16),
		"cut":           good[:100],
		"only a header": good[:12],
		"huge chunk":    with(16, 0xFF, 0xFF, 0xFF, 0xFF),
	} {
		if sound, err := readWAV(b); err == nil {
			t.Errorf("%s: read %d samples", name, len(sound))
		}
	}
}

func FuzzReadWAV(f *testing.F) {
	good, err := assets.ReadFile("prompts/en/press_1.wav")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:100])
	f.Add([]byte("RIFF\x00\x00\x00\x00WAVEdata\x01\x00\x00\x00x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if sound, err := readWAV(b); err == nil && len(sound) > len(b) {
			t.Error("more sound than file")
		}
	})
}
