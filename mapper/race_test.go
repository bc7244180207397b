//go:build race

package mapper_test

// raced says that the race detector is on, which slows tight loops some twenty
// times: tests that are about sizes rather than races do less then.
const raced = true
