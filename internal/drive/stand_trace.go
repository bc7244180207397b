//go:build trace

package drive

// mayStand is false where traces are written: a step holds the lock that keeps
// records in order, so callers would stand still as well.
const mayStand = false
