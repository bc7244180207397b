package stall

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

// Fault is a way to disturb a cluster and to set it right again.
type Fault struct {
	Name string
	// Does says what it does, for people.
	Does string
	// Lasts is for how long the cluster stays disturbed, before undo.
	Lasts time.Duration
	// Watch is for how long consumers are watched after that.
	Watch time.Duration
	// All says that it hits every partition, not only those that the struck
	// broker leads.
	All bool

	// prepare, where there is one, says which broker to strike, and has the cluster
	// ready for that.
	prepare func(bed kafkatest.Testbed, topic string) (broker int32, err error)

	strike func(bed kafkatest.Testbed, topic string, broker int32) error
	undo   func(bed kafkatest.Testbed, broker int32) error // nil: nothing is to be done
	apart  bool                                            // undo is no part of the fault: it comes after the watch
	can    func(bed kafkatest.Testbed) error               // nil: always
}

// session is how long the embedded cluster takes to notice that a broker is gone.
const session = 300 * time.Millisecond

// elect has others lead in the place of a broker that is gone: the embedded
// cluster has no controller that would.
func elect(bed kafkatest.Machines, topic string, broker int32) error {
	if _, embedded := bed.(*kafkatest.Cluster); embedded {
		time.Sleep(session)
	}
	_, err := bed.Elect(topic, broker)
	return err
}

// machine returns bed where its brokers can be gone, which can has made sure of.
func machine(bed kafkatest.Testbed) kafkatest.Machines { return bed.(kafkatest.Machines) }

func canBeGone(bed kafkatest.Testbed) error {
	if _, ok := bed.(kafkatest.Machines); !ok {
		return errors.New("this cluster's brokers cannot be stopped from here")
	}
	return nil
}

func revive(bed kafkatest.Testbed, broker int32) error { return machine(bed).Revive(broker) }

// controlled is a cluster that has a controller which can be gone.
type controlled interface {
	KillController()
	ReviveController() error
}

// Faults returns the faults there are. The first is none: the control.
func Faults() []Fault {
	return []Fault{
		{
			Name: "none", Does: "nothing: what the machine's noise alone does", All: true, Lasts: 3 * time.Second,
			strike: func(kafkatest.Testbed, string, int32) error { return nil },
		},
		{
			Name: "move", Does: "another broker is elected the leader of every partition", All: true, Watch: 4 * time.Second,
			strike: func(bed kafkatest.Testbed, topic string, _ int32) error {
				leaders, err := bed.Leaders(topic)
				if err != nil {
					return err
				}
				to := make(map[int32]int32)
				for p, leader := range leaders {
					to[int32(p)] = (leader + 1) % int32(len(bed.Addrs()))
				}
				return bed.MoveLeaders(topic, to)
			},
		},
		{
			Name: "drop", Does: "the connections to a broker are closed", Watch: 3 * time.Second,
			strike: func(bed kafkatest.Testbed, _ string, broker int32) error {
				_, err := bed.Drop(broker)
				return err
			},
		},
		{
			Name: "stop", Does: "a broker shuts down in order", Lasts: 5 * time.Second, apart: true,
			strike: func(bed kafkatest.Testbed, _ string, broker int32) error { return machine(bed).Stop(broker) },
			undo:   revive,
			can:    canBeGone,
		},
		{
			Name: "kill", Does: "a broker dies", Lasts: 6 * time.Second, apart: true,
			strike: func(bed kafkatest.Testbed, topic string, broker int32) error {
				return errors.Join(machine(bed).Kill(broker), elect(machine(bed), topic, broker))
			},
			undo: revive,
			can:  canBeGone,
		},
		{
			Name: "freeze", Does: "a broker neither answers nor closes, for 10 s", Lasts: 10 * time.Second, Watch: 6 * time.Second,
			strike: func(bed kafkatest.Testbed, topic string, broker int32) error {
				return errors.Join(machine(bed).Freeze(broker), elect(machine(bed), topic, broker))
			},
			undo: func(bed kafkatest.Testbed, broker int32) error { return machine(bed).Thaw(broker) },
			can:  canBeGone,
		},
		{
			Name: "bounce", Does: "a broker restarts in order, and leads again", Watch: 5 * time.Second,
			strike: func(bed kafkatest.Testbed, topic string, broker int32) error {
				if err := machine(bed).Stop(broker); err != nil {
					return err
				}
				if err := machine(bed).Revive(broker); err != nil {
					return err
				}
				return bed.Settle(topic)
			},
			can: canBeGone,
		},
		{
			Name: "coordinator", Does: "the broker that coordinates a group, and leads none of the partitions, shuts down in order",
			All: true, Lasts: 5 * time.Second, apart: true,
			prepare: leadNothing,
			strike:  func(bed kafkatest.Testbed, _ string, broker int32) error { return machine(bed).Stop(broker) },
			undo:    revive,
			can:     canBeGone,
		},
		{
			Name: "controller", Does: "the controller dies, for 3 s", All: true, Lasts: 3 * time.Second, Watch: 3 * time.Second,
			strike: func(bed kafkatest.Testbed, _ string, _ int32) error {
				bed.(controlled).KillController()
				return nil
			},
			undo: func(bed kafkatest.Testbed, _ int32) error {
				return bed.(controlled).ReviveController()
			},
			can: func(bed kafkatest.Testbed) error {
				if _, ok := bed.(controlled); !ok {
					return errors.New("this cluster's controller cannot be gone")
				}
				return nil
			},
		},
	}
}

