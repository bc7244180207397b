//go:build !unix

package kafkatest

import (
	"errors"
	"os"
)

var errNoSignals = errors.New("kafkatest: a real Kafka needs an operating system with signals")

func terminate(*os.Process) error { return errNoSignals }
func suspend(*os.Process) error   { return errNoSignals }
func resume(*os.Process) error    { return errNoSignals }
func lock(*os.File) error         { return errNoSignals }
func tryLock(*os.File) error      { return errNoSignals }
