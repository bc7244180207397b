package mapper

// LookWorkersUp has m do without the Slots of its workers, from before it has
// met any.
func (m *T) LookWorkersUp() { m.home.word.Store(1) } // no type's
