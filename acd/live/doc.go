// Package live runs the floor with the wall clock: real legs, real agents, the
// journal.
//
// One goroutine, the Referee's loop, owns the acd.Floor. Everything that
// happens is told to it; it stamps each fact, steps the floor, appends facts
// and decisions to the journal together, and performs the decisions when they
// are safe. Each call is a story: one goroutine that reads from top to bottom
// as what the caller lives through (call.go, wait.go, talk.go). Each offer is
// one goroutine that rings one agent (ring.go).
//
// The package never decides who talks to whom (acd does), never speaks SIP (a
// Leg and the Phones are interfaces that are wired in cmd/hotline), and never
// waits for Postgres.
package live
