package mapper_test

import (
	"testing"
	"unsafe"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

type channel struct{ ch chan mapper.Executor }

func (c *channel) Assignment() chan<- mapper.Executor { return c.ch }
func (c *channel) get() *channel                      { return c }

type (
	own struct { // embeds a Slot, not as the first field
		name string
		mapper.Slot
		channel
	}
	inner  struct{ own }
	nested struct { // embeds a struct that does
		n int
		inner
	}
	shared struct { // has somebody else's
		*mapper.Slot
		channel
	}
	sharedOwner struct { // embeds a struct that has, by a pointer
		*own
		n int
	}
	hidden struct { // has a Slot that is no part of it
		slot mapper.Slot
		channel
	}
	other struct {
		mapper.Slot
		channel
	}
)

type channelled interface {
	mapper.Worker
	get() *channel
}

// A Slot is a help to find a worker, and nothing else: whatever workers make of
// it, everybody is served, as itself.
func TestSlot_EveryKindOfWorker(t *testing.T) {
	common := new(mapper.Slot)
	elsewhere := &own{}
	kinds := map[string]func() channelled{
		"own":            func() channelled { return &own{} },
		"nested":         func() channelled { return &nested{} },
		"shared":         func() channelled { return &shared{Slot: common} },
		"nil":            func() channelled { return &shared{} },
		"shared, nested": func() channelled { return &sharedOwner{own: &own{}} },
		"hidden":         func() channelled { return &hidden{} },
		"other":          func() channelled { return &other{} },
		"owned":          func() channelled { return elsewhere },
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
			var ws []channelled
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

// Who embeds one pays for it.
func TestSlot_Size(t *testing.T) {
	if size := unsafe.Sizeof(mapper.Slot{}); size > 88 && unsafe.Sizeof(uintptr(0)) == 8 {
		t.Errorf("a Slot takes %d bytes, want at most 88", size)
	}
}

// A first life needs no allocation: the Slot has room for it.
func TestSlot_SpawnDoesNotAllocate(t *testing.T) {
	f := newFreezer()
	b := broker("a")
	m, err := mapper.Spawn(mapper.Config{Backoff: f.backoff}, funcs{
		resolve: func(mapper.Worker) (*sarama.Broker, error) { return b, nil },
		spawn:   func(c *sarama.Broker) mapper.Executor { return &rigExecutor{c} },
	})
	if err != nil {
		t.Fatal(err)
	}
	cold := &other{channel: channel{make(chan mapper.Executor, 2)}}
	const n = 1000
	ws := make([]*other, n)
	for i := range ws {
		ws[i] = &other{channel: channel{make(chan mapper.Executor, 1)}}
	}
	for _, w := range ws { // so that the map has its size
		m.OnWorkerSpawned(w)
		<-w.ch
		m.OnWorkerStopped(w)
	}
	m.OnWorkerSpawned(cold)
	<-cold.ch
	for i := range ws {
		ws[i] = &other{channel: channel{make(chan mapper.Executor, 1)}}
	}
	f.freeze(m, cold)
	i := 0
	if allocs := testing.AllocsPerRun(n/2, func() { m.OnWorkerSpawned(ws[i]); i++ }); allocs != 0 {
		t.Errorf("OnWorkerSpawned allocates %v times", allocs)
	}
	f.melt()
	for _, w := range ws[:i] {
		m.OnWorkerStopped(w)
	}
	m.OnWorkerStopped(cold)
	m.Stop()
}
