//go:build !trace

package mapper

import "github.com/brokermap/brokermap/internal/assign"

// tracer writes what a mapper does, in a build with -tags trace. In this one it
// does nothing, and every call of it is inlined to that.
type tracer struct{}

func (tracer) open(*loop)                                     {}
func (tracer) begin()                                         {}
func (tracer) cancel()                                        {}
func (tracer) did(string, Worker)                             {}
func (tracer) didIf(bool, string, Worker)                     {}
func (tracer) failed(*executorEntry)                          {}
func (tracer) acquired(Worker, Lease)                         {}
func (tracer) released(Lease)                                 {}
func (tracer) looked(*workerEntry)                            {}
func (tracer) beginResult(*result)                            {}
func (tracer) tookResult(*result)                             {}
func (tracer) answered(assign.Event)                          {}
func (tracer) tookFlags()                                     {}
func (tracer) ticked()                                        {}
func (tracer) asked(assign.Worker)                            {}
func (tracer) sent(assign.Worker)                             {}
func (tracer) room(_ assign.Worker, unread, n int) (int, int) { return unread, n }
func (tracer) finished()                                      {}
func (tracer) rest()                                          {}
