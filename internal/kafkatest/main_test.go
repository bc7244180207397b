package kafkatest

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// One goroutine for the process, which a sarama connection's metrics start
	// and nothing ends.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}
