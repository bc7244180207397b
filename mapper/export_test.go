package mapper

// LookWorkersUp has m do without the Slots of its workers, from before it has
// met any.
func (m *T) LookWorkersUp() { m.home.typ.Store(noType) }

// CloseGate is what Stop does first: from then on nobody begins a life. The
// mapper's goroutine is not told.
func (m *T) CloseGate() { m.gate.close() }

// EnterGate begins a life of which nobody tells the mapper, and LeaveGate ends it
// likewise.
func (m *T) EnterGate() { m.gate.enter() }
func (m *T) LeaveGate() { m.gate.leave() }

// GiveWay does what the mapper's goroutine does in a pass in which calls come up,
// and after it what after does, and then what it does in a pass in which none do.
func GiveWay(after func(), calls ...func()) {
	cfg, err := Config{}.withDefaults()
	if err != nil {
		panic(err)
	}
	m := newMapper(cfg, nil)
	l := newLoop(m)
	for _, call := range calls {
		l.async(call)
	}
	l.giveWay()
	after()
	l.giveWay()
	m.calls.Wait()
}
