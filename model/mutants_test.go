package model

import (
	"regexp"
	"testing"

	"github.com/brokermap/brokermap/internal/explore/mutants"
)

// seeded are defects of the machine, each one that a plausible slip of the hand
// would make.
var seeded = []mutants.Mutant{
	{
		Name: "releases what a later one supersedes while that is unread (S1)",
		File: "worker.go",
		Old:  "for held := m.held(r); held > unread+1; held-- {",
		New:  "for held := m.held(r); held > 1; held-- {",
	},
	{
		Name: "the count of holds is off by one (S1)",
		File: "worker.go",
		Old:  "for held := m.held(r); held > unread+1; held-- {",
		New:  "for held := m.held(r); held > max(1, unread); held-- {",
	},
	{
		Name: "forgets to release (L4)",
		File: "worker.go",
		Old:  "for held := m.held(r); held > unread+1; held-- {",
		New:  "for held := m.held(r); held > unread+2; held-- {",
	},
	{
		Name: "retires what is held (S1)",
		File: "executor.go",
		Old:  "if x.holders == none && !x.retiring && m.conns",
		New:  "if !x.retiring && m.conns",
	},
	{
		Name: "does not take a Retire back (S1)",
		File: "holds.go",
		Old:  "\t\tx.retiring = false\n\t\tm.emit(Effect{Kind: Resume, Executor: e})\n",
		New:  "",
	},
	{
		Name: "retires again what is held again (S1)",
		File: "executor.go",
		Old:  "if m.executor(e).retiring {",
		New:  "if m.executor(e).conn >= 0 {",
	},
	{
		Name: "forgets those who wait for the end of an executor (L1)",
		File: "executor.go",
		Old:  "\tif k.first != none {\n\t\tm.spawnFor(c, k)\n\t\treturn\n\t}\n",
		New:  "",
	},
	{
		Name: "wakes only the first of those who wait (L1)",
		File: "executor.go",
		Old:  "\t\t\tm.trigger(w, now) // L2: its failure came before it was sent\n\t\t}\n",
		New:  "\t\t\tm.trigger(w, now) // L2: its failure came before it was sent\n\t\t}\n\t\tbreak\n",
	},
	{
		Name: "a failure of the spawn ends nobody's wait (S6)",
		File: "executor.go",
		Old:  "\tm.failWaiters(k, now)\n\tm.emptied(c, k)\n",
		New:  "\tm.emptied(c, k)\n",
	},
	{
		Name: "spawns while the last one stops (S2)",
		File: "worker.go",
		Old:  "\tcase connEmpty:\n\t\tif unread, capacity := m.cfg.Room(w)",
		New:  "\tcase connEmpty, connStopping:\n\t\tif unread, capacity := m.cfg.Room(w)",
	},
	{
		Name: "spawns for a full channel (S3)",
		File: "worker.go",
		Old:  "\t\tif unread, capacity := m.cfg.Room(w); unread >= capacity {\n\t\t\tm.emit(Effect{Kind: Full, Worker: w})\n\t\t\treturn false // S3: do not spawn for it\n\t\t}\n",
		New:  "",
	},
	{
		Name: "spawns for a full channel after a stop (S3)",
		File: "executor.go",
		Old:  "m.cfg.Room(Worker(w)); unread >= capacity {",
		New:  "m.cfg.Room(Worker(w)); unread > capacity {",
	},
	{
		Name: "keeps an executor that nobody waited for (L4)",
		File: "executor.go",
		Old:  "\t}\n\tm.noteIdle(e)\n}\n",
		New:  "\t}\n}\n",
	},
	{
		Name: "an executor of another connection is not stopped (S3)",
		File: "executor.go",
		Old:  "\tm.failWaiters(k, now)\n\tm.emit(Effect{Kind: Stop, Executor: e})\n",
		New:  "\tm.failWaiters(k, now)\n\tm.emptied(c, k)\n",
	},
	{
		Name: "sends to a full channel (S6)",
		File: "worker.go",
		Old:  "\tif unread >= capacity {\n\t\tm.emit(Effect{Kind: Full, Worker: w})\n\t\tm.watch(w, r, now)",
		New:  "\tif unread > capacity {\n\t\tm.emit(Effect{Kind: Full, Worker: w})\n\t\tm.watch(w, r, now)",
	},
	{
		Name: "a failure drops what is held (S6)",
		File: "worker.go",
		Old:  "\tif m.landed(w, r, began, now) {\n\t\tm.retry(w, r, now)\n\t}\n",
		New:  "\tif m.landed(w, r, began, now) {\n\t\tif r.older != none {\n\t\t\tm.dropOldest(w, r)\n\t\t\tm.watch(w, r, now)\n\t\t}\n\t\tm.retry(w, r, now)\n\t}\n",
	},
	{
		Name: "a failure schedules no retry (S6)",
		File: "worker.go",
		Old:  "\tif m.landed(w, r, began, now) {\n\t\tm.retry(w, r, now)\n\t}\n",
		New:  "\tif m.landed(w, r, began, now) && r.owed {\n\t\tm.retry(w, r, now)\n\t}\n",
	},
	{
		Name: "accepts the answer to an earlier life (S5)",
		File: "worker.go",
		Old:  "\tif r.flying {\n\t\tr.stale = true\n\t\treturn\n\t}\n",
		New:  "\tif r.flying {\n\t\treturn\n\t}\n",
	},
	{
		Name: "keeps the retry of a life that has ended (S5)",
		File: "worker.go",
		Old:  "\tm.timers.remove(m, w, retry)\n",
		New:  "",
	},
	{
		Name: "keeps the wait of a life that has ended (S5)",
		File: "worker.go",
		Old:  "\tm.timers.remove(m, w, retry)\n\tm.leave(r)\n",
		New:  "\tm.timers.remove(m, w, retry)\n",
	},
	{
		Name: "asks for a new life before the call of the old one has ended (S9)",
		File: "worker.go",
		Old:  "\tr.owed, r.fresh, r.due = true, true, now // B2\n\tif !r.flying {\n",
		New:  "\tr.owed, r.fresh, r.due = true, true, now // B2\n\tif r.flying = false; !r.flying {\n",
	},
	{
		Name: "a new life is not resolved when the call of the old one has ended (S9)",
		File: "worker.go",
		Old:  "\t\tif r.alive {\n\t\t\tm.schedule(w, r, now) // the new life has waited for this (S9)\n\t\t} else {\n",
		New:  "\t\tif !r.alive {\n",
	},
	{
		Name: "loses a trigger that comes in flight (L2)",
		File: "worker.go",
		Old:  "if !r.alive || r.owed {\n\t\treturn\n\t}\n\tr.owed = true",
		New:  "if !r.alive || r.owed || r.flying {\n\t\treturn\n\t}\n\tr.owed = true",
	},
	{
		Name: "an answer forgets the trigger that came in flight (L2)",
		File: "worker.go",
		Old:  "\t\t} else if r.owed {\n\t\t\tm.schedule(w, r, now)\n\t\t}\n",
		New:  "\t\t} else {\n\t\t\tr.owed = false\n\t\t}\n",
	},
	{
		Name: "a broker's failure triggers only the first who holds it (L2)",
		File: "executor.go",
		Old:  "\t\tm.trigger(m.holder(h), now)\n",
		New:  "\t\tm.trigger(m.holder(h), now)\n\t\tbreak\n",
	},
	{
		Name: "forgets a failure that came before the executor (L2)",
		File: "executor.go",
		Old:  "} else if suspect {",
		New:  "} else if suspect && false {",
	},
	{
		Name: "forgets a failure when it lets go of the executor (L2)",
		File: "worker.go",
		Old:  "if m.cfg.Failed(e) {",
		New:  "if m.cfg.Failed(e) && false {",
	},
	{
		Name: "an older answer counts (L3)",
		File: "worker.go",
		Old:  "\t\tm.leave(r) // the newer answer counts (L3)\n",
		New:  "\t\tif r.awaits != none {\n\t\t\treturn\n\t\t}\n",
	},
	{
		Name: "leaves the timer of a look armed (L6)",
		File: "holds.go",
		Old:  "\tif o.next == none {\n\t\tm.timers.remove(m, w, look)\n\t} else {",
		New:  "\tif o.next != none {",
	},
	{
		Name: "looks once (L4)",
		File: "worker.go",
		Old:  "\tm.release(w, r, unread, now)\n\tm.watch(w, r, now)\n}\n",
		New:  "\tm.release(w, r, unread, now)\n}\n",
	},
	{
		Name: "a trigger exactly when the wait is over is taken for early (B1)",
		File: "worker.go",
		Old:  "at-r.began >= wait {",
		New:  "at-r.began > wait {",
	},
	{
		Name: "every trigger is resolved at once (B1)",
		File: "worker.go",
		Old:  "r.fresh, r.due = false, after(r.began, wait)",
		New:  "r.fresh, r.due = false, at",
	},
	{
		Name: "a wait is counted from the trigger (B1)",
		File: "worker.go",
		Old:  "r.fresh, r.due = false, after(r.began, wait)",
		New:  "r.fresh, r.due = false, after(at, wait)",
	},
	{
		Name: "a late trigger does not reset attempt (B1)",
		File: "worker.go",
		Old:  "\tif r.fresh {\n\t\tr.attempt = 0\n\t} else if",
		New:  "\tif",
	},
	{
		Name: "a retry counts as a late trigger (B1)",
		File: "worker.go",
		Old:  "\tr.fresh = false\n\tm.schedule(w, r, now)\n",
		New:  "\tm.schedule(w, r, now)\n",
	},
	{
		Name: "a repeated trigger starts the wait anew (B1)",
		File: "worker.go",
		Old:  "if !r.alive || r.owed {\n\t\treturn\n\t}\n\tr.owed = true",
		New:  "if !r.alive {\n\t\treturn\n\t}\n\tr.owed = true",
	},
	{
		Name: "a call's true beginning does not matter (B1)",
		File: "worker.go",
		Old:  "if began > r.began {",
		New:  "if began > r.began && false {",
	},
	{
		Name: "a move does not reset attempt (B2)",
		File: "worker.go",
		Old:  "\t\tr.renewed = true // B2\n",
		New:  "",
	},
	{
		Name: "a confirmation resets attempt (B2)",
		File: "worker.go",
		Old:  "r.newest.count++ // a confirmation (B3)",
		New:  "r.newest.count++; r.renewed = true",
	},
	{
		Name: "a send that fails resets attempt (B2)",
		File: "worker.go",
		Old:  "\tr.renewed = false\n\tif r.newest.count > 1",
		New:  "\tif r.newest.count > 1",
	},
	{
		Name: "does not confirm what is held (B3)",
		File: "worker.go",
		Old:  "\tm.emit(Effect{Kind: Send, Worker: w, Executor: e})\n",
		New:  "\tif r.newest.count > 1 {\n\t\tr.newest.count--\n\t\treturn true\n\t}\n\tm.emit(Effect{Kind: Send, Worker: w, Executor: e})\n",
	},
	{
		Name: "one worker a call (B4)",
		File: "worker.go",
		Old:  "for !asked || m.cfg.Batch {",
		New:  "for !asked {",
	},
	{
		Name: "one call a Tick (B4)",
		File: "worker.go",
		Old:  "\t\tm.calls++\n\t\tm.emit(Effect{Kind: Call})\n",
		New:  "\t\tm.calls++\n\t\tm.emit(Effect{Kind: Call})\n\t\treturn\n",
	},
	{
		Name: "a record of a hold is not used again (S8)",
		File: "holds.go",
		Old:  "\tm.older.at(i).next = m.freeHold\n\tm.freeHold = i\n",
		New:  "",
	},
	{
		Name: "a connection is never forgotten (S8)",
		File: "executor.go",
		Old:  "\tm.busy--\n\tm.forgetConn(c)\n",
		New:  "\tm.busy--\n",
	},
	{
		Name: "a worker whose call outlives it is never forgotten (S8)",
		File: "worker.go",
		Old:  "\t\t} else {\n\t\t\tm.emit(Effect{Kind: ForgetWorker, Worker: w})\n\t\t}\n",
		New:  "\t\t}\n",
	},
	{
		Name: "a timer that is moved down stays where it was put (B1)",
		File: "timers.go",
		Old:  "\tt.down(m, i)\n\tt.up(m, int(*place(m, moved.id)))\n",
		New:  "\tt.up(m, i)\n",
	},
}

