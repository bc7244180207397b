// Package brokermap is about keeping the many workers of a Kafka client (fetchers
// of partitions, committers of offsets, producers) assigned to executors, each of
// which serves the requests of its workers over one broker connection. It has no
// code of its own, only the benchmarks; start with package
// [github.com/brokermap/brokermap/mapper].
package brokermap
