package drive

import (
	"fmt"
	"slices"
	"time"
)

// The longest that a worker's late read goes unnoticed doubles from the first look
// at its channel to the last (L4).
const (
	firstLook = time.Millisecond
	lastLook  = 10 * time.Second
)

// never is when nothing is due.
const never = time.Duration(1<<63 - 1)

// reference is what the contract says must be so. Its methods take in what has
// happened; what must have followed stands in its fields.
type reference struct {
	cfg     Config
	now     time.Duration
	workers []*record
	conns   []*place
	closed  bool

	// Of the step that is being taken.
	spawns, stops int // calls of SpawnExecutor and of Stop that must begin

	// What Stats must count.
	repeated, afterStop, strangers, unknownExecutors uint64
	full, failedSpawns, wrongLengths                 uint64
}

// record is one worker, in the life that is on.
type record struct {
	alive bool
	room  int
	// unread is what its channel holds, using what it took last (0: nothing).
	unread []int
	using  int
	// sent is what the mapper takes it to hold, oldest first: a read tells nobody.
	sent   []int
	look   time.Duration // when the mapper looks at the channel, or never
	lookIn time.Duration // the time from this look to the next

	owed     bool // a resolution is to start
	waits    bool // it had to wait, and so adds to attempt
	due      time.Duration
	inFlight bool
	void     bool // what is in flight is for an earlier life
	began    time.Duration
	attempt  int
	awaits   int // a connection, or -1
}

// place is a connection and the executor that exists for it.
type place struct {
	state    placeState
	executor int // where live or stopping
	leases   int
}

type placeState uint8

const (
	placeEmpty placeState = iota
	placeSpawning
	placeLive
	placeStopping
)

func newReference(cfg Config) *reference {
	r := &reference{cfg: cfg}
	for range cfg.Workers {
		r.workers = append(r.workers, &record{awaits: -1, look: never})
	}
	for range cfg.Conns {
		r.conns = append(r.conns, &place{})
	}
	return r
}

// last returns what w was sent last, or 0.
func (w *record) last() int {
	if n := len(w.sent); n > 0 {
		return w.sent[n-1]
	}
	return 0
}

// holds reports that w holds e.
func (w *record) holds(e int) bool {
	return w.alive && (w.using == e || slices.Contains(w.unread, e))
}

// several: the mapper takes w to hold more than one executor.
func (w *record) several() bool {
	return slices.ContainsFunc(w.sent, func(e int) bool { return e != w.sent[0] })
}

// begin begins a life of worker i.
func (r *reference) begin(i, room int) {
	w := r.workers[i]
	*w = record{alive: true, room: room, awaits: -1, look: never, inFlight: w.inFlight, void: w.void, began: w.began}
	w.owed, w.due = true, r.now // B2
}

// end ends the life that is on.
func (r *reference) end(i int) {
	w := r.workers[i]
	*w = record{awaits: -1, look: never, inFlight: w.inFlight, void: w.inFlight, began: w.began}
	r.letGo()
}

// trigger is judged when it comes (B1).
func (r *reference) trigger(w *record) {
	if !w.alive || w.owed {
		return
	}
	w.owed, w.waits, w.due = true, false, r.now
	if at := w.began + backoff(w.attempt); at > r.now {
		w.waits, w.due = true, at
	}
}

// failed is BrokerFailed for an executor that exists: a trigger for all whom the
// mapper takes to hold it.
func (r *reference) failed(e int) {
	for _, w := range r.workers {
		if slices.Contains(w.sent, e) {
			r.trigger(w)
		}
	}
}

// starts takes note of a resolution of worker i that started at at, or says why
// it must not have.
func (r *reference) starts(i int, at time.Duration) error {
	w := r.workers[i]
	switch {
	case !w.alive:
		return fmt.Errorf("S5: w%d is resolved, and is dead", i+1)
	case w.inFlight:
		return fmt.Errorf("S9: w%d is resolved twice at a time", i+1)
	case !w.owed:
		return fmt.Errorf("B1: w%d is resolved, and nobody has asked for it", i+1)
	case w.due > at:
		return fmt.Errorf("B1: w%d is resolved at %v, and was to wait until %v", i+1, at, w.due)
	}
	w.owed, w.inFlight, w.began = false, true, at
	if w.attempt++; !w.waits {
		w.attempt = 0
	}
	return nil
}

// lands ends a resolution and reports whether its outcome counts.
func (r *reference) lands(w *record) bool {
	w.inFlight = false
	if w.void {
		w.void = false
		if w.alive {
			w.due = r.now // it has waited for this (S9)
		}
		return false
	}
	return true
}

// answered: the resolution of worker i gave connection c.
func (r *reference) answered(i, c int) {
	w := r.workers[i]
	if !r.lands(w) {
		return
	}
	w.awaits = -1
	switch k := r.conns[c]; {
	case k.state == placeLive:
		if !r.send(w, k.executor) {
			r.retry(w)
		}
	case k.state == placeEmpty && len(w.unread) == w.room:
		r.full++
		r.retry(w)
	case k.state == placeEmpty:
		k.state = placeSpawning
		r.spawns++
		w.awaits = c
	default:
		w.awaits = c
	}
	r.letGo()
}

