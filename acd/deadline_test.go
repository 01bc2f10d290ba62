package acd

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestTimersKeepTheirOrder arms and disarms at random and compares with a
// sorted list.
func TestTimersKeepTheirOrder(t *testing.T) {
	start := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		var h timers
		all := make([]*timer, 40)
		for i := range all {
			switch i % 3 {
			case 0:
				all[i] = &newAgent(AgentID(rune('a' + i))).timer
			case 1:
				all[i] = &timer{offer: &offer{id: OfferID(i)}}
			default:
				all[i] = &timer{visit: &visit{arrival: uint64(i)}}
			}
		}
		for range 300 {
			if one := all[r.IntN(len(all))]; r.IntN(3) == 0 {
				h.disarm(one)
			} else {
				h.arm(one, start.Add(time.Duration(r.IntN(10))*time.Second))
			}
			armed := slices.DeleteFunc(slices.Clone(all), func(one *timer) bool { return one.pos == 0 })
			slices.SortFunc(armed, func(a, b *timer) int {
				if a.before(b) {
					return -1
				}
				return 1
			})
			switch {
			case len(h) != len(armed):
				t.Fatalf("seed %d: %d timers are armed, want %d", seed, len(h), len(armed))
			case len(armed) > 0 && h.first() != armed[0]:
				t.Fatalf("seed %d: the first timer is not the next", seed)
			}
		}
	}
}
