package ivr

import (
	"context"
	"errors"
	"fmt"

	"hotline/sip/media"
)

// Department is one line of the department menu.
type Department struct {
	Queue string // where its callers wait
	// Name says what the menu speaks: support, payments, technical, sales
	// (questions before buying), aftersales, complaints. Any other name is spoken
	// as "for anything else".
	Name string
}

// Steps of the main flow, as Trace is told.
const (
	StepGreeting   = "greeting"   // hello, in every language
	StepRecorded   = "recorded"   // the call is recorded
	StepLanguage   = "language"   // the language menu
	StepDepartment = "department" // the department menu
)

// Main is the built-in flow. It greets in every language, says that the call is
// recorded, asks for the language (1 Vietnamese, 2 English, 3 Chinese) and the
// department (keys from 1 in the order given, at most nine).
//
// A key stops what is being said and is the answer to the next question. A
// caller whose key came before the recording notice was spoken in the chosen
// language hears it then, since everybody who is recorded is to be told; a key
// pressed during it stops it. A wrong key is told so, and what was pressed
// ahead of being told is forgotten; without a key within 5 s, and after a wrong
// one, the menu is spoken again. After three rounds the call goes on in
// Vietnamese, or to the first department. A single department is not asked for.
func Main(p *Prompts, departments []Department) Flow {
	m := &mainFlow{departments: departments}
	m.prepare(p)
	return m
}

type mainFlow struct {
	departments []Department
	err         error // what Run says instead of running

	greeting   []*media.Clip // in the order of languages
	recorded   []*media.Clip
	pause      *media.Clip
	language   menu
	department map[Language]menu
}

func (m *mainFlow) prepare(p *Prompts) {
	if n := len(m.departments); n < 1 || n > 9 {
		m.err = fmt.Errorf("main flow: %d departments; the keys 1 to 9 reach one to nine", n)
		return
	}
	get := func(l Language, name string) *media.Clip {
		c, err := p.Clip(l, name)
		m.err = errors.Join(m.err, err)
		return c
	}
	m.pause = p.pause
	m.language.step = StepLanguage
	m.language.lines = len(languages)
	m.department = make(map[Language]menu)
	for _, l := range languages {
		m.greeting = append(m.greeting, get(l, "greeting"), p.pause)
		m.recorded = append(m.recorded, get(l, "recorded"))
		m.language.clips = append(m.language.clips, get(l, "language"), p.pause)
		// Nobody knows yet which language the caller understands.
		m.language.wrong = append(m.language.wrong, get(l, "wrong_key"), p.pause)

		d := menu{
			step:   StepDepartment,
			lines:  len(m.departments),
			wrong:  []*media.Clip{get(l, "wrong_key"), p.pause},
			silent: []*media.Clip{get(l, "no_key"), p.pause},
		}
		for i, dep := range m.departments {
			name := "for_" + dep.Name
			if !p.has(l, name) {
				name = "for_other"
			}
			d.clips = append(d.clips, get(l, name), get(l, fmt.Sprintf("press_%d", i+1)), p.pause)
		}
		m.department[l] = d
	}
}

func (m *mainFlow) Run(ctx context.Context, v Voice, t Trace) (Choice, error) {
	if m.err != nil {
		return Choice{}, m.err
	}
	k := &keypad{voice: v, trace: t}

	t.Step(StepGreeting)
	pressed, err := k.tell(ctx, m.greeting...)
	if err != nil {
		return Choice{}, err
	}
	told := 0 // languages in which the whole notice was spoken
	if !pressed {
		t.Step(StepRecorded)
		for _, notice := range m.recorded {
			if pressed, err = k.tell(ctx, notice); err != nil {
				return Choice{}, err
			} else if pressed {
				break
			}
			told++
			if pressed, err = k.tell(ctx, m.pause); err != nil {
				return Choice{}, err
			} else if pressed {
				break
			}
		}
	}

	chosen, err := k.ask(ctx, m.language)
	if err != nil {
		return Choice{}, err
	}
	lang := languages[chosen]
	t.Language(string(lang))

	if chosen >= told {
		t.Step(StepRecorded)
		if _, err := k.tellNow(ctx, m.recorded[chosen], m.pause); err != nil {
			return Choice{}, err
		}
	}

	department := 0
	if len(m.departments) > 1 {
		if department, err = k.ask(ctx, m.department[lang]); err != nil {
			return Choice{}, err
		}
	}
	return Choice{Language: lang, Queue: m.departments[department].Queue}, nil
}
