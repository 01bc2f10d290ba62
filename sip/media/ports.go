package media

import (
	"fmt"
	"time"
)

// PortRange is the UDP ports that streams may use, both ends included. RTP
// takes the even port of a pair and RTCP the odd one above it (RFC 3550 §11).
type PortRange struct{ First, Last uint16 }

// portRest is how long a closed pair stays unused: packets of the call before
// may still be on their way, and its phone may not know yet that it is over.
const portRest = 5 * time.Second

// portPool hands out port pairs in random order, so that a stranger cannot
// guess where the next call will be.
type portPool struct {
	first uint16
	pairs []time.Duration // when the pair may be taken again
}

const portTaken = time.Duration(1<<63 - 1)

func newPortPool(r PortRange) (*portPool, error) {
	first := int(r.First) + int(r.First)&1
	n := (int(r.Last) + 1 - first) / 2
	if first == 0 || n < 1 {
		return nil, fmt.Errorf("media ports %d-%d: at least one even port and the port after it are needed", r.First, r.Last)
	}
	return &portPool{first: uint16(first), pairs: make([]time.Duration, n)}, nil
}

// take gives the even port of a free pair, beginning the search at a random one.
func (p *portPool) take(now time.Duration, random uint32) (port uint16, ok bool) {
	start := int(uint64(random) * uint64(len(p.pairs)) >> 32)
	for i := range p.pairs {
		i = (start + i) % len(p.pairs)
		if p.pairs[i] <= now {
			p.pairs[i] = portTaken
			return p.first + uint16(2*i), true
		}
	}
	return 0, false
}

// give returns a pair, to be used again from then on.
func (p *portPool) give(port uint16, from time.Duration) { p.pairs[(port-p.first)/2] = from }
