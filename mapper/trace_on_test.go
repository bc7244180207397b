//go:build trace

package mapper_test

// traced: a lock is held around each step of the mapper's goroutine, and whoever
// notifies a mapper that is stopped within a step waits for it.
const traced = true
