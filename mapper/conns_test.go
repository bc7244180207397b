package mapper_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// Connections are forgotten with their executors, and come back when others have
// come: none is taken for another one.
func TestS4_ConnectionsThatComeAndGo(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		brokers := make([]*sarama.Broker, 100)
		for i := range brokers {
			brokers[i] = broker(fmt.Sprint("b", i))
		}
		random := rand.New(rand.NewPCG(1, 2))
		ws := x.workers(3, brokers[0])
		x.assigned(brokers[0], ws...)
		for range 1000 {
			w, next := ws[random.IntN(len(ws))], brokers[random.IntN(len(brokers))]
			w.leader.Store(next)
			pass(time.Second)
			x.m.TriggerReassign(w)
			settle()
			w.takes(next)
		}
	})
}
