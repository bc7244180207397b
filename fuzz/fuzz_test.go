package fuzz

import (
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seed gives a fuzzer inputs to begin with, which are long enough for much to
// happen; what it finds from there is in testdata.
func seed(f *testing.F) {
	const inputs = 200
	for i := range inputs {
		r := rand.New(rand.NewPCG(uint64(i), 0))
		b := make([]byte, 32<<(i%6))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		f.Add(b)
	}
}

// enough bounds what is done with one input, however long it is.
const enough = 400

// input is what is left of a fuzzer's bytes.
type input []byte

// byte takes one; 0 where none is left.
func (in *input) byte() int {
	if len(*in) == 0 {
		return 0
	}
	b := (*in)[0]
	*in = (*in)[1:]
	return int(b)
}

// below takes one and makes it a number below n.
func (in *input) below(n int) int { return in.byte() % n }

func (in *input) bool() bool { return in.byte()&1 != 0 }
