package ivr

import (
	"context"
	"fmt"
	"time"

	"hotline/sip/media"
)

const (
	patience = 5 * time.Second // from the menu's last word to "no key"
	rounds   = 3               // a menu is spoken at most so often
)

// menu is a question that one key answers: line i by the key i+1.
type menu struct {
	step   string
	lines  int
	clips  []*media.Clip
	wrong  []*media.Clip // said after a key that answers no line
	silent []*media.Clip // said before the menu is repeated because no key came
}

// keypad is the caller's side of a conversation: what was pressed and not used
// yet, first pressed first.
type keypad struct {
	voice Voice
	trace Trace
	ahead []byte // bounded by the voice's own buffer
}

// ask speaks the menu until a right key is pressed, and returns the index of
// its line. After the last round the answer is the first line.
func (k *keypad) ask(ctx context.Context, m menu) (int, error) {
	k.trace.Step(m.step)
	for round := 1; ; round++ {
		key, err := k.answer(ctx, m)
		if err != nil {
			return 0, err
		}
		if line := int(key) - '1'; line >= 0 && line < m.lines {
			return line, nil
		}
		if round == rounds {
			return 0, nil
		}
		sorry := m.silent
		if key != 0 {
			// Who pressed a wrong key was thinking of another menu.
			k.forget()
			sorry = m.wrong
		}
		if _, err := k.tell(ctx, sorry...); err != nil {
			return 0, err
		}
	}
}

// answer speaks the menu once and returns the key that came, 0 for none.
func (k *keypad) answer(ctx context.Context, m menu) (byte, error) {
	if pressed, err := k.tell(ctx, m.clips...); err != nil {
		return 0, err
	} else if pressed {
		return k.next(), nil
	}
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case d := <-k.voice.Digits():
		k.press(d)
		return k.next(), nil
	case <-wait.C:
		return 0, nil
	}
}

// tell speaks until a key is pressed. A key that waits from before means that
// the caller knows what would be said: nothing is.
func (k *keypad) tell(ctx context.Context, clips ...*media.Clip) (pressed bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	k.collect()
	if len(k.ahead) > 0 {
		return true, nil
	}
	return k.tellNow(ctx, clips...)
}

// tellNow speaks until a key is pressed from now on; keys that wait from before
// stay for the next question.
func (k *keypad) tellNow(ctx context.Context, clips ...*media.Clip) (pressed bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if len(clips) == 0 {
		return false, nil
	}
	k.collect()
	saying, stop := context.WithCancel(ctx)
	defer stop()
	said := make(chan error, 1)
	go func() { said <- k.voice.Say(saying, clips...) }() // ends with the clips or with saying; awaited below

	select {
	case d := <-k.voice.Digits():
		k.press(d)
		stop()
		<-said
		pressed = true
	case err = <-said:
	}
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case err != nil:
		return false, fmt.Errorf("speak to the caller: %w", err)
	}
	return pressed, nil
}

// collect takes the keys that were pressed and not looked at yet.
func (k *keypad) collect() {
	for {
		select {
		case d := <-k.voice.Digits():
			k.press(d)
		default:
			return
		}
	}
}

func (k *keypad) press(d media.Digit) {
	k.trace.Digit(d.Key)
	k.ahead = append(k.ahead, d.Key)
}

// next takes the key that was pressed first.
func (k *keypad) next() byte {
	key := k.ahead[0]
	k.ahead = k.ahead[1:]
	return key
}

// forget drops the keys that were pressed ahead.
func (k *keypad) forget() {
	k.collect()
	k.ahead = nil
}
