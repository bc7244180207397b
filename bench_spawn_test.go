package brokermap_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/brokermap/brokermap/mapper"
)

// BenchmarkSpawn: n workers are spawned by one goroutine, assigned to 16
// executors that serve others already, and stopped. It reports, for each worker,
//
//	spawn-ns     from the first OnWorkerSpawned until the last worker is assigned
//	spawn-cpu-ns processor time until then
//	stop-ns      from the first OnWorkerStopped until Stop has returned
//	allocs       allocations of the mapper and its resolver until then
//	heap-B       bytes that the mapper keeps while all are assigned and idle
//
// The workers and their channels are the caller's and not counted, but for the
// Slots in them. They are
// spawned in the order in which they were made, as programs do. impl=floor is what
// no mapper can do without: an allocation, an insert into a Go map, a send.
//
// -benchtime=500ms -count=10 is enough.
func BenchmarkSpawn(b *testing.B) {
	for _, n := range sizes(100, 1_000, 10_000, 100_000, 1_000_000) {
		for _, im := range impls {
			b.Run(fmt.Sprintf("workers=%d/impl=%s", n, im.name), func(b *testing.B) {
				benchSpawn(b, n, im)
			})
		}
		b.Run(fmt.Sprintf("workers=%d/impl=floor", n), func(b *testing.B) {
			benchSpawn(b, n, impl{"floor", false, func(*testing.B, *cluster, mapper.Config) subject { return floor{} }})
		})
	}
}

func benchSpawn(b *testing.B, n int, im impl) {
	heap := make([]byte, heapMiB(b)<<20)
	defer runtime.KeepAlive(heap)
	spawnAndStop(b, n, im, new(perWorker)) // faults the memory in, and is not counted
	p := perWorker{slots: im.slots}
	for b.Loop() {
		spawnAndStop(b, n, im, &p)
	}
	p.report(b, b.N*n)
}

func spawnAndStop(b *testing.B, n int, im impl, p *perWorker) {
	m := im.spawn(b, newCluster(homes), mapper.Config{})
	residents, ws := newWorkers(im, homes, homes), newWorkers(im, n, homes)
	for _, w := range residents {
		m.OnWorkerSpawned(w)
	}
	waitAssigned(residents)

	p.begin()
	for _, w := range ws {
		m.OnWorkerSpawned(w)
	}
	waitAssigned(ws)
	p.spawned()

	drain(ws)
	drain(residents)
	began := time.Now()
	for _, w := range ws {
		m.OnWorkerStopped(w)
	}
	for _, w := range residents {
		m.OnWorkerStopped(w)
	}
	m.Stop()
	p.stop += time.Since(began)
}

func heapMiB(b *testing.B) int {
	set := os.Getenv("BROKERMAP_BENCH_HEAP")
	if set == "" {
		return 64
	}
	n, err := strconv.Atoi(set)
	if err != nil || n < 0 {
		b.Fatalf("BROKERMAP_BENCH_HEAP=%s: it must be a number of MiB", set)
	}
	return n
}

// perWorker sums up what is reported for each worker.
type perWorker struct {
	slots       bool // each worker embeds one, which counts as memory of the mapper
	began       time.Time
	beganCPU    time.Duration
	before      runtime.MemStats
	spawn, stop time.Duration
	cpu         time.Duration
	allocs      uint64
	heap        int64
}

// begin starts from a clean heap, so that garbage of the last round is not
// collected at this one's expense.
func (p *perWorker) begin() {
	runtime.GC()
	runtime.ReadMemStats(&p.before)
	p.began, p.beganCPU = time.Now(), cpuTime()
}

func (p *perWorker) spawned() {
	p.spawn += time.Since(p.began)
	p.cpu += cpuTime() - p.beganCPU
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	p.allocs += now.Mallocs - p.before.Mallocs
	runtime.GC()
	runtime.ReadMemStats(&now)
	p.heap += int64(now.HeapAlloc - p.before.HeapAlloc)
}

// report replaces the time of a whole round, the collections included, which
// means nothing.
func (p *perWorker) report(b *testing.B, workers int) {
	n := float64(workers)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(p.spawn.Nanoseconds())/n, "spawn-ns")
	b.ReportMetric(float64(p.cpu.Nanoseconds())/n, "spawn-cpu-ns")
	b.ReportMetric(float64(p.stop.Nanoseconds())/n, "stop-ns")
	b.ReportMetric(float64(p.allocs)/n, "allocs")
	heap := float64(p.heap) / n
	if p.slots {
		heap += float64(unsafe.Sizeof(mapper.Slot{}))
	}
	b.ReportMetric(heap, "heap-B")
}

// floor is the least that a mapper has to do for a worker.
type floor map[mapper.Worker]*[4]uint64

var floorExecutor mapper.Executor = new(executor)

func (f floor) OnWorkerSpawned(w mapper.Worker) {
	f[w] = new([4]uint64)
	w.Assignment() <- floorExecutor
}

func (f floor) OnWorkerStopped(w mapper.Worker) { delete(f, w) }
func (f floor) TriggerReassign(mapper.Worker)   {}
func (f floor) Stop()                           {}
