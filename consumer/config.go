package consumer

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/IBM/sarama"
)

// Config configures a consumer beyond what the client's sarama.Config says. The
// zero value is a good one.
type Config struct {
	// Patience is how much longer than Consumer.MaxWaitTime a broker may take to
	// answer a fetch before its partitions are looked up again. If somebody else
	// leads them they move there at once; if not, the answer is waited for until
	// Net.ReadTimeout. 0: 500 ms.
	Patience time.Duration
	// FetchesAhead is how many answers may wait for the reader of a partition
	// before it is left out of the fetches. Each has at most Consumer.Fetch.Default
	// bytes, unless a single record batch is larger. 0: 2.
	FetchesAhead int
	// Backoff returns the least time from the start of one lookup of a partition's
	// leader to the start of the next; attempt counts from 0 those in a row that
	// had to wait for it. It does not take the place of Consumer.Retry.Backoff,
	// which paces the reports of failures. It must not block. nil: 10 ms, then 20,
	// then 30 for three seconds, 60 until ten, growing to 1 s, times a random
	// factor between 0.8 and 1.2: a dead leader is replaced within some hundred
	// milliseconds or some seconds, and nobody says when.
	Backoff func(attempt int) time.Duration
	// Logger receives what goes wrong, at level Warn, and who serves whom, at level
	// Debug. What sarama's Consumer writes to sarama.Logger is written there, by
	// this one too. nil: nothing is logged.
	Logger *slog.Logger
}

const (
	defaultPatience     = 500 * time.Millisecond
	defaultFetchesAhead = 2
	maxFetchesAhead     = 1 << 10

	minBackoff  = 10 * time.Millisecond
	fastBackoff = 30 * time.Millisecond // while an election is what is waited for
	maxBackoff  = time.Second

	fastAttempts   = 100                // three seconds
	electionsTaken = fastAttempts + 120 // ten seconds
)

func defaultBackoff(attempt int) time.Duration {
	d := fastBackoff
	switch {
	case attempt < 2:
		d = minBackoff << max(attempt, 0)
	case attempt >= electionsTaken:
		d = min(fastBackoff<<min(attempt-electionsTaken+2, 8), maxBackoff)
	case attempt >= fastAttempts:
		d = 2 * fastBackoff
	}
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

func (c Config) withDefaults(client *sarama.Config) (Config, error) {
	if c.Patience < 0 {
		return c, fmt.Errorf("consumer: Config.Patience is %v: it must not be negative", c.Patience)
	}
	if c.FetchesAhead < 0 || c.FetchesAhead > maxFetchesAhead {
		return c, fmt.Errorf("consumer: Config.FetchesAhead is %d: it must be between 0 (the default) and %d", c.FetchesAhead, maxFetchesAhead)
	}
	if client == nil {
		return c, fmt.Errorf("consumer: the client has no Config")
	}
	if err := client.Validate(); err != nil {
		return c, err
	}
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	if c.FetchesAhead == 0 {
		c.FetchesAhead = defaultFetchesAhead
	}
	if c.Backoff == nil {
		c.Backoff = defaultBackoff
	}
	return c, nil
}
