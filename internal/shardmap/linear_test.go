package shardmap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// action is something that a goroutine does to a map.
type action uint8

const (
	inserts action = iota
	removes
	loads
	raises // the flag: a word beside the map, which shows what came before what
	sees
)

// An operation on one key, and what it returned. Entries go by the number in
// their value; 0 is no entry.
type (
	linearIn struct {
		what action
		key  int
		id   int // offered or removed
	}
	linearOut struct {
		id int
		ok bool
	}
)

// linearModel is a map of one key: its state is the entry that is there.
var linearModel = porcupine.Model{
	Partition: func(ops []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[int][]porcupine.Operation{}
		for _, op := range ops {
			k := op.Input.(linearIn).key
			byKey[k] = append(byKey[k], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return 0 },
	Step: func(state, input, output any) (bool, any) {
		there, in, out := state.(int), input.(linearIn), output.(linearOut)
		switch in.what {
		case inserts:
			if there != 0 {
				return out.ok && out.id == there, there
			}
			return !out.ok && out.id == in.id, in.id
		case removes:
			if there == in.id {
				return out.ok, 0
			}
			return !out.ok, there
		default:
			return out.id == there, there
		}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprint(input, output) },
}

// TestLinearizable has goroutines work on few keys while others make the table
// of those keys grow, and looks for an order that explains each key's history.
func TestLinearizable(t *testing.T) {
	for name, hash := range map[string]func(k int) uint64{
		"exact":     func(k int) uint64 { return uint64(k+1)<<1 | exact },
		"colliding": func(k int) uint64 { return uint64(k)%3<<1 + 2 },
	} {
		t.Run(name, func(t *testing.T) {
			for range 60 {
				history := observe(hash)
				if res := porcupine.CheckOperationsTimeout(linearModel, history, time.Minute); res != porcupine.Ok {
					t.Fatalf("%v: %v", res, history)
				}
			}
		})
	}
}

// observe runs a few clients and returns what they did, with the times of it.
func observe(hash func(int) uint64) []porcupine.Operation {
	const (
		clients = 3
		keys    = 3
		calls   = 60
	)
	m := New[int, int]()
	var (
		wg, background sync.WaitGroup
		ids            atomic.Int64
		over           atomic.Bool
		logs           [clients][]porcupine.Operation
		begin          = time.Now()
	)
	background.Go(func() {
		for k := keys; !over.Load(); k++ {
			e, _ := m.LoadOrInsert(NewEntry[int, int](k%1000+keys), hash(k%1000+keys))
			if k%8 != 0 {
				m.Remove(e, hash(e.Key()))
			}
		}
	})
	for c := range clients {
		wg.Go(func() {
			known := make([]*Entry[int, int], keys)
			for range calls {
				k := rand.IntN(keys)
				in, out := linearIn{what: action(rand.IntN(3)), key: k}, linearOut{}
				var e *Entry[int, int]
				switch {
				case in.what == inserts:
					e = NewEntry[int, int](k)
					e.Value = int(ids.Add(1))
					in.id = e.Value
				case in.what == removes && known[k] == nil:
					in.what = loads
				case in.what == removes:
					e, in.id = known[k], known[k].Value
				}
				op := porcupine.Operation{ClientId: c, Input: in, Call: time.Since(begin).Nanoseconds()}
				switch in.what {
				case inserts:
					known[k], out.ok = m.LoadOrInsert(e, hash(k))
				case removes:
					out.ok = m.Remove(e, hash(k))
				default:
					known[k] = m.Load(k, hash(k))
				}
				op.Return = time.Since(begin).Nanoseconds()
				if in.what != removes && known[k] != nil {
					out.id = known[k].Value
				}
				op.Output = out
				logs[c] = append(logs[c], op)
			}
		})
	}
	wg.Wait()
	over.Store(true)
	background.Wait()
	return slices.Concat(logs[:]...)
}
