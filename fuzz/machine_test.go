package fuzz

import (
	"testing"
	"time"

	"github.com/brokermap/brokermap/model"
)

// backoffs are those of machines, in units of 10 ms.
var backoffs = [][]int{nil, {1}, {1, 2, 4}, {4, 1}, {1, 3, 2, 6}}

// FuzzMachine takes bytes for what happens to the machine: each picks a kind of
// action, and another one which of that kind, where several can happen. The model
// checks the rules of the contract, the machine's own invariants and, event by
// event, its effects against the plain bookkeeping. In the end all goes well, and
// nothing is left.
func FuzzMachine(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		in := input(b)
		cfg := model.Config{
			Name:    "fuzz",
			Workers: 1 + in.below(model.MaxWorkers), Conns: 1 + in.below(model.MaxConns), Room: 1 + in.below(2),
			Calls: 1 + in.below(3), Batch: in.bool(), Backoff: backoffs[in.below(len(backoffs))], Late: true,
			Budget: model.Budget{
				Lives: model.Always, Stops: model.Always, Triggers: model.Always, Refusals: model.Always,
				Nils: model.Always, Unfits: model.Always, Reports: model.Always, Leases: model.Always,
			},
			MaxLeases: 2,
			Passes:    []time.Duration{time.Millisecond, 10 * time.Millisecond, 21 * time.Millisecond, model.Unit},
			Wait:      10 * time.Millisecond,
			SendsFail: in.bool(),
		}
		if in.bool() {
			cfg.Jitter = func(attempt, ticks int) time.Duration {
				return time.Duration((attempt*7+ticks*5)%11) * time.Millisecond
			}
		}
		x, err := model.NewWorld(cfg)
		if err != nil {
			t.Fatal(err)
		}
		lazily := in.bool()
		x.Record()
		err = walk(x, &in)
		if err == nil {
			err = x.Finish(lazily)
		}
		if err != nil {
			t.Fatalf("%v. As a scenario for internal/assign/testdata:\n%s", err, x.Recorded())
		}
	})
}

// walk takes the actions that the bytes say, as far as they are possible.
func walk(x *model.World, in *input) error {
	var all, some []model.Action
	for range enough {
		if len(*in) == 0 {
			break
		}
		kind := model.ActionKind(1 + in.below(model.NumActionKinds))
		all, some = x.Actions(all[:0]), some[:0]
		for _, a := range all {
			if a.Kind == kind {
				some = append(some, a)
			}
		}
		var a model.Action
		switch n := len(some); {
		case n == 0:
			continue
		case n == 1:
			a = some[0]
		case n > 256:
			a = some[(in.byte()<<8|in.byte())%n]
		default:
			a = some[in.below(n)]
		}
		if err := x.Do(a); err != nil {
			return err
		}
	}
	return nil
}
