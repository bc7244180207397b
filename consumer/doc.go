// Package consumer consumes Kafka partitions through a mapper.
//
// [New] returns a sarama.Consumer that can take the place of sarama's: the same
// methods, configuration and errors. What is different is what happens when
// something goes wrong. All partitions that a broker leads are fetched in one
// request over connections that nobody else uses; a partition whose messages are
// not read is left out, and delays nobody. When a leader moves, a connection drops
// or a broker stops answering, the partitions that it concerns are resolved at
// once, all of them with one metadata request, and go on at the offset where they
// were: nothing is lost, repeated or reordered. To a broker that leads nothing any
// more two connections are kept, or tried for, for five minutes: it may be one that
// restarts.
//
// [NewReader] consumes many partitions in batches, for those who want the speed.
package consumer
