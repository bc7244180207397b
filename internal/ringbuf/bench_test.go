package ringbuf_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/brokermap/brokermap/internal/ringbuf"
)

// The benchmarks run every implementation side by side; only ratios within one
// run mean something. docs/benchmarks.md has them.

const (
	benchCapacity = 1024
	benchBatch    = 256
	// benchRun is after how many items a consumer of a ring that finds none gives
	// way once before it parks: producers who share its processor then fill the
	// ring, where otherwise the first of them would wake it for one item. From 64
	// producers that makes ours three to four times as fast, and xsync's up to
	// twice. A channel becomes slower by it, and xsync's other queue parks in a
	// call.
	benchRun = 64
)

// queue is what a benchmark drives. Its loops are methods, not its single
// operations, so that each implementation is called directly and not through a
// function pointer.
type queue interface {
	produce(n int) // push n items, giving way while the queue is full
	consume(n int) // take n items, parking while there is none
}

var benchItem = new(int)

// backpressure parks producers while a queue is full, the same way for every
// queue that does not bring its own.
type backpressure struct {
	waiting atomic.Int32
	space   chan struct{}
}

func newBackpressure() *backpressure { return &backpressure{space: make(chan struct{}, 1)} }

// wait returns when push has succeeded.
func (p *backpressure) wait(push func() bool) {
	runtime.Gosched()
	if push() {
		return
	}
	p.waiting.Add(1)
	for !push() {
		<-p.space
	}
	if p.waiting.Add(-1) > 0 {
		p.token() // there may be room for the next one too
	}
}

func (p *backpressure) token() {
	select {
	case p.space <- struct{}{}:
	default:
	}
}

// taken is called by the consumer when it has taken something, or found nothing.
func (p *backpressure) taken() {
	if p.waiting.Load() > 0 {
		p.token()
	}
}

type oursQueue struct {
	r   *ringbuf.Ring[*int]
	p   *backpressure
	buf []*int
}

func newOurs() queue {
	return oursQueue{ringbuf.New[*int](benchCapacity), newBackpressure(), make([]*int, benchBatch)}
}

func (q oursQueue) produce(n int) {
	for range n {
		if !q.r.Push(benchItem) {
			q.p.wait(func() bool { return q.r.Push(benchItem) })
		}
	}
}

func (q oursQueue) consume(n int) {
	run := 0
	for n > 0 {
		k := q.r.Drain(q.buf)
		q.p.taken()
		run += k
		if k == 0 {
			if run >= benchRun {
				run = 0
				runtime.Gosched()
				continue
			}
			q.r.Arm()
			if k = q.r.Drain(q.buf); k == 0 {
				q.r.Wait(nil)
				continue
			}
			q.r.Disarm()
			run = k
		}
		n -= k
	}
}

type chanQueue struct{ c chan *int }

func newChan() queue { return chanQueue{make(chan *int, benchCapacity)} }

func (q chanQueue) produce(n int) {
	for range n {
		q.c <- benchItem
	}
}

func (q chanQueue) consume(n int) {
	for range n {
		<-q.c
	}
}

// mpmcQueue is xsync's bounded queue with the ring's way of parking.
type mpmcQueue struct {
	q      *xsync.MPMCQueue[*int]
	p      *backpressure
	parked *atomic.Uint32
	token  chan struct{}
}

func newMPMC() queue {
	return mpmcQueue{xsync.NewMPMCQueue[*int](benchCapacity), newBackpressure(), new(atomic.Uint32), make(chan struct{}, 1)}
}

func (q mpmcQueue) push() bool {
	if !q.q.TryEnqueue(benchItem) {
		return false
	}
	if q.parked.Load() != 0 {
		select {
		case q.token <- struct{}{}:
		default:
		}
	}
	return true
}

func (q mpmcQueue) produce(n int) {
	for range n {
		if !q.push() {
			q.p.wait(q.push)
		}
	}
}

