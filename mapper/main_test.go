package mapper_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// childEnv names the scenario that a child process of a test runs instead of
// the tests: one that ends the process.
const childEnv = "MAPPER_TEST_CHILD"

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		children[name]()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
