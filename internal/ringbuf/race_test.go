//go:build race

package ringbuf_test

// raceDetector makes the ring some thirty times slower.
const raceDetector = true
