package ringbuf_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/brokermap/brokermap/internal/ringbuf"
)

// place is a position in the model of a ring: a hole until it is published.
type place struct {
	published bool
	taken     bool
	item      int
	publish   func(int)
}

// The ring against a list of places, one operation at a time, with producers
// that stop between claiming and publishing.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := 1 << rapid.IntRange(1, 8).Draw(t, "log capacity")
		r := ringbuf.NewAt[int](capacity, math.MaxUint64-uint64(rapid.IntRange(0, 2*capacity).Draw(t, "start")))
		var places []place
		first := 0 // the oldest place that is not taken
		next := 1
		room := func() bool { return len(places)-first < capacity }
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				for first < len(places) && places[first].taken {
					first++
				}
			},
			"push": func(t *rapid.T) {
				ok := r.Push(next)
				switch used := len(places) - first; {
				case ok && !room():
					t.Fatalf("accepted an item beyond the capacity")
				case !ok && used < capacity-max(capacity/4, 1)+1:
					t.Fatalf("refused an item with %d of %d cells used", used, capacity)
				case ok:
					places = append(places, place{published: true, item: next})
					next++
				}
			},
			"claim": func(t *rapid.T) {
				if publish := r.Claim(); publish != nil {
					places = append(places, place{publish: publish})
				}
			},
			"publish": func(t *rapid.T) {
				var holes []int
				for i := first; i < len(places); i++ {
					if !places[i].published {
						holes = append(holes, i)
					}
				}
				if len(holes) == 0 {
					t.Skip("no hole")
				}
				p := &places[rapid.SampledFrom(holes).Draw(t, "hole")]
				p.publish(next)
				p.published, p.item = true, next
				next++
			},
			"drain": func(t *rapid.T) {
				buf := make([]int, rapid.IntRange(1, 2*capacity).Draw(t, "buffer"))
				n := r.Drain(buf)
				for _, v := range buf[:n] {
					if !take(places[first:], v) {
						t.Fatalf("drained %d, which is not there", v)
					}
				}
				if n > 0 {
					return
				}
				for _, p := range places[first:] {
					if p.published && !p.taken {
						t.Fatalf("drained nothing, and %d is there", p.item)
					}
				}
				if room() && !r.Push(next) {
					t.Fatalf("refused an item after all was drained")
				} else if room() {
					places = append(places, place{published: true, item: next})
					next++
				}
			},
		})
	})
}

func take(places []place, item int) bool {
	for i := range places {
		if p := &places[i]; p.published && !p.taken && p.item == item {
			p.taken = true
			return true
		}
	}
	return false
}
