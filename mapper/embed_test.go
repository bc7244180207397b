package mapper_test

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

type channel struct{ ch chan mapper.Executor }

func (c *channel) Assignment() chan<- mapper.Executor { return c.ch }
func (c *channel) get() *channel                      { return c }

type (
	own struct { // embeds a Slot, not as the first field
		_ string
		mapper.Slot
		channel
	}
	inner  struct{ own }
	nested struct { // embeds a struct that does
		_ int
		inner
	}
	shared struct { // has somebody else's
		*mapper.Slot
		channel
	}
	sharedOwner struct { // embeds a struct that has, by a pointer
		*own
		after [4]uintptr // where a Slot would be, were the pointer the struct
	}
	hidden struct { // has a Slot that is no part of it
		_ mapper.Slot
		channel
	}
	other struct {
		mapper.Slot
		channel
	}
)

type channeled interface {
	mapper.Worker
	get() *channel
}

// A Slot is a help to find a worker, and nothing else: whatever workers make of
// it, everybody is served, as itself.
func TestSlot_EveryKindOfWorker(t *testing.T) {
	common := new(mapper.Slot)
	elsewhere := &own{}
	kinds := map[string]func() channeled{
		"own":            func() channeled { return &own{} },
		"nested":         func() channeled { return &nested{} },
		"shared":         func() channeled { return &shared{Slot: common} },
		"nil":            func() channeled { return &shared{} },
		"shared, nested": func() channeled { return &sharedOwner{own: &own{}} },
		"hidden":         func() channeled { return &hidden{} },
		"other":          func() channeled { return &other{} },
		"owned":          func() channeled { return elsewhere },
	}
	for first, make1 := range kinds { // whose Slots the mapper uses, if it can
		t.Run(first, func(t *testing.T) {
			b := broker("a")
			r := funcs{
				resolve: func(mapper.Worker) (*sarama.Broker, error) { return b, nil },
				spawn:   func(c *sarama.Broker) mapper.Executor { return &rigExecutor{c} },
			}
			// Two mappers share all workers, and each has a channel of its own for
			// the time of its OnWorkerSpawned.
			var ms [2]*mapper.T
			for i := range ms {
				m, err := mapper.Spawn(mapper.Config{Backoff: constant(0)}, r)
				if err != nil {
					t.Fatal(err)
				}
				ms[i] = m
			}
			var ws []channeled
			for range 2 {
				ws = append(ws, make1())
				for _, other := range kinds {
					ws = append(ws, other())
				}
			}
			for range 2 { // lives of each
				chans := map[*mapper.T][]chan mapper.Executor{}
				seen := map[mapper.Worker]bool{}
				for _, m := range ms {
					for _, w := range ws {
						w.get().ch = make(chan mapper.Executor, 1)
						if chans[m] = append(chans[m], w.get().ch); seen[w] {
							chans[m][len(chans[m])-1] = nil // it is there twice
							continue
						}
						seen[w] = true
						m.OnWorkerSpawned(w)
					}
					clear(seen)
					for i, w := range ws {
						if chans[m][i] == nil {
							continue
						}
						e := <-chans[m][i]
						if l, ok := m.Acquire(w); !ok || l.Executor() != e {
							t.Errorf("%T: Acquire returned %v, %v, want %v", w, l, ok, e)
						} else {
							l.Release()
						}
						m.TriggerReassign(w)
						if again := <-chans[m][i]; again != e {
							t.Errorf("%T: sent %v, want %v", w, again, e)
						}
					}
				}
				for _, m := range ms {
					if rows := m.Snapshot(); len(rows) != count(chans[m]) {
						t.Errorf("a snapshot of %d workers has %d rows", count(chans[m]), len(rows))
					}
					for i, w := range ws {
						if chans[m][i] != nil {
							m.OnWorkerStopped(w)
						}
						if _, ok := m.Acquire(w); ok {
							t.Errorf("%T: Acquire after the end", w)
						}
					}
				}
			}
			for _, m := range ms {
				m.Stop()
				if s := m.Stats(); s.UnknownWorkers != 0 || s.RepeatedSpawns != 0 || s.WorkersSpawned != s.WorkersStopped {
					t.Errorf("stats: %+v", s)
				}
			}
		})
	}
}

func count(chans []chan mapper.Executor) int {
	n := 0
	for _, c := range chans {
		if c != nil {
			n++
		}
	}
	return n
}

// spawnPlain returns a mapper that has one broker for everybody, and no rig that knows
// its workers.
func spawnPlain(t *testing.T) *mapper.T {
	t.Helper()
	b := broker("a")
	m, err := mapper.Spawn(mapper.Config{}, funcs{
		resolve: func(mapper.Worker) (*sarama.Broker, error) { return b, nil },
		spawn:   func(c *sarama.Broker) mapper.Executor { return &rigExecutor{c} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A Slot that is reached by a pointer is none of the worker's: others may have it too,
// and in the worker something else is in its place.
func TestSlot_ReachedByAPointer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := spawnPlain(t)
		w := &sharedOwner{own: &own{channel: channel{make(chan mapper.Executor, 1)}}}
		m.OnWorkerSpawned(w)
		<-w.ch
		if w.after != [4]uintptr{} {
			t.Errorf("something was written into the worker: %v", w.after)
		}
		m.OnWorkerStopped(w)
		m.Stop()
	})
}

// A worker is made ready for its next life in place, Slot and all.
func TestSlot_Overwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := spawnPlain(t)
		w := &other{}
		for range 100 {
			*w = other{channel: channel{make(chan mapper.Executor, 1)}}
			m.OnWorkerSpawned(w)
			if rand.IntN(2) == 0 {
				<-w.ch
			}
			m.OnWorkerStopped(w)
			if rand.IntN(2) == 0 {
				synctest.Wait()
			}
		}
		m.Stop()
		if s := m.Stats(); s.UnknownWorkers+s.RepeatedSpawns != 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// A worker may outlive its mapper, and keeps nothing of it but the least.
func TestSlot_KeepsNoMapper(t *testing.T) {
	freed := make(chan struct{})
	w := &other{channel: channel{make(chan mapper.Executor, 1)}}
	func() {
		m := spawnPlain(t)
		runtime.AddCleanup(m, func(c chan struct{}) { close(c) }, freed)
		m.OnWorkerSpawned(w)
		<-w.ch
		m.OnWorkerStopped(w)
		m.Stop()
	}()
	for range 1000 {
		runtime.GC()
		select {
		case <-freed:
			runtime.KeepAlive(w)
			return
		case <-time.After(time.Millisecond):
		}
	}
	t.Error("the mapper is still there")
	runtime.KeepAlive(w)
}
