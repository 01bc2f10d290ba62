package ivr

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"hotline/sip/media"
)

var (
	three = []Department{{"care", "support"}, {"money", "payments"}, {"wires", "technical"}}

	opening = []string{
		"vi/greeting", "en/greeting", "zh/greeting",
		"vi/recorded", "en/recorded", "zh/recorded",
	}
	languageMenu  = []string{"vi/language", "en/language", "zh/language"}
	languageWrong = []string{"vi/wrong_key", "en/wrong_key", "zh/wrong_key"}
)

func departmentMenu(l Language) []string {
	lang := string(l)
	return []string{
		lang + "/for_support", lang + "/press_1",
		lang + "/for_payments", lang + "/press_2",
		lang + "/for_technical", lang + "/press_3",
	}
}

func threeDepartments(p *Prompts) Flow { return Main(p, three) }

func join(parts ...[]string) (all []string) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func TestCallerListensToTheEndAndChooses(t *testing.T) {
	for i, lang := range languages {
		for j, d := range three {
			t.Run(fmt.Sprintf("%s/%s", lang, d.Name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					caller := dials(t, threeDepartments)
					caller.hears("zh/language")
					caller.listens(4 * time.Second) // the menu's end and a moment to think
					caller.presses(string(rune('1' + i)))
					caller.hears(string(lang) + "/press_3")
					caller.listens(4 * time.Second)
					caller.presses(string(rune('1' + j)))
					caller.reachesNow(lang, d.Queue)
					caller.heard(join(opening, languageMenu, departmentMenu(lang))...)
					if want := fmt.Sprintf("%d%d", i+1, j+1); caller.keys != want {
						t.Errorf("the trace was told of the keys %q, want %q", caller.keys, want)
					}
					if got, want := fmt.Sprint(caller.steps), "[greeting recorded language department]"; got != want {
						t.Errorf("the trace was told of the steps %s, want %s", got, want)
					}
				})
			})
		}
	}
}

func TestMenuComesSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialled := time.Now()
		caller := dials(t, threeDepartments)
		caller.hears("vi/language")
		if d := time.Since(dialled); d > 12*time.Second {
			t.Errorf("%v until the language menu", d)
		}
		caller.hangsUp()
	})
}

func TestKeyStopsTheMenuAtOnce(t *testing.T) {
	for i, lang := range languages {
		t.Run(string(lang), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caller := dials(t, threeDepartments)
				caller.hears("vi/language")
				caller.listens(300 * time.Millisecond)
				caller.presses(string(rune('1' + i)))
				caller.hears(string(lang) + "/for_payments")
				caller.listens(300 * time.Millisecond)
				caller.presses("3")
				caller.reachesNow(lang, "wires")
				caller.heard(join(opening, languageMenu[:1], departmentMenu(lang)[:3])...)
			})
		})
	}
}

// A key in the greeting is the answer to the language menu, and the caller is
// told of the recording in that language.
func TestKeyInTheGreeting(t *testing.T) {
	for i, lang := range languages {
		t.Run(string(lang), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caller := dials(t, threeDepartments)
				caller.hears("en/greeting")
				caller.presses(string(rune('1' + i)))
				caller.hears(string(lang) + "/press_1")
				caller.presses("1")
				caller.reachesNow(lang, "care")
				caller.heard(join(opening[:2], []string{string(lang) + "/recorded"}, departmentMenu(lang)[:2])...)
				if got, want := fmt.Sprint(caller.steps), "[greeting language recorded department]"; got != want {
					t.Errorf("the trace was told of the steps %s, want %s", got, want)
				}
			})
		})
	}
}

// The notice is repeated only for those who did not hear it in their language.
func TestKeyInTheRecordingNotice(t *testing.T) {
	for i, lang := range languages {
		t.Run(string(lang), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caller := dials(t, threeDepartments)
				caller.hears("en/recorded")
				caller.listens(100 * time.Millisecond)
				caller.presses(string(rune('1' + i)))
				var again []string
				if lang != Vietnamese {
					again = []string{string(lang) + "/recorded"}
				}
				caller.hears(string(lang) + "/for_support")
				caller.presses("2")
				caller.reachesNow(lang, "money")
				caller.heard(join(opening[:5], again, departmentMenu(lang)[:1])...)
			})
		})
	}
}

