//go:build !race

package ringbuf_test

const raceDetector = false
