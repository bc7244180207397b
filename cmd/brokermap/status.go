package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/brokermap/brokermap/internal/stall"
)

// status is a line at the bottom of a terminal that tells how far consume is. It
// owns a goroutine, until end.
type status struct {
	out     io.Writer
	printed *atomic.Int64
	lag     func() int64
	began   time.Time
	cancel  context.CancelFunc
	ended   chan struct{}

	mu    sync.Mutex
	shown bool
	last  int64 // printed, when it was last shown
}

const (
	statusPeriod = time.Second
	clearLine    = "\r\x1b[K"
)

func newStatus(out io.Writer, printed *atomic.Int64, lag func() int64) *status {
	ctx, cancel := context.WithCancel(context.Background())
	s := &status{out: out, printed: printed, lag: lag, began: time.Now(), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		for stall.Pause(ctx, statusPeriod) == nil {
			s.show()
		}
	}()
	return s
}

func (s *status) show() {
	lag := s.lag()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.printed.Load()
	_, _ = fmt.Fprintf(s.out, "%s%d records, %.0f/s, lag %d", clearLine, n, float64(n-s.last)/statusPeriod.Seconds(), lag)
	s.last, s.shown = n, true
}

// hide takes the line away, where something else is about to be written.
func (s *status) hide() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown {
		_, _ = io.WriteString(s.out, clearLine)
		s.shown = false
	}
}

// end stops, and leaves a summary.
func (s *status) end() {
	s.cancel()
	<-s.ended
	s.hide()
	n, took := s.printed.Load(), time.Since(s.began)
	_, _ = fmt.Fprintf(s.out, "%d records in %.1f s, %.0f/s; lag %d\n", n, took.Seconds(), float64(n)/took.Seconds(), s.lag())
}
