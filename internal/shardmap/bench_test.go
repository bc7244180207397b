package shardmap

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/puzpuzpuz/xsync/v4"
)

// worker stands for the keys of the real maps: an interface that nearly always
// holds a pointer.
type worker interface{ Topic() string }

type benchWorker struct {
	topic     string
	partition int32
	_         [40]byte
}

func (w *benchWorker) Topic() string { return w.topic }

// benchValue is of the size and the kind of a worker's record.
type benchValue struct {
	_ [2]uint64
	_ chan struct{}
	_ *benchWorker
	_ int
}

// record is what the other maps hold: an Entry knows its key, and so must they.
type record struct {
	worker
	_ benchValue
}

// rival is what the map is measured against, and the map itself. Nobody looks
// into what load returns.
type rival interface {
	load(worker) bool
	insert(worker)
	remove(worker)
}

type ours struct {
	m *Map[worker, benchValue]
}

func (o ours) load(k worker) bool {
	return o.m.Find(k) != nil
}

func (o ours) insert(k worker) {
	h, _ := o.m.Hash(k)
	o.m.LoadOrInsert(NewEntry[worker, benchValue](k), h)
}

func (o ours) remove(k worker) {
	h, _ := o.m.Hash(k)
	if e := o.m.Load(k, h); e != nil {
		o.m.Remove(e, h)
	}
}

type xsyncMap struct {
	m *xsync.Map[worker, *record]
}

func (o xsyncMap) load(k worker) bool { _, ok := o.m.Load(k); return ok }
func (o xsyncMap) insert(k worker)    { o.m.LoadOrStore(k, &record{worker: k}) }
func (o xsyncMap) remove(k worker)    { o.m.Delete(k) }

type syncMap struct{ m *sync.Map }

func (o syncMap) load(k worker) bool { _, ok := o.m.Load(k); return ok }
func (o syncMap) insert(k worker)    { o.m.LoadOrStore(k, &record{worker: k}) }
func (o syncMap) remove(k worker)    { o.m.Delete(k) }

// mutexMap is 64 Go maps behind read-write mutexes, the shard chosen by the
// same hash as ours.
type mutexMap struct {
	hash   *Map[worker, benchValue]
	shards *[64]struct {
		sync.RWMutex
		m map[worker]*record
		_ [24]byte
	}
}

func newMutexMap() mutexMap {
	o := mutexMap{hash: New[worker, benchValue]()}
	o.shards = new([64]struct {
		sync.RWMutex
		m map[worker]*record
		_ [24]byte
	})
	for i := range o.shards {
		o.shards[i].m = map[worker]*record{}
	}
	return o
}

func (o mutexMap) load(k worker) bool {
	h, _ := o.hash.Hash(k)
	s := &o.shards[h>>58]
	s.RLock()
	v := s.m[k]
	s.RUnlock()
	return v != nil
}

func (o mutexMap) insert(k worker) {
	h, _ := o.hash.Hash(k)
	s := &o.shards[h>>58]
	s.Lock()
	if s.m[k] == nil {
		s.m[k] = &record{worker: k}
	}
	s.Unlock()
}

func (o mutexMap) remove(k worker) {
	h, _ := o.hash.Hash(k)
	s := &o.shards[h>>58]
	s.Lock()
	delete(s.m, k)
	s.Unlock()
}

var rivals = []struct {
	name string
	make func() rival
}{
	{"ours", func() rival { return ours{New[worker, benchValue]()} }},
	{"xsync", func() rival { return xsyncMap{xsync.NewMap[worker, *record]()} }},
	{"sync", func() rival { return syncMap{new(sync.Map)} }},
	{"mutex64", func() rival { return newMutexMap() }},
}

func benchKeys(n int) []worker {
	ks := make([]worker, n)
	for i := range ks {
		ks[i] = &benchWorker{partition: int32(i)}
	}
	return ks
}

func fill(r rival, ks []worker) {
	for _, k := range ks {
		r.insert(k)
	}
}

var benchSizes = []int{1_000, 100_000, 1_000_000}

