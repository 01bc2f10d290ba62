// Package ivr is what a caller hears before a person answers: flows, menus and
// the prompts that they speak.
//
// A flow decides what is said, what is asked and where the call goes next (a
// Choice). It never queues, rings or hangs up: it returns, and whoever ran it
// acts. A flow is linear code on the goroutine that runs it; while a prompt
// plays there is one more, which ends before the prompt's caller goes on.
package ivr
