package ivr

import (
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"hotline/sip/media"
)

// The prompts are rendered by prompts/render.sh from prompts/texts.tsv.
//
//go:embed prompts/vi/*.wav prompts/en/*.wav prompts/zh/*.wav
var assets embed.FS

// Prompts are the sounds that flows speak, by language and name. They never
// change and may be used by many calls at a time.
type Prompts struct {
	clips map[Language]map[string]*media.Clip
	pause *media.Clip // the breath between two sentences
}

// BuiltIn returns the prompts that come with the program, in every Language.
func BuiltIn() (*Prompts, error) {
	p := &Prompts{
		clips: make(map[Language]map[string]*media.Clip),
		pause: media.NewClip(make([]int16, 8*250)), // 250 ms
	}
	for _, l := range languages {
		p.clips[l] = make(map[string]*media.Clip)
		files, err := fs.Glob(assets, path.Join("prompts", string(l), "*.wav"))
		if err != nil {
			return nil, fmt.Errorf("built-in prompts: %w", err)
		}
		for _, file := range files {
			b, err := assets.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("built-in prompts: %w", err)
			}
			sound, err := readWAV(b)
			if err != nil {
				return nil, fmt.Errorf("built-in prompt %s: %w", file, err)
			}
			p.clips[l][strings.TrimSuffix(path.Base(file), ".wav")] = media.NewClipG711(media.PCMU, sound)
		}
	}
	return p, nil
}

// Clip returns one prompt. The built-in names are the rows of prompts/texts.tsv.
func (p *Prompts) Clip(lang Language, name string) (*media.Clip, error) {
	c, ok := p.clips[lang][name]
	if !ok {
		return nil, fmt.Errorf("no prompt %q in language %q", name, lang)
	}
	return c, nil
}

func (p *Prompts) has(lang Language, name string) bool {
	_, ok := p.clips[lang][name]
	return ok
}

// readWAV returns the sound of a µ-law file of one channel at 8 kHz.
func readWAV(b []byte) ([]byte, error) {
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, errors.New("not a WAV file")
	}
	le := binary.LittleEndian
	known := false
	for b = b[12:]; len(b) >= 8; {
		id, size := string(b[:4]), int64(le.Uint32(b[4:]))
		if size > int64(len(b)-8) {
			return nil, fmt.Errorf("chunk %q is cut short", id)
		}
		body := b[8 : 8+size]
		switch id {
		case "fmt ":
			known = len(body) >= 16 && le.Uint16(body) == 7 && le.Uint16(body[2:]) == 1 &&
				le.Uint32(body[4:]) == 8000 && le.Uint16(body[14:]) == 8
		case "data":
			if !known {
				return nil, errors.New("want µ-law, one channel, 8000 Hz")
			}
			return body, nil
		}
		// Chunks begin at even offsets; the last one may lack its padding.
		b = b[min(8+size+size%2, int64(len(b))):]
	}
	return nil, errors.New("no sound in the WAV file")
}
