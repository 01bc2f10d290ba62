// Package recordings writes what caller and agent say into one stereo file per
// call: the caller on the left, the agent on the right, in G.711 as it was on
// the wire.
//
// It decides where on the file's timeline each packet belongs, and nothing
// else: it never decides what is recorded, and never reads the sound but to
// find the pauses in which a drifting clock can be corrected unheard.
//
// A Tape owns one goroutine, its writer, from Start to Close. The media shards
// hand packets over through two bounded rings and never wait for the disk.
package recordings
