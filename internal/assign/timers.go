package assign

import "time"

// A worker has up to two timers, the second only while it has older holds.
const (
	retry = iota // an owed resolution comes due
	look         // its channel is looked at
)

const (
	firstLook = Time(time.Millisecond)
	lastLook  = Time(10 * time.Second)

	lastLookStep = 14 // firstLook doubled so often is more than lastLook
)

// lookInterval doubles from firstLook to lastLook (L4).
func lookInterval(step uint8) Time {
	return min(firstLook<<step, lastLook)
}

// timers is a heap of four branches, ordered by due time and, for equal times,
// by worker. Each worker's record says where its timers stand, so that they can
// be moved and removed.
type timers struct{ heap []timer }

type timer struct {
	due Time
	id  int32 // worker*2 + kind
}

func (a timer) before(b timer) bool {
	return a.due < b.due || a.due == b.due && a.id < b.id
}

func place(m *Machine, id int32) *int32 {
	r := m.workers.at(id >> 1)
	if id&1 == look {
		return &m.older.at(r.older).lookAt
	}
	return &r.retryAt
}

func (t *timers) next() (Time, bool) {
	if len(t.heap) == 0 {
		return 0, false
	}
	return t.heap[0].due, true
}

func (t *timers) set(m *Machine, w Worker, kind int32, due Time) {
	t.remove(m, w, kind)
	t.heap = append(t.heap, timer{due: due, id: int32(w)*2 + kind})
	t.up(m, len(t.heap)-1)
}

func (t *timers) remove(m *Machine, w Worker, kind int32) {
	p := place(m, int32(w)*2+kind)
	i := int(*p)
	if i == none {
		return
	}
	*p = none
	last := len(t.heap) - 1
	moved := t.heap[last]
	t.heap = t.heap[:last]
	if i == last {
		return
	}
	t.heap[i] = moved
	*place(m, moved.id) = int32(i)
	t.down(m, i)
	t.up(m, int(*place(m, moved.id)))
}

// pop takes a timer that is due at now.
func (t *timers) pop(m *Machine, now Time) (Worker, int32, bool) {
	if len(t.heap) == 0 || t.heap[0].due > now {
		return 0, 0, false
	}
	id := t.heap[0].id
	t.remove(m, Worker(id>>1), id&1)
	return Worker(id >> 1), id & 1, true
}

func (t *timers) up(m *Machine, i int) {
	x := t.heap[i]
	for i > 0 {
		p := (i - 1) / 4
		if !x.before(t.heap[p]) {
			break
		}
		t.heap[i] = t.heap[p]
		*place(m, t.heap[i].id) = int32(i)
		i = p
	}
	t.heap[i] = x
	*place(m, x.id) = int32(i)
}

func (t *timers) down(m *Machine, i int) {
	x := t.heap[i]
	for {
		c := 4*i + 1
		if c >= len(t.heap) {
			break
		}
		for k := c + 1; k < min(c+4, len(t.heap)); k++ {
			if t.heap[k].before(t.heap[c]) {
				c = k
			}
		}
		if !t.heap[c].before(x) {
			break
		}
		t.heap[i] = t.heap[c]
		*place(m, t.heap[i].id) = int32(i)
		i = c
	}
	t.heap[i] = x
	*place(m, x.id) = int32(i)
}
