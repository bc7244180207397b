package fuzz

import (
	"slices"
	"testing"
	"time"

	"github.com/brokermap/brokermap/internal/ringbuf"
)

// FuzzRing holds the ring against a slice: what goes in comes out, once and in
// order; it is full when it may be, and never where it must not; and whoever is
// told to park while there is something to do is woken.
func FuzzRing(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		in := input(b)
		r := ringbuf.New[int](1 + in.byte())
		capacity := r.Cap()
		var (
			want         []int
			next         = 1
			drained      int  // since the ring last gave cells back, at most
			armed, token bool // whether the consumer will park, and whether it would be woken
		)
		push := func() {
			ok := r.Push(next)
			switch used := len(want); {
			case ok && used == capacity:
				t.Fatalf("it took an item beyond its %d cells", capacity)
			case !ok && used+drained < capacity:
				t.Fatalf("it refused an item with %d of %d cells in use, %d of them drained", used+drained, capacity, drained)
			case ok:
				want = append(want, next)
				token = token || armed
			}
			next++
		}
		drain := func(n int) int {
			buf := make([]int, n)
			n = r.Drain(buf)
			if n > len(want) || !slices.Equal(buf[:n], want[:n]) {
				t.Fatalf("drained %v, want the first of %v", buf[:n], want)
			}
			if len(buf) > 0 && n < len(buf) && n < len(want) {
				t.Fatalf("drained %d items into room for %d, and there were %d", n, len(buf), len(want))
			}
			want = want[n:]
			if drained += n; n == 0 && len(buf) > 0 {
				drained = 0
			}
			drained = min(drained, capacity/4)
			return n
		}
		for range enough {
			if len(in) == 0 {
				break
			}
			switch op, n := in.below(8), in.byte(); op {
			case 0, 1:
				push()
			case 2:
				for range n {
					push()
				}
			case 3:
				drain(n)
			case 4:
				drain(1 + n%4)
			case 5:
				r.Arm()
				armed = true
			case 6:
				r.Disarm()
				armed = false
			case 7:
				r.Wake()
				token = token || armed
				if !token {
					break
				}
				r.Arm()
				expired := make(chan time.Time)
				close(expired)
				// Both are ready. Which is taken is chance, so that only a lost
				// token shows, by none of many being it.
				woken := false
				for range 64 {
					if woken = r.Wait(expired); woken {
						break
					}
				}
				if !woken {
					t.Fatal("there is a token, and the consumer was not woken")
				}
				armed, token = false, false
			}
		}
		for len(want) > 0 {
			if drain(64) == 0 {
				t.Fatalf("drained nothing, and there was %v", want)
			}
		}
		if n := r.Drain(make([]int, 1)); n != 0 {
			t.Fatal("an empty ring gave an item")
		}
		for i := range capacity {
			if !r.Push(i) {
				t.Fatalf("an idle ring of %d cells has room for %d", capacity, i)
			}
		}
	})
}
