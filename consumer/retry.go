package consumer

import (
	"time"

	"github.com/IBM/sarama"
)

// stuckRetries is after how many failures in a row one more is logged, as sarama
// does.
const stuckRetries = 10

// retries turns the failures of a partition, which come as fast as they come, into
// the attempts of Consumer.Retry: one failure is reported, then none until its
// backoff is over, whatever is tried meanwhile. It belongs to the partition's
// goroutine.
type retries struct {
	conf *sarama.Config

	count int       // attempts since the last success
	until time.Time // the end of the present attempt's backoff
	since time.Time // since when lookups have failed; zero: they have not
}

// failed says that a fetch or a connection failed. It returns whether that is to
// be reported.
func (r *retries) failed(now time.Time) bool { return !now.Before(r.until) }

// unresolved says that a lookup failed. It returns whether that is to be reported:
// once for as long as sarama's client would have tried by itself.
func (r *retries) unresolved(now time.Time) bool {
	if r.since.IsZero() {
		r.since = now
		if r.until.After(now) {
			r.since = r.until
		}
	}
	return !now.Before(r.since.Add(r.patience())) && !now.Before(r.until)
}

// patience is how long the client retries a refresh before it gives up.
func (r *retries) patience() time.Duration {
	retry := r.conf.Metadata.Retry
	if retry.BackoffFunc == nil {
		return time.Duration(retry.Max) * retry.Backoff
	}
	var d time.Duration
	for i := range retry.Max {
		d += retry.BackoffFunc(i, retry.Max)
	}
	return d
}

// next begins the next attempt. It returns false when there were enough.
func (r *retries) next(now time.Time) bool {
	retry := r.conf.Consumer.Retry
	if retry.Max > 0 && r.count >= retry.Max {
		return false
	}
	r.count++
	backoff := retry.Backoff
	if retry.BackoffFunc != nil {
		backoff = retry.BackoffFunc(r.count)
	}
	r.until = now.Add(backoff)
	if !r.since.IsZero() {
		r.since = r.until
	}
	return true
}

// resolved says that a lookup succeeded.
func (r *retries) resolved() { r.since = time.Time{} }

// succeeded says that a fetch did.
func (r *retries) succeeded() { *r = retries{conf: r.conf} }
