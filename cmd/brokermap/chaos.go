package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/brokermap/brokermap/internal/kafkatest"
	"github.com/brokermap/brokermap/internal/stall"
)

// The kinds of faults.
const (
	faultMove   = "move"   // some partitions get another leader
	faultDrop   = "drop"   // a broker's connections are closed
	faultKill   = "kill"   // a broker is gone, after a while others lead in its place
	faultRevive = "revive" // it is back, and every broker leads its share again
)

const (
	faultPauseLeast = 250 * time.Millisecond
	faultPauseMost  = 1500 * time.Millisecond
	// electionMost is how long a dead broker goes on leading: a short session
	// timeout.
	electionMost = 300 * time.Millisecond
)

// step is one fault of a plan.
type step struct {
	at   time.Duration
	kind string
	// broker is dropped, killed or revived. Of a move it is how many brokers
	// further the partitions go, less one.
	broker     int32
	partitions []int32 // of a move
}

// planFaults returns the faults of a run, in the order of time. The same
// arguments always give the same plan: the kinds in rounds, each round shuffled.
func planFaults(seed int64, duration time.Duration, partitions, brokers int) []step {
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	pause := faultPause(duration)
	last := duration - pause // what comes later could not be seen to heal
	at := pause
	var plan []step
	add := func(s step) {
		s.at = at
		at += pause
		plan = append(plan, s)
	}
	for at <= last {
		round := []string{faultMove, faultDrop, faultKill}
		random.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		for _, kind := range round {
			broker := random.Int32N(int32(brokers))
			n := 1 + random.IntN((partitions+2)/3)
			picked := random.Perm(partitions)[:n]
			switch {
			case at > last:
			case kind == faultMove:
				s := step{kind: kind, broker: random.Int32N(int32(brokers - 1))}
				for _, p := range picked {
					s.partitions = append(s.partitions, int32(p))
				}
				slices.Sort(s.partitions)
				add(s)
			case kind == faultDrop:
				add(step{kind: kind, broker: broker})
			case at+pause <= last: // a kill, with the time to come back
				add(step{kind: faultKill, broker: broker})
				add(step{kind: faultRevive, broker: broker})
			}
		}
	}
	return plan
}

// faultPause returns the time between two faults.
func faultPause(duration time.Duration) time.Duration {
	return min(max(duration/10, faultPauseLeast), faultPauseMost)
}

// chaos carries a plan out on an embedded cluster.
type chaos struct {
	cluster  *kafkatest.Cluster
	topic    string
	timeline *timeline
	log      *console
	election time.Duration
	dead     int32 // the broker that is killed, -1 where none is
}

func newChaos(cluster *kafkatest.Cluster, topic string, t *timeline, log *console, duration time.Duration) *chaos {
	return &chaos{
		cluster:  cluster,
		topic:    topic,
		timeline: t,
		log:      log,
		election: min(electionMost, faultPause(duration)/2),
		dead:     -1,
	}
}

// run carries plan out until it is over or ctx ends. Then every broker is there.
func (c *chaos) run(ctx context.Context, plan []step) error {
	for _, s := range plan {
		if stall.Pause(ctx, s.at-c.timeline.elapsed()) != nil {
			break
		}
		if err := c.strike(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.kind, err)
		}
	}
	if c.dead >= 0 {
		return c.cluster.Revive(c.dead)
	}
	return nil
}

func (c *chaos) strike(ctx context.Context, s step) error {
	switch s.kind {
	case faultMove:
		return c.move(s)
	case faultDrop:
		n := c.cluster.Connections(s.broker)
		c.record(s.kind, fmt.Sprintf("%d connections of broker %d", n, s.broker), s.broker)
		_, err := c.cluster.Drop(s.broker)
		return err
	case faultKill:
		c.record(s.kind, fmt.Sprintf("broker %d, others lead after %d ms", s.broker, c.election.Milliseconds()), s.broker)
		c.dead = s.broker
		if err := c.cluster.Kill(s.broker); err != nil {
			return err
		}
		_ = stall.Pause(ctx, c.election) // one that is cut short is an election all the same
		_, err := c.cluster.Elect(c.topic, s.broker)
		return err
	default:
		c.record(s.kind, fmt.Sprintf("broker %d, every broker leads its share again", s.broker), s.broker)
		if err := c.cluster.Revive(s.broker); err != nil {
			return err
		}
		c.dead = -1
		return c.cluster.SpreadLeaders(c.topic)
	}
}

func (c *chaos) move(s step) error {
	leaders, err := c.cluster.Leaders(c.topic)
	if err != nil {
		return err
	}
	brokers := int32(len(c.cluster.Addrs()))
	var from, to []int32
	for _, p := range s.partitions {
		if !slices.Contains(from, leaders[p]) {
			from = append(from, leaders[p])
		}
		to = append(to, (leaders[p]+1+s.broker)%brokers)
	}
	c.record(s.kind, fmt.Sprintf("partitions %s get leaders %s", list(s.partitions, 24), list(to, 16)), from...)
	for i, p := range s.partitions {
		if err := c.cluster.MoveLeader(c.topic, p, to[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *chaos) record(kind, detail string, brokers ...int32) {
	c.timeline.strike(kind, detail, brokers...)
	c.log.line("fault", "%s: %s", kind, detail)
}
