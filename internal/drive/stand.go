//go:build !trace

package drive

// mayStand: Config.Backoff may make the mapper's goroutine stand still.
const mayStand = true
