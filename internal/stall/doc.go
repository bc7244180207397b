// Package stall measures for how long a fault of a cluster keeps records from the
// consumers of a topic, and whether they then come once and in order.
//
// A [Writer] writes numbered records to each partition at a steady rate. The
// longest time for which the cluster acknowledged none is the floor: no consumer
// can do better. Any number of consumers read the topic side by side, each noting
// what it is given in a [Log]. [Run] strikes with one [Fault] after the other and
// compares the gaps in the logs with the floor, partition by partition.
package stall
