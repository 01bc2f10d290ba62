package media

import "time"

// Digit is a pressed key: '0' to '9', '*', '#', 'A' to 'D'.
type Digit struct {
	Key byte
	At  time.Time
}

// Digits gives the keys that the peer presses, each once, as soon as the first
// packet of the press is heard. Up to 32 are kept; when the channel is full the
// newest is dropped and counted. Keys are heard while the stream is bridged,
// too: whoever asks a question empties the channel first. It is never closed.
func (s *Stream) Digits() <-chan Digit { return s.digits }

// Press enters a key that came another way (SIP INFO) into Digits. Anything that
// is not a key is ignored.
func (s *Stream) Press(key byte) {
	if _, ok := eventCode(key); ok {
		s.pressed(key, time.Now())
	}
}

func (s *Stream) pressed(key byte, at time.Time) {
	select {
	case s.digits <- Digit{key, at}:
	default:
		s.keysMissed.Add(1)
	}
}

// SendDigit presses a key for d (40 ms to 8.19 s, else the nearer of both). It
// returns once the key is queued; keys are sent one after the other, and other
// sound is left out meanwhile. Keys that are due while the peer does not want to
// hear us are dropped. Errors: ErrNoEvents when the peer understands no
// telephone-events, also before Start; ErrTooManyKeys; ErrClosed.
func (s *Stream) SendDigit(key byte, d time.Duration) error {
	code, ok := eventCode(key)
	if !ok {
		return errNotAKey
	}
	presser := new(keyPresser)
	var err error
	if !s.ask(func() {
		switch {
		case s.over:
			err = ErrClosed
		case s.p.EventPT == 0:
			err = ErrNoEvents
		default:
			if s.presser == nil {
				s.presser = presser
			}
			if !s.presser.press(code, d) {
				err = ErrTooManyKeys
			}
		}
	}) {
		return ErrClosed
	}
	return err
}
