package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// console is where a run is told about while it lasts: log lines, or, where a
// table takes their place, nothing.
type console struct {
	out   io.Writer
	start time.Time
	wordy bool // verbose lines too
	quiet bool // no lines

	mu sync.Mutex
}

// line writes one line: the time since the start, a tag, the text.
func (c *console) line(tag, format string, args ...any) {
	if c.quiet {
		return
	}
	text := fmt.Sprintf("%8.3fs  %-8s  %s\n", time.Since(c.start).Seconds(), tag, fmt.Sprintf(format, args...))
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.WriteString(c.out, text)
}

// verbose writes a line that is for -v only.
func (c *console) verbose(format string, args ...any) {
	if c.wordy {
		c.line("detail", format, args...)
	}
}

// logger returns the mapper's logger, nil where nobody wants to read it.
func (c *console) logger() *slog.Logger {
	if !c.wordy || c.quiet {
		return nil
	}
	return slog.New(slog.NewTextHandler(consoleLines{c}, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{} // the line has one
			}
			return a
		},
	}))
}

// consoleLines makes each Write, of one line, a line of the console.
type consoleLines struct{ c *console }

func (l consoleLines) Write(b []byte) (int, error) {
	l.c.line("mapper", "%s", strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}
