// Package mapper keeps workers assigned to executors.
//
// In a Kafka client, thousands of workers (partition fetchers, group offset
// committers) make requests, and each must go to whichever broker leads that
// partition or coordinates that group just now. An executor serves the requests
// of many workers over one broker connection. A mapper is told that a worker was
// spawned, has stopped, or wants a new assignment, or that an executor's
// connection failed; it asks a [Resolver] which broker serves the worker, has
// executors spawned on demand, hands each worker its executor on a channel, and
// stops an executor only after every worker that used it has moved on or
// stopped.
//
// Notifications ([T.OnWorkerSpawned], [T.OnWorkerStopped], [T.TriggerReassign],
// [T.BrokerFailed], [T.Acquire], [Lease.Release]) are lock-free: they never
// block, never wait for the mapper or for each other, and may be called from
// anywhere. Nothing that the resolver or an executor does, or fails to do,
// delays workers that do not need its result.
//
// A worker that embeds a [Slot] is found without a look-up, which makes its
// notifications two to three times as fast.
//
// A worker holds an executor from the moment it is sent until the worker has
// taken a later one from its channel, or has stopped. A held executor is never
// stopped; one that nobody holds is stopped once. There is at most one executor
// for a connection at any time, the time that its Stop takes included.
package mapper