// counting are the rules about how long a worker waits: only the bookkeeping
// tells when they are broken.
var counting = regexp.MustCompile(`\((B1|B2)\)$`)

// careless are defects of the mapper's shell, which the machine knows nothing of.
var careless = []mutants.Mutant{
	{
		Name: "stop and respawn cancel out (S5)",
		File: "loop.go",
		Old:  "(!alive || s.on.epoch != epochOf(w))",
		New:  "!alive",
	},
	{
		Name: "a lease does not pin (S1)",
		File: "loop.go",
		Old:  "if l.executors[f.Executor].Value.leases.Drain() {",
		New:  "if l.executors[f.Executor].Value.leases.Drain(); true {",
	},
	{
		Name: "an executor of another connection will do (S6)",
		File: "calls.go",
		Old:  "if e.BrokerConn() != conn {",
		New:  "if e.BrokerConn() == nil {",
	},
	{
		Name: "an error beside a connection is overlooked (S6)",
		File: "calls.go",
		Old:  "c.answers[i].Err == nil && ",
		New:  "",
	},
	{
		Name: "a failure before the executor is there is lost (L2)",
		File: "notify.go",
		Old:  "\t\tm.early.note(h)\n",
		New:  "",
	},
	{
		Name: "a hint that finds the ring full is lost (S7)",
		File: "notify.go",
		Old:  "\traise(&m.overflow)\n",
		New:  "",
	},
	{
		Name: "the trigger is not taken back when a resolution starts (L2)",
		File: "loop.go",
		Old:  "\t\tl.workers[f.Worker].Value.answer()\n",
		New:  "",
	},
	{
		Name: "the ctx of calls does not end (L5)",
		File: "loop.go",
		Old:  "l.m.cancel() //",
		New:  "_ = l.m.cancel //",
	},
}

