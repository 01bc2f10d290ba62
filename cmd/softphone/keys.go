package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// dialKeys are the keys of RFC 4733 that a person can press.
const dialKeys = "0123456789*#ABCD"

const (
	keyLength = 160 * time.Millisecond // how long a key is held down
	keyPause  = 100 * time.Millisecond // the least between two
)

// press is one key of a plan.
type press struct {
	wait time.Duration // since the key before, or the answer
	key  byte
}

// parseKeys reads --digits: keys, with a pause of gap for each comma. The first
// key is pressed at the given time after the answer.
func parseKeys(text string, after, gap time.Duration) ([]press, error) {
	var keys []press
	wait := max(after, 0)
	for _, k := range text {
		switch key := unicode.ToUpper(k); {
		case k == ',':
			wait += max(gap, 0)
		case strings.ContainsRune(dialKeys, key):
			if len(keys) > 0 {
				wait = max(wait, keyLength+keyPause)
			}
			keys = append(keys, press{wait, byte(key)})
			wait = 0
		default:
			return nil, fmt.Errorf("digits %q: %q is no key, want 0-9, *, #, A-D and \",\" for a pause", text, k)
		}
	}
	return keys, nil
}