func (r *reference) refused(i int) {
	if w := r.workers[i]; r.lands(w) {
		r.retry(w)
	}
}

// retry follows a failed resolution; a trigger that came in the meantime is the
// same (B1).
func (r *reference) retry(w *record) {
	if !w.owed {
		w.owed, w.due = true, w.began+backoff(w.attempt)
	}
	w.waits = true
}

// failsLate: what w was resolved to could not be had, or sent.
func (r *reference) failsLate(w *record) {
	if !w.inFlight && !w.owed {
		r.retry(w)
	}
}

// send reports whether there was room.
func (r *reference) send(w *record, e int) bool {
	w.trim()
	if len(w.unread) == w.room {
		r.full++
		r.watch(w)
		return false
	}
	if w.last() != e {
		w.attempt = 0 // B2
		w.lookIn = firstLook
	}
	w.unread = append(w.unread, e)
	w.sent = append(w.sent, e)
	r.watch(w)
	return true
}

// trim lets go of what a read has superseded.
func (w *record) trim() {
	if n := len(w.sent) - len(w.unread) - 1; n > 0 {
		w.sent = slices.Delete(w.sent, 0, n)
	}
}

// watch says when the mapper looks at w's channel (L4, L6).
func (r *reference) watch(w *record) {
	if !w.several() {
		w.look, w.lookIn = never, firstLook
		return
	}
	w.look = r.now + w.lookIn
}

// looks looks at w's channel.
func (r *reference) looks(w *record) {
	w.lookIn = min(2*w.lookIn, lastLook)
	w.trim()
	r.watch(w)
	r.letGo()
}

// letGo stops the executors that nobody holds (L4).
func (r *reference) letGo() {
	for _, k := range r.conns {
		if k.state == placeLive && k.leases == 0 && !r.held(k.executor) {
			k.state = placeStopping
			r.stops++
		}
	}
}

// held: the mapper takes somebody to hold e.
func (r *reference) held(e int) bool {
	return slices.ContainsFunc(r.workers, func(w *record) bool { return slices.Contains(w.sent, e) })
}

// spawned: SpawnExecutor of connection c gave executor e. Its failure may have been
// reported before.
func (r *reference) spawned(c, e int, suspect bool) {
	*r.conns[c] = place{state: placeLive, executor: e}
	for _, w := range r.workers {
		if w.awaits != c {
			continue
		}
		w.awaits = -1
		if !r.send(w, e) {
			r.failsLate(w)
		} else if suspect {
			r.trigger(w)
		}
	}
	r.letGo()
}

// spawnFailed: SpawnExecutor of c gave nothing that can be used; e is what has to
// be stopped, or 0.
func (r *reference) spawnFailed(c, e int) {
	r.failedSpawns++
	*r.conns[c] = place{}
	if e != 0 {
		*r.conns[c] = place{state: placeStopping, executor: e}
		r.stops++
	}
	for _, w := range r.workers {
		if w.awaits == c {
			w.awaits = -1
			r.failsLate(w)
		}
	}
}

// down: the executor of connection c has stopped.
func (r *reference) down(c int) {
	k := r.conns[c]
	*k = place{}
	for _, w := range r.workers {
		if w.awaits != c {
			continue
		}
		if len(w.unread) == w.room { // S3: do not spawn for it
			r.full++
			w.awaits = -1
			r.failsLate(w)
			continue
		}
		if k.state == placeEmpty {
			k.state = placeSpawning
			r.spawns++
		}
	}
}

// next returns when the next timer fires.
func (r *reference) next() time.Duration {
	at := never
	for _, w := range r.workers {
		at = min(at, w.look)
		if w.owed && !w.inFlight && w.due > r.now {
			at = min(at, w.due)
		}
	}
	return at
}

// pass lets time pass up to at, with all looks that come in it. What becomes due
// starts; see starts.
func (r *reference) pass(to time.Duration) {
	for {
		at := never
		for _, w := range r.workers {
			at = min(at, w.look)
		}
		if at > to {
			break
		}
		r.now = at
		for _, w := range r.workers {
			if w.look == at {
				r.looks(w)
			}
		}
	}
	r.now = to
}

// overdue returns a worker that is to be resolved and could be, or -1.
func (r *reference) overdue(calls int) int {
	if calls >= r.cfg.Calls {
		return -1
	}
	return slices.IndexFunc(r.workers, func(w *record) bool { return w.owed && !w.inFlight && w.due <= r.now })
}

// left says what is left: lives, executors that exist or are to come.
func (r *reference) left() (n int) {
	for _, w := range r.workers {
		if w.alive {
			n++
		}
	}
	for _, k := range r.conns {
		if k.state != placeEmpty {
			n++
		}
	}
	return n
}
