// Package drive runs a real mapper, its goroutines included, step by step in
// virtual time, beside a plain reference that says after each step what must have
// happened: which workers are being resolved and since when, which executors are
// spawned and stopped, what every worker was sent.
//
// Nothing in a run goes on by itself: every call of the resolver, of SpawnExecutor
// and of Stop hangs until a [Step] lets it return, a worker reads when a Step says
// so, and time passes only in Steps. So a run is a [Script], and one that fails
// can be made shorter, and read.
//
// The reference, in reference.go, is the contract as a bookkeeper would write it:
// no queue, no timer, no handles. It knows nothing of internal/assign.
//
// Tests only: fuzz makes scripts from bytes, model from rapid's choices.
package drive
