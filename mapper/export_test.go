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

// GiveWay does what the mapper's goroutine does in passes in which calls come up,
// and after each what after does; and then what it does in one in which none do. It
// returns when the calls have ended.
func GiveWay(after func(pass int), passes ...[]func()) {
	cfg, err := Config{}.withDefaults()
	if err != nil {
		panic(err)
	}
	m := newMapper(cfg, nil)
	l := newLoop(m)
	for i, calls := range passes {
		for _, call := range calls {
			l.async(call)
		}
		l.giveWay()
		after(i)
	}
	l.giveWay()
	m.calls.Wait()
}
