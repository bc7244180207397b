package mapper_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// records parses what a JSON handler has written.
func records(t *testing.T, log *bytes.Buffer) []map[string]any {
	t.Helper()
	var rs []map[string]any
	for line := range strings.Lines(log.String()) {
		r := map[string]any{}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		rs = append(rs, r)
	}
	return rs
}

// What goes wrong is logged at Warn, with the keys that the documentation names
// and values that say who and why.
func TestLogger(t *testing.T) {
	a, b := broker("a"), broker("b")
	cases := []struct {
		name string
		do   func(x *world, w *worker)
		want map[string]any // a nil value: any
	}{
		{"error", func(x *world, w *worker) {
			w.leader.Store(nil)
			x.m.TriggerReassign(w)
		}, map[string]any{"level": "WARN", "worker": "the-worker", "attempt": 0.0, "err": errNoLeader.Error()}},
		{"second attempt", func(x *world, w *worker) {
			w.leader.Store(nil)
			x.m.TriggerReassign(w)
			pass(100 * time.Millisecond)
		}, map[string]any{"level": "WARN", "worker": "the-worker", "attempt": 1.0, "err": errNoLeader.Error()}},
		{"nil connection", func(x *world, w *worker) {
			x.lock(func() { x.onResolve = func(*worker) (*sarama.Broker, error) { return nil, nil } })
			x.m.TriggerReassign(w)
		}, map[string]any{"level": "WARN", "worker": "the-worker", "attempt": 0.0, "err": nil}},
		{"nil executor", func(x *world, w *worker) {
			x.lock(func() { x.onSpawn = func(*sarama.Broker) mapper.Executor { return nil } })
			w.leader.Store(b)
			x.m.TriggerReassign(w)
		}, map[string]any{"level": "WARN", "broker": "b:9092", "err": nil}},
		{"executor of another connection", func(x *world, w *worker) {
			x.lock(func() { x.onSpawn = func(c *sarama.Broker) mapper.Executor { return x.executor(c, a) } })
			w.leader.Store(b)
			x.m.TriggerReassign(w)
		}, map[string]any{"level": "WARN", "broker": "b:9092", "executor": "executor#1(a:9092)", "err": nil}},
		{"broker failed", func(x *world, w *worker) {
			x.m.BrokerFailed(w.last, errors.New("connection reset"))
		}, map[string]any{"level": "WARN", "broker": "a:9092", "executor": "executor#0(a:9092)", "err": "connection reset"}},
		{"full channel", func(x *world, w *worker) {
			x.m.TriggerReassign(w)
			pass(time.Second)
			x.m.TriggerReassign(w)
		}, map[string]any{"level": "WARN", "worker": "the-worker", "attempt": 0.0, "err": nil}},
		{"stop", func(x *world, w *worker) {
			x.end(w)
		}, map[string]any{"level": "DEBUG", "broker": "a:9092", "executor": "executor#0(a:9092)"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(t *testing.T) {
				var log bytes.Buffer
				logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				x := newWorld(t, mapper.Config{Logger: logger}, func(x *world) mapper.Resolver {
					if c.name == "error" {
						return batch{plain{x}}
					}
					return plain{x}
				})
				w := x.worker("the-worker", a, 1)
				x.assigned(a, w)
				pass(time.Second)
				log.Reset()
				c.do(x, w)
				settle()
				rs := slices.DeleteFunc(records(t, &log), func(r map[string]any) bool { return r["level"] != c.want["level"] })
				if len(rs) == 0 {
					t.Fatal("nothing was logged at that level")
				}
				r := rs[len(rs)-1]
				for key, value := range c.want {
					if got, there := r[key]; !there || value != nil && got != value {
						t.Errorf("%s is %v, want %v: %v", key, got, value, r)
					}
				}
				known := []string{"time", "level", "msg", "worker", "workers", "broker", "executor", "attempt", "err"}
				for key := range maps.Keys(r) {
					if !slices.Contains(known, key) {
						t.Errorf("the key %s is new: %v", key, r)
					}
				}
			})
		})
	}
}

// One failed call is one record, however many workers it fails.
func TestLogger_OneRecordForACall(t *testing.T) {
	run(t, func(t *testing.T) {
		var log bytes.Buffer
		x := newWorld(t, mapper.Config{Logger: slog.New(slog.NewJSONHandler(&log, nil))}, batched)
		a := broker("a")
		ws := x.workers(1000, a)
		e := x.assigned(a, ws...)
		for i, w := range ws {
			if i%2 == 1 {
				w.leader.Store(nil)
			}
		}
		pass(time.Second)
		x.m.BrokerFailed(e, nil)
		settle()
		rs := records(t, &log)
		if len(rs) != 2 || rs[1]["workers"] != 500.0 {
			t.Errorf("%d records, want one for the failure of the broker and one for that of 500 workers: %v", len(rs), rs)
		}
	})
}

// Without a Logger nothing is logged, to the default one neither; one that
// drops all levels is asked for nothing.
func TestLogger_Nil(t *testing.T) {
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, logger := range []*slog.Logger{nil, slog.New(slog.DiscardHandler)} {
		run(t, func(t *testing.T) {
			x := newWorld(t, mapper.Config{Logger: logger}, batched)
			a := broker("a")
			w := x.worker("w", a, 1)
			e := x.assigned(a, w)
			x.lock(func() {
				x.onBatch = func(context.Context, []mapper.Worker) []mapper.Resolution { return nil }
			})
			x.m.BrokerFailed(e, errors.New("broken"))
			pass(time.Second)
			x.lock(func() { x.onBatch = nil })
			w.leader.Store(nil)
			pass(time.Second)
			w.leader.Store(a)
			pass(time.Second)
			w.takes(a)
		})
	}
	if log.Len() != 0 {
		t.Errorf("logged: %s", log.String())
	}
}

// Snapshot says who is assigned to what, and who waits.
func TestSnapshot(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a, b := broker("a"), broker("b")
		holds, waits, none := x.worker("holds", a, 1), x.worker("waits", b, 1), x.worker("none", nil, 1)
		ea := x.assigned(a, holds)
		eb := x.assigned(b, waits)
		pass(time.Second)
		x.m.TriggerReassign(waits)
		settle()
		waits.takes(b)
		x.m.TriggerReassign(waits) // early
		x.begin(none)
		settle()
		want := map[mapper.Worker]mapper.Assignment{
			holds: {Worker: holds, Executor: ea, BrokerConn: a},
			waits: {Worker: waits, Executor: eb, BrokerConn: b, Pending: true},
			none:  {Worker: none},
		}
		got := map[mapper.Worker]mapper.Assignment{}
		rows := x.m.Snapshot()
		for _, row := range rows {
			got[row.Worker] = row
		}
		if len(rows) != 3 || !maps.Equal(got, want) {
			t.Errorf("%+v, want %+v", rows, want)
		}
		s := x.m.Stats()
		if s.Workers != 3 || s.Executors != 2 || s.WorkersSpawned != 3 || s.ExecutorsSpawned != 2 || s.FailedResolutions != 1 {
			t.Errorf("%+v", s)
		}
		x.end(holds)
		settle()
		if rows := x.m.Snapshot(); len(rows) != 2 {
			t.Errorf("%+v, want two rows", rows)
		}
	})
}
