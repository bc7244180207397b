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
