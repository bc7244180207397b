package mapper

// TraceRest records, where traces are written, that nothing is left to do.
func (m *T) TraceRest() { m.trace.rest() }