// TestMutantsOfShell has the random scripts of a real mapper catch what the model
// cannot see.
func TestMutantsOfShell(t *testing.T) {
	for i := range careless {
		careless[i].File = "../mapper/" + careless[i].File
	}
	mutants.Run(t, mutants.Suite{Run: "TestRandomMapper"}, careless)
}

// TestMutants has the search and the random walks catch all of them, the scenarios
// of internal/assign, too, and the rules by themselves all that they can.
func TestMutants(t *testing.T) {
	for _, layer := range []struct {
		name, dir string
		suite     mutants.Suite
		leaveOut  *regexp.Regexp
	}{
		{name: "model", suite: mutants.Suite{Run: "TestReachable|TestRandom"}},
		{name: "rules", suite: mutants.Suite{Run: "TestReachable|TestRandom", Env: []string{"BROKERMAP_MODEL=rules"}}, leaveOut: counting},
		{name: "scenarios", dir: "../internal/assign", suite: mutants.Suite{Run: "TestScenarios"}},
	} {
		t.Run(layer.name, func(t *testing.T) {
			prefix := "../internal/assign/"
			if layer.dir != "" {
				t.Chdir(layer.dir)
				prefix = ""
			}
			var table []mutants.Mutant
			for _, m := range seeded {
				if layer.leaveOut != nil && layer.leaveOut.MatchString(m.Name) {
					continue
				}
				m.File = prefix + m.File
				table = append(table, m)
			}
			mutants.Run(t, layer.suite, table)
		})
	}
}
