//go:build explore

package explore

// Object is a shared variable, as the engine sees it. The types of atomicx have
// one each; the zero Object is ready. For each operation they call Access, or
// Await, and after it, if that reported true, the method that tells what came
// of it.
type Object struct {
	run           *run   // the run that the rest belongs to
	id            int32  // in the order of first accesses
	reads, writes clock  // reducing: the accesses so far
	released      clock  // what an atomic operation on the object synchronizes with
	value         uint64 // the last operation's, for the trace
	// Of a Cell: the last write's thread and clock there, and all reads since.
	writer   int8
	wrote    int32
	readings clock
}

// use makes o part of the run.
func (o *Object) use(r *run) {
	if o.run != r {
		r.objects++
		*o = Object{run: r, id: r.objects}
	}
}

// Active reports whether a search is under way.
func Active() bool { return current != nil }

// Access is called before an operation on o. It returns when the scheduler lets
// the operation happen, and reports whether a thread of a search calls.
func (o *Object) Access(k Kind, what string) bool { return o.Await(k, what, nil) }

// Await is Access for an operation that cannot happen before *ready; nil: it
// can at any time.
func (o *Object) Await(k Kind, what string, ready *bool) bool {
	r := current
	if r == nil {
		return false
	}
	o.use(r)
	if r.cur == nil {
		return false
	}
	r.perform(op{access: access{o.id, k}, obj: o, what: what, ready: ready})
	return true
}

// Loaded says that the running thread has read v. It is synchronized with the
// operation that wrote it.
func (o *Object) Loaded(v uint64) {
	current.cur.sync.join(&o.released)
	o.value = v
}

// Kept says the same of a compare-and-swap that failed, and so was no write.
func (o *Object) Kept() {
	current.cur.op.kind = Read
	o.Loaded(0)
}

// Ignored says that the operation turned out to do nothing, and synchronizes
// with nothing.
func (o *Object) Ignored() {
	current.cur.op.kind = Read
	o.value = 0
}

// Stored says that the running thread has written v without looking.
func (o *Object) Stored(v uint64) {
	t := current.cur
	o.released = t.sync
	t.sync[t.id]++ // what comes later is not released
	o.value = v
}

// Updated says that the running thread has read and written in one operation,
// which returned v.
func (o *Object) Updated(v uint64) {
	current.cur.sync.join(&o.released)
	o.Stored(v)
}

// Plain is called before a read or write of a Cell. It is no step of its own:
// accesses that are ordered in one interleaving are so in all that the search
// takes to be the same. Unordered ones are a failure.
func (o *Object) Plain(k Kind) {
	r := current
	if r == nil || r.cur == nil {
		return
	}
	o.use(r)
	t := r.cur
	if o.wrote > t.sync[o.writer] && o.writer != t.id {
		r.failf("data race: thread %d accesses a plain variable after thread %d wrote it", t.id, o.writer)
	}
	if k == Read {
		o.readings[t.id] = t.sync[t.id]
		return
	}
	for i, read := range o.readings {
		if read > t.sync[i] && int8(i) != t.id {
			r.failf("data race: thread %d writes a plain variable after thread %d read it", t.id, i)
		}
	}
	o.writer, o.wrote, o.readings = t.id, t.sync[t.id], clock{}
}
