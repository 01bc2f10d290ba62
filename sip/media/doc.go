// Package media carries the sound of calls: RTP in and out, prompts and music,
// pressed keys, the two-party bridge, taps for recordings, and the quality
// figures of RTCP. It decides nothing about calls, knows no SIP and writes no
// files.
//
// An [Engine] has a few shards. Each shard is one goroutine that owns all
// state of its streams and touches their sockets without ever blocking; it
// wakes on absolute deadlines (the tick), reads what arrived, forwards, taps,
// and sends what is due. When no stream is started it sleeps until a command
// wakes it. The methods of [Stream] may be called from any goroutine: they
// hand a command to the shard, which performs it at its next tick.
//
// Three kinds of time occur. "now" is the shard's clock, a time.Duration since
// the engine was made, monotonic. Media time is the RTP timestamp, a uint32
// counting samples at 8 kHz that wraps. Wall-clock time appears only at the
// edges: in [Digit], in [Tap] and in RTCP sender reports.
//
// The numbering of outgoing packets ([sender]), the rewriting of forwarded
// ones ([relay]), reception ([reception]), symmetric RTP ([latch]),
// telephone-events ([keyListener], [keyPresser]), playing ([player]) and
// RTCP ([reporter]) are plain structs without sockets or timers: they take
// packets and now, and say what to do.
package media