// leadNothing has others lead what a group's coordinator leads.
func leadNothing(bed kafkatest.Testbed, topic string) (int32, error) {
	coordinator, err := machine(bed).Coordinator("stall")
	if err != nil {
		return 0, err
	}
	leaders, err := bed.Leaders(topic)
	if err != nil {
		return 0, err
	}
	brokers := int32(len(bed.Addrs()))
	to := make(map[int32]int32)
	for p, leader := range leaders {
		if leader == coordinator {
			to[int32(p)] = (coordinator + 1 + int32(len(to))%(brokers-1)) % brokers
		}
	}
	return coordinator, bed.MoveLeaders(topic, to)
}

// FaultByName returns a fault of [Faults].
func FaultByName(name string) (Fault, error) {
	var names []string
	for _, f := range Faults() {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return Fault{}, fmt.Errorf("%q is no fault: there are %v", name, names)
}

// Possible returns nil where bed can be disturbed in this way.
func (f Fault) Possible(bed kafkatest.Testbed) error {
	if f.can == nil {
		return nil
	}
	return f.can(bed)
}

// Any says that it strikes whatever broker is named.
func (f Fault) Any() bool { return f.prepare == nil }

// Inflict disturbs bed, keeps it so for a while or until ctx ends, and sets it
// right again. What is left to be done is [kafkatest.Testbed]'s Settle.
func (f Fault) Inflict(ctx context.Context, bed kafkatest.Testbed, topic string, broker int32, lasts time.Duration) error {
	if f.prepare != nil {
		var err error
		if broker, err = f.prepare(bed, topic); err != nil {
			return err
		}
	}
	return errors.Join(f.disturb(ctx, bed, topic, broker, lasts), f.setRight(bed, broker))
}

// disturb disturbs bed for so long. Whatever it returns, setRight must follow.
func (f Fault) disturb(ctx context.Context, bed kafkatest.Testbed, topic string, broker int32, lasts time.Duration) error {
	began := time.Now()
	if err := f.strike(bed, topic, broker); err != nil {
		return fmt.Errorf("%s of broker %d: %w", f.Name, broker, err)
	}
	return Pause(ctx, lasts-time.Since(began))
}

func (f Fault) setRight(bed kafkatest.Testbed, broker int32) error {
	if f.undo == nil {
		return nil
	}
	if err := f.undo(bed, broker); err != nil {
		return fmt.Errorf("end of %s of broker %d: %w", f.Name, broker, err)
	}
	return nil
}
