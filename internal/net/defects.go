package main

// defect is a change of the source that breaks a rule: in File, relative to the
// root, Old becomes New. Spec, where it has one, is the specification's version of
// it, as tla/mutants.json names it: mutant, then property.
type defect struct {
	Name           string
	By             string // the layer that should catch it
	File, Old, New string
	Spec           string
	Classic        int // it is this one of the defects of the classic mapper, below
}

func (d defect) where() string {
	switch {
	case d.File == "":
		return "specification"
	case d.Spec != "":
		return d.File + ", specification"
	}
	return d.File
}

// classic are the defects of the mapper that this one replaces, as its users know
// them. Each is seeded below as the change that would bring it back.
var classic = [10]string{
	1: "an executor is stopped while its assignment is unread, or in use",
	2: "a failed resolution drops the executor that is still used",
	3: "the mapper's own retry overwrites a pending stop: Stop hangs",
	4: "stop and respawn of one worker within a batch are coalesced away",
	5: "OnWorkerStopped blocks for ever once the mapper has ended",
	6: "a timer re-arms for ever with nothing pending",
	7: "an executor spawned for a full channel is never stopped",
	8: "one slow call delays workers that need nothing of it",
	9: "BrokerFailed does nothing",
}

const (
	workerGo   = "internal/assign/worker.go"
	executorGo = "internal/assign/executor.go"
	holdsGo    = "internal/assign/holds.go"
	assignGo   = "internal/assign/assign.go"
	loopGo     = "mapper/loop.go"
	slotGo     = "mapper/slot.go"
	notifyGo   = "mapper/notify.go"
	callsGo    = "mapper/calls.go"
	leaseGo    = "mapper/executor.go"
)

