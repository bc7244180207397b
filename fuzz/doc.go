// Package fuzz holds what a fuzzer drives from bytes: the machine in a model of its
// surroundings, the ring, the map, and the whole mapper with its goroutines, each
// beside a reference that is plain enough to be right.
//
// go test ./fuzz replays the corpora in testdata; CONTRIBUTING.md says how to look
// for more. The parsers of what comes from the network are internal to package
// consumer, and so are their targets, FuzzAnswer and FuzzRecords.
package fuzz