// BenchmarkLoad looks keys up in random order. The calls are direct in each
// arm: an interface method would cost as much as the smallest map's look-up.
//
// On two virtual CPUs of an AMD EPYC, Go 1.26, least of 15 interleaved rounds of
// a million look-ups, ns at 1 k, 100 k and 1 M entries: 3.9, 7.5 and 40; with
// Hash and Load in place of Find 5.6, 16 and 48; xsync.Map 11, 34 and 190.
func BenchmarkLoad(b *testing.B) {
	for _, n := range benchSizes {
		for _, rv := range rivals {
			b.Run(fmt.Sprintf("impl=%s/entries=%d", rv.name, n), func(b *testing.B) {
				ks := benchKeys(n)
				r := rv.make()
				fill(r, ks)
				rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { ks[i], ks[j] = ks[j], ks[i] })
				runtime.GC()
				b.ReportAllocs()
				b.ResetTimer()
				lost := 0
				switch r := r.(type) {
				case ours:
					for i, j := 0, 0; i < b.N; i, j = i+1, next(j, n) {
						h, _ := r.m.Hash(ks[j])
						if r.m.Load(ks[j], h) == nil {
							lost++
						}
					}
				case xsyncMap:
					for i, j := 0, 0; i < b.N; i, j = i+1, next(j, n) {
						if _, ok := r.m.Load(ks[j]); !ok {
							lost++
						}
					}
				case syncMap:
					for i, j := 0, 0; i < b.N; i, j = i+1, next(j, n) {
						if _, ok := r.m.Load(ks[j]); !ok {
							lost++
						}
					}
				case mutexMap:
					for i, j := 0, 0; i < b.N; i, j = i+1, next(j, n) {
						if !r.load(ks[j]) {
							lost++
						}
					}
				}
				if lost > 0 {
					b.Fatalf("%d keys not found", lost)
				}
			})
		}
	}
}

func next(j, n int) int {
	if j++; j == n {
		return 0
	}
	return j
}

// BenchmarkChurn removes the oldest key and inserts a fresh one, at a steady
// number of entries. The keys are allocated by the benchmark: "alloc" is that
// part alone.
//
// On the same machine, CPU time, least of 9 rounds of 200 000: 175, 245 and 317;
// 64 mutex shards 162, 264 and 632; xsync.Map 164, 342 and 472.
func BenchmarkChurn(b *testing.B) {
	for _, n := range benchSizes {
		for _, rv := range rivals {
			b.Run(fmt.Sprintf("impl=%s/entries=%d", rv.name, n), func(b *testing.B) {
				ks := benchKeys(n)
				r := rv.make()
				fill(r, ks)
				runtime.GC()
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					r.remove(ks[i])
					ks[i] = &benchWorker{}
					r.insert(ks[i])
					if i++; i == n {
						i = 0
					}
				}
			})
		}
		b.Run(fmt.Sprintf("impl=alloc/entries=%d", n), func(b *testing.B) {
			ks := benchKeys(n)
			i := 0
			for b.Loop() {
				ks[i] = &benchWorker{}
				if i++; i == n {
					i = 0
				}
			}
		})
	}
}

// BenchmarkFill inserts n keys into an empty map, and reports what an entry
// costs there: the time, and the bytes beside the key's own object.
func BenchmarkFill(b *testing.B) {
	for _, n := range benchSizes {
		for _, rv := range rivals {
			b.Run(fmt.Sprintf("impl=%s/entries=%d", rv.name, n), func(b *testing.B) {
				ks := benchKeys(n)
				var r rival
				for b.Loop() {
					r = rv.make()
					fill(r, ks)
				}
				perEntry := float64(b.N) * float64(n)
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/perEntry, "ns/entry")
				with := heap(r)
				b.ReportMetric(float64(with-heap(nil))/float64(n), "B/entry")
				runtime.KeepAlive(ks)
			})
		}
	}
}

// heap returns the bytes in use while r is, after a collection.
func heap(r rival) int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	runtime.KeepAlive(r)
	return int64(s.HeapAlloc)
}
