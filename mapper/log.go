package mapper

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
)

func (m *T) warn(msg string, args ...any) {
	if m.cfg.Logger != nil {
		m.cfg.Logger.Warn(msg, args...)
	}
}

// warns reports that warn is of any use. Names are the users' to make, and may
// cost something.
func (m *T) warns() bool {
	return m.cfg.Logger != nil && m.cfg.Logger.Enabled(context.Background(), slog.LevelWarn)
}

func (m *T) debug(msg string, args ...any) {
	if m.cfg.Logger != nil {
		m.cfg.Logger.Debug(msg, args...)
	}
}

// logFailed logs the failures of one call in one line: a broker's failure may
// fail a hundred thousand workers at once.
func (m *T) logFailed(c *call) {
	if !m.warns() {
		return
	}
	failed, first := 0, 0
	for i, a := range c.answers {
		if a.Err != nil || a.BrokerConn == nil {
			if failed == 0 {
				first = i
			}
			failed++
		}
	}
	if failed == 0 {
		return
	}
	err := any("the connection is nil")
	if e := c.answers[first].Err; e != nil {
		err = e
	}
	m.warn("resolution failed", "worker", nameOf(c.workers[first]), "workers", failed, "attempt", c.asked[first].attempt, "err", err)
}

func (l *loop) logBrokerFailed(x *executorEntry) {
	err := x.Value.reason.take()
	if l.m.warns() {
		l.m.warn("broker failed", "broker", x.Value.conn.Addr(), "executor", nameOf(x.Key()), "err", err)
	}
}

func (l *loop) logFull(e *workerEntry) {
	if l.m.warns() {
		l.m.warn("assignment failed", "worker", nameOf(e.Key()), "attempt", l.machine.Attempt(*e.Value.handle()), "err", "its channel is full")
	}
}

// nameOf names a worker or an executor in a log or a panic. It never looks into
// a value that others may be writing: that is for the value's own String.
func nameOf(v any) string {
	if s, ok := v.(fmt.Stringer); ok {
		return s.String()
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Pointer, reflect.Chan, reflect.UnsafePointer:
		return fmt.Sprintf("%T(%#x)", v, r.Pointer())
	}
	return fmt.Sprintf("%T(%v)", v, v)
}