// Who knows the menus types ahead, and hears of the recording only.
func TestTypingAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller := dials(t, threeDepartments)
		caller.hears("vi/greeting")
		caller.presses("23")
		caller.reaches(English, "wires")
		caller.heard("vi/greeting", "en/recorded")
	})
	synctest.Test(t, func(t *testing.T) {
		caller := dials(t, threeDepartments)
		caller.hears("vi/greeting")
		caller.presses("3")
		caller.hears("zh/recorded")
		caller.listens(100 * time.Millisecond)
		caller.presses("2")
		caller.reachesNow(Chinese, "money")
		caller.heard("vi/greeting", "zh/recorded")
	})
}

func TestKeysBeforeTheFirstWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller := dials(t, threeDepartments)
		caller.digits <- media.Digit{Key: '1'} // the flow has not run yet
		caller.digits <- media.Digit{Key: '2'}
		caller.reaches(Vietnamese, "money")
		caller.heard("vi/recorded")
	})
}

func TestWrongKey(t *testing.T) {
	for _, key := range []string{"0", "4", "9", "*", "#", "A"} {
		synctest.Test(t, func(t *testing.T) {
			caller := dials(t, threeDepartments)
			caller.hears("en/language")
			caller.presses(key)
			caller.hears("zh/wrong_key")
			caller.hears("en/language")
			caller.presses("2")
			caller.hears("en/for_payments")
			caller.presses(key)
			caller.hears("en/wrong_key")
			caller.hears("en/press_3")
			caller.presses("3")
			caller.reachesNow(English, "wires")
			caller.heard(join(opening, languageMenu[:2], languageWrong, languageMenu[:2],
				departmentMenu(English)[:3], []string{"en/wrong_key"}, departmentMenu(English))...)
		})
	}
}

// What was pressed ahead of a wrong key's answer was meant for another menu.
func TestWrongKeyForgetsWhatWasTypedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller := dials(t, threeDepartments)
		caller.hears("vi/greeting")
		caller.presses("713")
		caller.hears("vi/wrong_key")
		caller.hears("zh/language")
		caller.presses("2")
		caller.hears("en/for_support")
		caller.presses("1")
		caller.reachesNow(English, "care")
		if caller.keys != "71321" {
			t.Errorf("the trace was told of the keys %q, want all five", caller.keys)
		}
	})
}

// A key pressed while the caller is told that the last one was wrong counts.
func TestKeyDuringWrongKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller := dials(t, threeDepartments)
		caller.hears("vi/language")
		caller.presses("8")
		caller.hears("vi/wrong_key")
		caller.presses("3")
		caller.hears("zh/for_support")
		caller.presses("5")
		caller.hears("zh/wrong_key")
		caller.presses("2")
		caller.reachesNow(Chinese, "money")
		caller.heard(join(opening, languageMenu[:1], languageWrong[:1], departmentMenu(Chinese)[:1], []string{"zh/wrong_key"})...)
	})
}

func TestNoKeyAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller := dials(t, threeDepartments)
		caller.reaches(Vietnamese, "care")
		again := join([]string{"vi/no_key"}, departmentMenu(Vietnamese))
		caller.heard(join(opening, languageMenu, languageMenu, languageMenu,
			departmentMenu(Vietnamese), again, again)...)
	})
}

func TestWrongKeysOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller := dials(t, threeDepartments)
		for range rounds {
			caller.hears("vi/language")
			caller.presses("9")
		}
		for range rounds {
			caller.hears("vi/for_support")
			caller.presses("9")
		}
		caller.reachesNow(Vietnamese, "care")
	})
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller := dials(t, threeDepartments)
		caller.hears("zh/language")
		p := prompts(t)
		clip, err := p.Clip(Chinese, "language")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		caller.hears("vi/language")
		if d, want := time.Since(began), clip.Duration()+p.pause.Duration()+patience; d != want {
			t.Errorf("the menu is repeated %v after its last line began, want %v", d, want)
		}
		caller.hangsUp()
	})
}

func TestSingleDepartmentIsNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller := dials(t, func(p *Prompts) Flow { return Main(p, three[1:2]) })
		caller.hears("en/language")
		caller.presses("2")
		caller.reachesNow(English, "money")
		caller.heard(join(opening, languageMenu[:2])...)
	})
}

func TestNineDepartments(t *testing.T) {
	var nine []Department
	for i, name := range []string{"support", "payments", "technical", "sales", "aftersales", "complaints", "refunds", "", "other"} {
		nine = append(nine, Department{Queue: fmt.Sprint("q", i+1), Name: name})
	}
	synctest.Test(t, func(t *testing.T) {
		caller := dials(t, func(p *Prompts) Flow { return Main(p, nine) })
		caller.hears("vi/language")
		caller.presses("1")
		caller.hears("vi/for_complaints")
		caller.hears("vi/for_other") // nobody recorded "refunds"
		caller.hears("vi/press_7")
		caller.hears("vi/press_9")
		caller.presses("9")
		caller.reachesNow(Vietnamese, "q9")
	})
	for _, d := range [][]Department{nil, append(nine, Department{"q10", "support"})} {
		synctest.Test(t, func(t *testing.T) {
			caller := dials(t, func(p *Prompts) Flow { return Main(p, d) })
			<-caller.done
			if caller.err == nil {
				t.Errorf("a menu of %d departments is accepted", len(d))
			}
		})
	}
}

// The caller hangs up all along the way through the flow, with and without
// having pressed keys.
func TestHangUpAtAnyPoint(t *testing.T) {
	for _, keys := range []string{"", "1", "2", "9", "99", "3#"} {
		ended := false
		for after := time.Duration(0); !ended; after += 170 * time.Millisecond {
			synctest.Test(t, func(t *testing.T) {
				caller := dials(t, threeDepartments)
				for _, key := range keys {
					caller.listens(3 * time.Second)
					caller.presses(string(key))
				}
				caller.listens(after)
				select {
				case <-caller.done:
					ended = true
					return
				default:
				}
				caller.hangsUp()
				if !errors.Is(caller.err, errHungUp) {
					t.Fatalf("keys %q, hung up %v later: the flow returned %v", keys, after, caller.err)
				}
			})
			if t.Failed() {
				return
			}
		}
	}
}

func TestHungUpBeforeTheFlow(t *testing.T) {
	p := prompts(t)
	for _, flow := range []Flow{Main(p, three), Queue("care")} {
		synctest.Test(t, func(t *testing.T) {
			caller := dials(t, func(*Prompts) Flow { return hungUp{flow} })
			<-caller.done
			if !errors.Is(caller.err, errHungUp) || len(caller.log) != 0 {
				t.Errorf("the flow returned %v after saying %v", caller.err, caller.log)
			}
		})
	}
}

// hungUp runs a flow for a caller who is gone.
type hungUp struct{ Flow }

func (h hungUp) Run(ctx context.Context, v Voice, t Trace) (Choice, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	cancel(errHungUp)
	return h.Flow.Run(ctx, v, t)
}

func TestLineFails(t *testing.T) {
	broken := errors.New("no sound")
	synctest.Test(t, func(t *testing.T) {
		caller := dials(t, func(p *Prompts) Flow { return dead{Main(p, three), broken} })
		<-caller.done
		if !errors.Is(caller.err, broken) {
			t.Errorf("the flow returned %v, want %v", caller.err, broken)
		}
	})
}

// dead runs a flow on a line that can't speak.
type dead struct {
	Flow
	err error
}

func (d dead) Run(ctx context.Context, _ Voice, t Trace) (Choice, error) {
	return d.Flow.Run(ctx, d, t)
}
func (d dead) Say(context.Context, ...*media.Clip) error { return d.err }
func (d dead) Digits() <-chan media.Digit                { return nil }

func TestQueueSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller := dials(t, func(*Prompts) Flow { return Queue("care") })
		caller.reachesNow("", "care")
		caller.heard()
		if len(caller.steps)+len(caller.langs) != 0 {
			t.Errorf("the trace was told of steps %v and languages %v", caller.steps, caller.langs)
		}
	})
}