func (q mpmcQueue) consume(n int) {
	run := 0
	for i := 0; n > 0; i++ {
		_, ok := q.q.TryDequeue()
		if !ok || i%benchBatch == 0 {
			q.p.taken()
		}
		if !ok {
			if run >= benchRun {
				run = 0
				runtime.Gosched()
				continue
			}
			q.parked.Store(1)
			if _, ok = q.q.TryDequeue(); !ok {
				<-q.token
				q.parked.Store(0)
				continue
			}
			q.parked.Store(0)
		}
		run++
		n--
	}
}

type umpscQueue struct{ q *xsync.UMPSCQueue[*int] }

func newUMPSC() queue { return umpscQueue{xsync.NewUMPSCQueue[*int]()} }

func (q umpscQueue) produce(n int) {
	for range n {
		q.q.Enqueue(benchItem)
	}
}

func (q umpscQueue) consume(n int) {
	for range n {
		q.q.Dequeue()
	}
}

var queues = []struct {
	name string
	make func() queue
}{
	{"ours", newOurs},
	{"chan", newChan},
	{"xsync.MPMC", newMPMC},
	{"xsync.UMPSC", newUMPSC},
}

// BenchmarkThroughput: producers that push as fast as they can, one consumer
// that parks when there is nothing; an operation is one item.
func BenchmarkThroughput(b *testing.B) {
	for _, producers := range []int{1, 2, 8, 64} {
		for _, impl := range queues {
			b.Run(fmt.Sprintf("impl=%s/producers=%d", impl.name, producers), func(b *testing.B) {
				throughput(b, impl.make(), producers)
			})
		}
	}
}

// BenchmarkOversubscribed is BenchmarkThroughput with four times as many
// running threads as cores: threads are stopped by the operating system in the
// middle of anything.
func BenchmarkOversubscribed(b *testing.B) {
	for _, producers := range []int{8, 64} {
		for _, impl := range queues {
			b.Run(fmt.Sprintf("impl=%s/producers=%d", impl.name, producers), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4 * runtime.NumCPU()))
				throughput(b, impl.make(), producers)
			})
		}
	}
}

func throughput(b *testing.B, q queue, producers int) {
	var wg sync.WaitGroup
	b.ResetTimer()
	for p := range producers {
		n := b.N / producers
		if p < b.N%producers {
			n++
		}
		wg.Go(func() { q.produce(n) })
	}
	q.consume(b.N)
	wg.Wait()
}

// BenchmarkPushPop: one goroutine on both ends, against the floor of two atomic
// read-modify-writes.
func BenchmarkPushPop(b *testing.B) {
	for _, impl := range queues[:3] {
		b.Run("impl="+impl.name, func(b *testing.B) {
			switch q := impl.make().(type) {
			case oursQueue:
				buf := make([]*int, 1)
				for b.Loop() {
					q.r.Push(benchItem)
					q.r.Drain(buf)
				}
			case chanQueue:
				for b.Loop() {
					q.c <- benchItem
					<-q.c
				}
			case mpmcQueue:
				for b.Loop() {
					q.q.TryEnqueue(benchItem)
					q.q.TryDequeue()
				}
			}
		})
	}
	b.Run("impl=two-rmw", func(b *testing.B) {
		var x, y atomic.Uint64
		for b.Loop() {
			x.Add(1)
			y.Add(1)
		}
	})
}

// BenchmarkWake: a burst of items wakes the parked consumer, which answers when
// it has them all; an operation is the whole round.
func BenchmarkWake(b *testing.B) {
	for _, burst := range []int{1, 32} {
		for _, impl := range queues {
			b.Run(fmt.Sprintf("impl=%s/burst=%d", impl.name, burst), func(b *testing.B) {
				q := impl.make()
				answer := make(chan struct{})
				go func() {
					for range b.N {
						q.consume(burst)
						answer <- struct{}{}
					}
				}()
				b.ResetTimer()
				for range b.N {
					q.produce(burst)
					<-answer
				}
			})
		}
	}
}
