//go:build !linux

package kafkatest

import (
	"errors"
	"syscall"
)

// childAttributes is empty: a process that is killed leaves its brokers behind.
func childAttributes() *syscall.SysProcAttr { return nil }

func dropConnections(string) (int, error) {
	return 0, errors.New("kafkatest: connections to Kafka can be dropped on Linux only")
}
