package drive

// hold is what has happened while the mapper's goroutine stood still. It finds all
// of it at once when it goes on: lives that have come and gone meanwhile it never
// sees, and many triggers are one.
type hold struct {
	on     chan struct{} // closed: it goes on
	since  []unseen
	failed []int // executors that were reported
	deeds  int
}

// unseen is what the mapper has not yet seen of a worker.
type unseen struct {
	changed   bool // the life that it knows of has ended, or another has begun
	alive     bool
	room      int
	triggered bool
}

const manyDeeds = 12 // while it stands still

// stand has the mapper's goroutine stand still in its Config.Backoff, which it asks
// because worker i is triggered. It does nothing where the mapper would not ask.
func (r *rig) stand(i int) {
	w := r.workers[i]
	if !mayStand || !w.alive || w.owed {
		return
	}
	r.say("trigger w%d, and the mapper stands still", i+1)
	r.standing = &hold{on: make(chan struct{}), since: make([]unseen, len(r.workers))}
	r.trigger(w)
	r.m.TriggerReassign(r.fetchers[i].Worker)
}

// goOn has it go on, and tells the reference what there is to see.
func (r *rig) goOn() {
	h := r.standing
	r.standing = nil
	r.say("it goes on")
	for i, u := range h.since {
		if u.changed && r.workers[i].alive {
			r.end(i)
		}
		if u.changed && u.alive {
			r.begin(i, u.room)
		}
		if u.triggered {
			r.trigger(r.workers[i])
		}
	}
	for _, e := range h.failed {
		r.failed(e)
	}
	r.letGo()
	close(h.on)
}

// living reports that a life of worker i is on, seen or not.
func (r *rig) living(i int) bool {
	if h := r.standing; h != nil && h.since[i].changed {
		return h.since[i].alive
	}
	return r.workers[i].alive
}

// lastOf returns what worker i was sent last in the life that is on, or 0.
func (r *rig) lastOf(i int) int {
	if h := r.standing; h != nil && h.since[i].changed {
		return 0
	}
	return r.workers[i].last()
}
