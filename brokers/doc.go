// Package brokers finds and reaches Kafka brokers for a mapper's workers, on
// connections that nobody else uses.
//
// A [Conn] is a connection to one broker for one role, such as fetching: a
// *sarama.Broker serves one request at a time, so one that is shared with a
// parked Fetch waits as long as that is parked. It can be interrupted at once.
//
// [Leaders] resolves partitions to the connections of their leaders, and
// [Coordinators] groups to those of their coordinators. Both are resolvers of
// a mapper that answer for many workers with one request, that never answer
// from a request that was sent before they were asked, and that believe nobody
// who knows less than they know.
//
// Nothing is shared with the sarama.Client that they are made from: only its
// configuration and the addresses it knows are used.
package brokers
