//go:build unix

package brokermap_test

import (
	"syscall"
	"time"
)

// cpuTime returns the processor time that the program has used. On a machine
// that others use too it is steadier than the clock.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
