package fuzz

import (
	"testing"

	"github.com/brokermap/brokermap/internal/drive"
)

// FuzzMapper takes bytes for a script that a real mapper runs through in virtual
// time, goroutines and all, beside a plain reference. In the end everybody has
// stopped, each executor once, and no goroutine is left.
func FuzzMapper(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if log, err := drive.Run(t, drive.FromBytes(b)); err != nil {
			t.Fatalf("%v, after:\n%s", err, log)
		}
	})
}