var defects = []defect{
	// The machine, most of them with their twin in the specification.
	{Name: "what is unread is not held", By: "model", Classic: 1, Spec: "StopsUnread/S1_NoUseAfterStop", File: workerGo,
		Old: "for held := m.held(r); held > unread+1; held-- {", New: "for held := m.held(r); held > 1; held-- {"},
	{Name: "an executor that is used again stays retired", By: "model", Spec: "NoResume/S1_NoUseAfterStop", File: holdsGo,
		Old: "\t\tx.retiring = false\n\t\tm.emit(Effect{Kind: Resume, Executor: e})\n", New: ""},
	{Name: "spawns while the last one stops", By: "model", Spec: "SpawnsWhileStopping/S2_OneExecutorPerConn", File: workerGo,
		Old: "\tcase connEmpty:\n\t\tif unread, capacity := m.cfg.Room(w)", New: "\tcase connEmpty, connStopping:\n\t\tif unread, capacity := m.cfg.Room(w)"},
	{Name: "an executor that could be delivered to nobody is forgotten", By: "model", Classic: 7, Spec: "DropsUndelivered/S3_StoppedExactlyOnce", File: executorGo,
		Old: "\tm.noteIdle(e)\n}\n\nfunc (m *Machine) spawnFailed", New: "}\n\nfunc (m *Machine) spawnFailed"},
	{Name: "spawns for a channel that is known to be full", By: "model", Spec: "SpawnsForFull/S3_NoSpawnForFull", File: workerGo,
		Old: "return false // S3: do not spawn for it", New: ""},
	{Name: "the answer to a life that has ended counts", By: "model", Spec: "StaleCounts/S4_OnlyResolved", File: workerGo,
		Old: "\tif r.flying {\n\t\tr.stale = true\n\t\treturn\n\t}\n", New: "\tif r.flying {\n\t\treturn\n\t}\n"},
	{Name: "a newer answer does not end the wait of an older one", By: "model", Spec: "OldAnswerStays/S4_OnlyResolved", File: workerGo,
		Old: "m.leave(r) // the newer answer counts (L3)", New: ""},
	{Name: "a failed resolution takes away what is held", By: "model", Classic: 2, Spec: "DropsOnFailure/S6_HoldsAreKept", File: workerGo,
		Old: "\tif m.landed(w, r, began, now) {\n\t\tm.retry(w, r, now)\n\t}\n",
		New: "\tif m.landed(w, r, began, now) {\n\t\tm.retry(w, r, now)\n\t\tfor r.newest.count > 0 {\n\t\t\tm.dropOldest(w, r)\n\t\t}\n\t}\n"},
	{Name: "a failed resolution is not retried", By: "model", Spec: "NoRetry/S6_FailureKeeps", File: workerGo,
		Old: "\tif m.landed(w, r, began, now) {\n\t\tm.retry(w, r, now)\n\t}\n", New: "\tm.landed(w, r, began, now)\n"},
	{Name: "a worker that is ready is queued again", By: "model", Spec: "QueuesTwice/S8_Bounded", File: workerGo,
		Old: "\tif !r.queued {\n\t\tr.queued = true\n\t\tm.ready.push(w)\n\t}\n", New: "\tr.queued = true\n\tm.ready.push(w)\n"},
	{Name: "the end of a life forgets that a call is under way", By: "model", Spec: "ForgetsFlying/S9_OneAtATime", File: workerGo,
		Old: "\tif r.flying {\n\t\tr.stale = true\n\t\treturn\n\t}", New: "\tr.flying = false"},
	{Name: "a trigger during a resolution counts as answered by it", By: "model", Spec: "FlyingIsEnough/L2_AtRest", File: workerGo,
		Old: "if !r.alive || r.owed {\n\t\treturn\n\t}\n\tr.owed = true", New: "if !r.alive || r.owed || r.flying {\n\t\treturn\n\t}\n\tr.owed = true"},
	{Name: "an executor is let go while its failure is on its way", By: "model", Spec: "FailedForgotten/L2_AtRest", File: workerGo,
		Old: "if m.cfg.Failed(e) {", New: "if m.cfg.Failed(e) && false {"},
	{Name: "a failure reported before SpawnExecutor returned is lost", By: "model", Spec: "EarlyLost/L2_AtRest", File: executorGo,
		Old: "} else if suspect {", New: "} else if suspect && false {"},
	{Name: "a broker's failure triggers one of those who hold it", By: "model", Spec: "OnlyNewest/L2_AtRest", File: executorGo,
		Old: "h = m.hold(h).nextOf {\n\t\tm.trigger", New: "h = none {\n\t\tm.trigger"},
	{Name: "a worker that has an executor keeps it, whatever the answer", By: "model", Spec: "StaysPut/L3_AtRest", File: workerGo,
		Old: "\tcase connLive:\n\t\treturn m.send(w, Executor(k.executor), now)", New: "\tcase connLive:\n\t\tif r.newest.count > 0 {\n\t\t\treturn m.send(w, Executor(r.newest.executor), now)\n\t\t}\n\t\treturn m.send(w, Executor(k.executor), now)"},
	{Name: "nobody looks whether a worker has read", By: "model", Spec: "NoLook/L4_AtRest", File: workerGo,
		Old: "\t\tm.timers.set(m, w, look, after(now, lookInterval(m.older.at(r.older).lookStep)))\n", New: ""},
	{Name: "channels are looked at for ever", By: "model", Classic: 6, Spec: "LookForever/L6_TimersHaveCause", File: workerGo,
		Old: "for held := m.held(r); held > unread+1; held-- {", New: "for held := m.held(r); held > max(2, unread+1); held-- {"},
	{Name: "the mapper ends while executors are stopping", By: "contract", Spec: "LeavesEarly/L5_NothingIsLeft", File: assignGo,
		Old: "m.living == 0 && m.busy == 0", New: "m.living == 0"},
	{Name: "a trigger just when the wait is over is taken for early", By: "model", File: workerGo,
		Old: "at-r.began >= wait {", New: "at-r.began > wait {"},
	{Name: "a move does not set attempt to 0", By: "model", File: workerGo,
		Old: "r.renewed = true // B2", New: ""},
	{Name: "a confirmation is not sent", By: "model", File: workerGo,
		Old: "r.newest.count++ // a confirmation (B3)", New: "return true"},
	{Name: "workers that are due together are asked for one by one", By: "model", File: workerGo,
		Old: "for !asked || m.cfg.Batch {", New: "for !asked {"},

	// The shell.
	{Name: "a lease does not pin", By: "contract", Spec: "LeaseIgnored/S1_NoUseAfterStop", File: loopGo,
		Old: "if l.executors[f.Executor].Value.leases.Drain() {", New: "if l.executors[f.Executor].Value.leases.Drain(); true {"},
	{Name: "a retry overwrites a stop that comes meanwhile", By: "explorer", Classic: 3, File: slotGo,
		Old: "\t\tif s.word.CompareAndSwap(w, w&^(triggerMask|turnMask)|(w+turnOne)&turnMask) {\n\t\t\treturn\n\t\t}\n",
		New: "\t\ts.word.Store(w&^(triggerMask|turnMask) | (w+turnOne)&turnMask)\n\t\treturn\n"},
	{Name: "stop and respawn cancel out", By: "explorer", Classic: 4, Spec: "EpochLost/L1_AtRest", File: loopGo,
		Old: "(!alive || s.on.epoch != epochOf(w))", New: "!alive"},
	{Name: "a notification waits for ever once the mapper has ended", By: "rapid", Classic: 5, File: notifyGo,
		Old: "func (m *T) OnWorkerStopped(w Worker) {\n", New: "func (m *T) OnWorkerStopped(w Worker) {\n\tif m.gate.empty() {\n\t\tselect {}\n\t}\n"},
	{Name: "a hint that finds the ring full is lost", By: "explorer", Spec: "OverflowForgets/L2_AtRest", File: notifyGo,
		Old: "\traise(&m.overflow)\n", New: ""},
	{Name: "Stop is called by the mapper's own goroutine", By: "contract", Classic: 8, Spec: "SpawnsCount/S10_Isolation", File: callsGo,
		Old: "l.async(func() {\n\t\tdefer m.post(r)\n\t\tm.stop", New: "func(f func()) { f() }(func() {\n\t\tdefer m.post(r)\n\t\tm.stop"},
	{Name: "BrokerFailed does nothing", By: "rapid", Classic: 9, File: notifyGo,
		Old: "\tx.Value.fail(err)\n\tm.flag()\n", New: ""},
	{Name: "the release of the last lease tells nobody", By: "rapid", Spec: "UnpinnedLost/L4_AtRest", File: leaseGo,
		Old: "\t\traise(&l.x.Value.unpinned)\n", New: ""},
	{Name: "a life begins after Stop", By: "explorer", Spec: "LifeAfterClose/L5_NoLifeBegins", File: slotGo,
		Old: "\t\tif n&gateClosed != 0 {\n\t\t\treturn false\n\t\t}\n\t\tif g.word.CompareAndSwap(n, n+1) {", New: "\t\tif g.word.CompareAndSwap(n, n+1) {"},
	{Name: "the trigger is not taken back when a resolution starts", By: "contract", Spec: "ClearsLate/L2_AtRest", File: loopGo,
		Old: "\t\tl.workers[f.Worker].Value.answer()\n", New: ""},
	{Name: "a trigger is told before the mapper is", By: "explorer", File: notifyGo,
		Old: "\t\tm.tell(e, word)\n\t\te.Value.told(word)\n", New: "\t\te.Value.told(word)\n\t\tm.tell(e, word)\n"},
	{Name: "an executor of another connection will do", By: "rapid", File: callsGo,
		Old: "if e.BrokerConn() != conn {", New: "if e.BrokerConn() == nil {"},
	{Name: "an error beside a connection is overlooked", By: "rapid", File: callsGo,
		Old: "c.answers[i].Err == nil && ", New: ""},
	{Name: "dead entries stay in the map", By: "contract", File: loopGo,
		Old: "\t\tl.m.workers.Remove(e, h)\n", New: "\t\t_ = h\n"},

	// The lock-free parts.
	{Name: "ring: a push does not wake", By: "explorer", File: "internal/ringbuf/ring.go",
		Old: "\t\t\tr.Wake()\n", New: ""},
	{Name: "ring: overtakes the consumer by one", By: "explorer", File: "internal/ringbuf/ring.go",
		Old: "ahead > int64(r.mask)", New: "ahead > int64(r.mask)+1"},
	{Name: "ring: publishes before it writes", By: "explorer", File: "internal/ringbuf/ring.go",
		Old: "c.val.Set(v)\n\t\t\tc.seq.Store(pos)", New: "c.seq.Store(pos)\n\t\t\tc.val.Set(v)"},
	{Name: "count: closes without compare-and-swap", By: "explorer", File: "internal/refcount/refcount.go",
		Old: "return word == draining && c.word.CompareAndSwap(draining, closed)", New: "if word == draining {\n\t\tc.word.Store(closed)\n\t}\n\treturn word == draining"},
	{Name: "map: drops an entry while a table grows", By: "explorer", File: "internal/shardmap/table.go",
		Old: "\t\t\tm.put(t.next.Load(), h, p)\n", New: ""},

	// What only the specification can say, and the explorer or a stress test must show.
	{Name: "a hint about a life that has ended leads to a resolution", By: "TLC", Spec: "TriggerRevives/S5_NoResurrection"},
	{Name: "a scan looks only at workers that the machine knows", By: "TLC", Spec: "ScanMissesNew/L1_AtRest"},
	{Name: "of the workers that are due, the last one goes first", By: "TLC", Spec: "LastComeFirst/S10_Isolation"},
}
