package brokers

import (
	"context"
	"sync"
)

// rounds joins questions: whoever asks while a request is on its way shares the
// next one with everyone else who does. So there is at most one request at a
// time, and nobody gets an answer to a request that was sent before he asked.
type rounds[K comparable, V any] struct {
	ask func(context.Context, []K) (V, error) // one request for all keys

	mu      sync.Mutex
	running bool
	next    *round[K, V] // not sent yet; nil where nobody waits for one
	closed  bool
	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	sending sync.WaitGroup
}

type round[K comparable, V any] struct {
	keys map[K]struct{}
	done chan struct{} // closed when answer and err are set
	said V
	err  error
}

func newRounds[K comparable, V any](ask func(context.Context, []K) (V, error)) *rounds[K, V] {
	r := &rounds[K, V]{ask: ask}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// join returns the answer to a request for keys, and maybe others, that is sent
// after the call; or the error of ctx when that ends first.
func (r *rounds[K, V]) join(ctx context.Context, keys []K) (V, error) {
	mine := r.enter(keys)
	select {
	case <-mine.done:
		return mine.said, mine.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

func (r *rounds[K, V]) enter(keys []K) *round[K, V] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		closed := &round[K, V]{done: make(chan struct{}), err: context.Canceled}
		close(closed.done)
		return closed
	}
	if r.next == nil {
		r.next = &round[K, V]{keys: make(map[K]struct{}), done: make(chan struct{})}
	}
	mine := r.next
	for _, k := range keys {
		mine.keys[k] = struct{}{}
	}
	if !r.running {
		r.running = true
		r.sending.Go(r.send)
	}
	return mine
}

// send sends requests for as long as somebody waits for one.
func (r *rounds[K, V]) send() {
	for {
		r.mu.Lock()
		now := r.next
		r.next = nil
		if now == nil {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		keys := make([]K, 0, len(now.keys))
		for k := range now.keys {
			keys = append(keys, k)
		}
		now.said, now.err = r.ask(r.ctx, keys)
		close(now.done)
	}
}

// close interrupts the request on its way and waits for its end.
func (r *rounds[K, V]) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.sending.Wait()
}
