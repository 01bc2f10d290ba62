package recordings

// All of this file counts in frames of 1/8000 s. Three clocks are kept apart:
//
//   - the timeline: frames of the file, frame 0 is Options.Started;
//   - arrival: when the shard received a packet, on the timeline;
//   - media time: the sender's RTP timestamps, which count the sender's own
//     crystal and begin anywhere.
const (
	// jump is a departure of media time from arrival that no network explains:
	// another source, or a sender that stopped its clock while on hold.
	jump = 1 * rate
	// slack is how far media time may drift from arrival before the next pause
	// is used to bring them together.
	slack = 40 * rate / 1000
	// limit is how far it may drift before it is corrected in the middle of sound
	// when no pause came for patience.
	limit    = 80 * rate / 1000
	patience = 5 // windows
	// window is how long the least delay is looked for. Jitter only ever delays,
	// so the least delayed packet shows where the sender's clock really is.
	window = 1 * rate
)

// placer decides where on the timeline the packets of one side belong. It knows
// no files, no goroutines and no clock. The zero value waits for its first
// packet, which belongs where it arrived; the others follow by their timestamps.
type placer struct {
	begun  bool
	newest int64  // unwrapped media time of the newest packet
	now    anchor // in force for the newest packet
	before anchor // was in force until turned
	turned int64  // the newest media time when before gave way to now
	end    int64  // the frame after the newest placed sound
	quiet  int64  // frames of silence that end at end

	// The search for the least delay.
	least, leastBefore int64 // of this window and the one before
	until              int64 // arrival that ends this window
	want               int64 // correction to be made in the next pause; + is later
	strained           int   // windows in a row with a departure beyond limit
}

// anchor says that a media time belongs at a frame.
type anchor struct{ media, frame int64 }

func (a anchor) place(media int64) int64 { return a.frame + media - a.media }

// place returns the frame at which a packet of n samples belongs. silent says
// that the packet can't be heard; floor is the first frame that can still be
// written. ok is false when the whole packet is too late; a packet that
// begins before floor and ends after it is to be cut by the caller.
// A duplicate gets the place that its twin got.
func (p *placer) place(arrival int64, ts uint32, n int64, silent bool, floor int64) (frame int64, ok bool) {
	if !p.begun {
		p.begun = true
		p.newest = int64(ts)
		p.now = anchor{p.newest, max(arrival, floor)}
		p.anchorAt(p.now.frame, arrival, p.newest)
		return p.put(n, silent), true
	}

	media := p.newest + int64(int32(ts-uint32(p.newest)))
	if media <= p.newest && p.newest-media <= jump {
		// Overtaken by another packet, or sent twice.
		a := p.now
		if media < a.media && media <= p.turned {
			a = p.before
		}
		frame = a.place(media)
		if !silent {
			p.quiet = 0
		}
		return frame, frame+n > floor
	}

	last := p.newest
	p.newest = media
	frame = p.now.place(media)
	late := arrival - frame
	switch {
	case late > jump || late < -jump:
		frame = max(arrival, floor)
		if frame < p.end && p.end-frame <= limit {
			frame = p.end // don't talk over what is there for so little
		}
		p.anchorAt(frame, arrival, last)
	case frame < floor:
		// The path became slower than the file waits: move as little as needed.
		p.anchorAt(floor, arrival, last)
	default:
		p.drift(arrival, late, last, silent)
	}
	return p.put(n, silent), true
}

// put places the newest packet by the anchor in force.
func (p *placer) put(n int64, silent bool) int64 {
	frame := p.now.place(p.newest)
	p.quiet = max(0, p.quiet+frame-p.end)
	if silent {
		p.quiet += n
	} else {
		p.quiet = 0
	}
	p.end = frame + n
	return frame
}

// anchorAt puts the newest packet at frame and begins a new search. Packets up
// to media time last keep the place that they had.
func (p *placer) anchorAt(frame, arrival, last int64) {
	p.before, p.now, p.turned = p.now, anchor{p.newest, frame}, last
	p.least, p.leastBefore = arrival-frame, arrival-frame
	p.until = arrival + window
	p.want, p.strained = 0, 0
}

// drift watches how far the newest packet's place departs from its arrival, and
// moves the anchor when there is a reason and an occasion.
func (p *placer) drift(arrival, late, last int64, silent bool) {
	p.least = min(p.least, late)
	if arrival >= p.until {
		p.want = min(p.least, p.leastBefore)
		if p.want >= -slack && p.want <= slack {
			p.want = 0
		}
		if p.want < -limit || p.want > limit {
			p.strained++
		} else {
			p.strained = 0
		}
		p.leastBefore, p.least = p.least, late
		p.until = arrival + window
	}
	if p.want == 0 {
		return
	}

	frame := p.now.place(p.newest)
	move := p.want
	gap := frame - p.end // lost packets, or a sender that is silent by not sending
	switch {
	case p.strained >= patience:
	case move > 0 && (silent || gap > 0):
	case move < 0 && p.quiet+gap > 0:
		move = max(move, -(p.quiet + gap))
	default:
		return
	}
	rest := p.want - move
	p.anchorAt(frame+move, arrival, last)
	p.want = rest
}
