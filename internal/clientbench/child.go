package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/brokermap/brokermap/internal/kafkatest"
	"github.com/brokermap/brokermap/internal/stall"
)

// A task is what a child process does: each client is measured in a process of its
// own, so that its CPU time and its memory are told from everybody else's, those
// of its C library included. So is the embedded cluster.
type task struct {
	Kind       string // consume, latency, serve
	Client     string
	Addrs      []string
	Topic      string
	Partitions int
	Records    int // that the topic has; each partition has the same number
	// Skip is how many records of each partition are too early to count, of a
	// latency.
	Skip int
	// Of Idle partitions nothing is awaited and nothing counts; where Unread says so
	// nobody reads them.
	Idle   []int32
	Unread bool
}

// consumed is the result of a task.
type consumed struct {
	Wall  time.Duration // from before the client was made to the last record
	CPU   time.Duration // of the process, until then
	Alloc int64         // bytes that Go allocated
	RSS   int64         // bytes, at most, beyond what the process had before
	Wrong int64         // records that came twice or not in order
	P50   time.Duration // of the latency
	P99   time.Duration
	Worst time.Duration
}

const patience = 2 * time.Minute

// runChild carries out the task that the parent wrote to standard input, and
// writes the result to standard output.
func runChild() error {
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	var t task
	if err := json.Unmarshal(line, &t); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if t.Kind == "serve" {
		cluster, err := kafkatest.Start(kafkatest.Config{Options: []kfake.Opt{}})
		if err != nil {
			return err
		}
		defer cluster.Close()
		if err := out.Encode(cluster.Addrs()); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, in) // until the parent is gone
		return err
	}
	picked, err := pick(t.Client)
	if err != nil {
		return err
	}
	read := picked[0].Client
	if t.Unread {
		read = unread(read, t.Idle)
	}
	c, err := consume(t, read)
	if err != nil {
		return err
	}
	return out.Encode(c)
}

// counter is one partition's, alone in its cache lines.
type counter struct {
	next, wrong int64
	latencies   []time.Duration
	_           [128 - 40]byte
}

// consume reads a whole topic with one client.
func consume(t task, c stall.Client) (consumed, error) {
	counters := make([]counter, t.Partitions)
	var left atomic.Int64 // partitions that are not at their end
	left.Store(int64(t.Partitions - len(t.Idle)))
	done := make(chan time.Time, 1)
	each := int64(t.Records / t.Partitions)
	ended := make(chan struct{})
	receive := func(partition int32, offset int64, _, value []byte) {
		if len(t.Idle) > 0 && slices.Contains(t.Idle, partition) {
			if t.Unread {
				<-ended
			}
			return
		}
		k := &counters[partition]
		if offset != k.next {
			k.wrong++
		}
		k.next = offset + 1
		if t.Kind == "latency" && offset >= int64(t.Skip) {
			_, made, err := stall.Parse(value)
			if err != nil {
				k.wrong++
			}
			k.latencies = append(k.latencies, time.Since(made))
		}
		if k.next == each && left.Add(-1) == 0 {
			done <- time.Now()
		}
	}
	runtime.GC()
	rss := residentSet()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, began := cpuTime(), time.Now()
	stop, err := c.Start(t.Addrs, t.Topic, t.Partitions, receive)
	if err != nil {
		return consumed{}, err
	}
	var res consumed
	select {
	case end := <-done:
		res.Wall, res.CPU = end.Sub(began), cpuTime()-cpu
	case <-time.After(patience):
		close(ended)
		return res, fmt.Errorf("%s: %d of %d partitions are not at their end after %v", t.Client, left.Load(), t.Partitions, patience)
	}
	runtime.ReadMemStats(&after)
	close(ended)
	within(stop)
	res.Alloc = int64(after.TotalAlloc - before.TotalAlloc)
	res.RSS = peakResidentSet() - rss
	var all []time.Duration
	for i := range counters {
		res.Wrong += counters[i].wrong
		all = append(all, counters[i].latencies...)
	}
	if len(all) > 0 {
		slices.Sort(all)
		res.P50, res.P99, res.Worst = all[len(all)/2], all[len(all)*99/100], all[len(all)-1]
	}
	return res, nil
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// residentSet returns the memory that the process has now, bytes.
func residentSet() int64 { return status("VmRSS:") }

// peakResidentSet returns the most that it ever had.
func peakResidentSet() int64 { return status("VmHWM:") }

func status(line string) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(l, line); ok {
			var kb int64
			if _, err := fmt.Sscan(rest, &kb); err == nil {
				return kb << 10
			}
		}
	}
	return 0
}

// A process is a child at work.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	errors bytes.Buffer
	once   sync.Once
}

// start starts a child with a task.
func start(t task) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self, "-child")}
	p.cmd.Stderr = &p.errors
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, json.NewEncoder(p.in).Encode(t)
}

// result reads what the child has found.
func (p *process) result(v any) error {
	line, err := p.out.ReadBytes('\n')
	if err == nil {
		return json.Unmarshal(line, v)
	}
	p.end()
	return errors.New("child: " + strings.TrimSpace(p.errors.String()))
}

// end ends the child, which ends with its standard input, or is killed.
func (p *process) end() {
	p.once.Do(func() {
		_ = p.in.Close()
		timer := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
		defer timer.Stop()
		_ = p.cmd.Wait()
	})
}

// measure runs one task in a child.
func measure(t task) (consumed, error) {
	var c consumed
	p, err := start(t)
	if err != nil {
		return c, err
	}
	defer p.end()
	err = p.result(&c)
	return c, err
}
