// Package acd is the referee of the call centre: it decides which caller is
// offered to which agent, when an offer is over, when an agent is in wrap-up
// and when a caller has waited long enough.
//
// A [Floor] is told what happened ([Event]) and answers with what to do and
// what is now true ([Command]). The same events at the same times always give
// the same commands, so that a recorded day replays exactly: live, in tests, in
// simulation and in what-if replay the same code runs.
//
// What it never does: read a clock, start a goroutine, take a lock, open a
// socket or a file, draw lots of its own, or let the order of a Go map decide
// anything. A test reads this package's source and refuses all of these.
//
// A Floor starts no goroutine and belongs to one owner at a time: package
// acd/live runs one loop that alone calls its methods.
//
// # How it decides
//
// An agent is available who is Ready, Idle, reachable, not in a private call
// and not resting after a failed offer. Available agents stand in one line, the
// longest idle first. Callers of one queue who need the same skills stand in
// one lane, the earliest effective enqueue time first; so when nobody can
// serve the head of a lane, nobody can serve anyone in it, and the other lanes
// go on. After every event the callers, in the order queue weight, effective
// enqueue time, arrival, each get the first agent of the line who fits, until
// no available agent fits any waiting caller.
//
// A caller who is being rung for keeps the place until an agent is connected.
//
// # Time
//
// Step is given the time with each event. What happened counts before what is
// due in the same moment: a phone that answers in the instant at which its
// ringing would be given up has answered.
package acd
