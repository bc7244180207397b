// Package tla is the specification of the mapper in TLA+ and the test that runs
// its checker, TLC. README.md introduces both.
//
//	BROKERMAP_TLC=1 go test -v ./tla
package tla
