package stall

import (
	"os"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"go.uber.org/goleak"

	"github.com/brokermap/brokermap/consumer"
	"github.com/brokermap/brokermap/internal/kafkatest"
)

func TestMain(m *testing.M) {
	// One goroutine for the process, which a sarama connection's metrics start
	// and nothing ends.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// quick is a sarama that does not wait out its long timeouts.
func quick() *sarama.Config {
	conf := SaramaTuned()
	conf.Net.DialTimeout, conf.Net.ReadTimeout, conf.Net.WriteTimeout = time.Second, time.Second, time.Second
	return conf
}

func clients() []Client {
	return []Client{
		SaramaClient("brokermap", SaramaDefault, func(cl sarama.Client) (sarama.Consumer, error) { return consumer.New(cl, consumer.Config{}) }),
		SaramaClient("sarama", quick, sarama.NewConsumerFromClient),
	}
}

// failOver runs the faults that bed can have, and checks every record.
func failOver(t *testing.T, bed kafkatest.Testbed, lasts time.Duration) {
	var faults []Fault
	for _, f := range Faults() {
		if f.Possible(bed) != nil {
			continue
		}
		f.Lasts, f.Watch = min(f.Lasts, lasts), min(f.Watch, lasts)
		faults = append(faults, f)
	}
	res, err := Run(t.Context(), Config{
		Bed:     bed,
		Topic:   "stalls",
		Faults:  faults,
		Clients: clients(),
		Calm:    lasts / 2,
		Report: func(tr Trial) {
			for i, s := range tr.Stalls {
				t.Logf("%-10s broker %d: floor %v; %s %v, excess %v", tr.Fault.Name, tr.Broker, tr.Floor.Slowest.Round(time.Millisecond),
					clients()[i].Name, s.Slowest.Round(time.Millisecond), s.SlowestExcess.Round(time.Millisecond))
				if s.Unfinished {
					t.Errorf("%s: after %s some partition came to nothing more", clients()[i].Name, tr.Fault.Name)
				}
			}
			switch floor := tr.Floor.Slowest; {
			case (tr.Fault.Name == "kill" || tr.Fault.Name == "freeze") && floor < session:
				t.Errorf("the writer went on after %v, before anybody else led", floor)
			case tr.Fault.Name == "none" && len(tr.Hit) != 12 || tr.Fault.Name == "kill" && len(tr.Hit) != 4:
				t.Errorf("%s hits partitions %v", tr.Fault.Name, tr.Hit)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Trials) != len(faults) {
		t.Errorf("%d trials of %d faults", len(res.Trials), len(faults))
	}
	for i, tally := range res.Tallies {
		t.Logf("%s: %+v", clients()[i].Name, tally)
		if !tally.OK() || tally.Received == 0 {
			t.Errorf("%s: %+v", clients()[i].Name, tally)
		}
	}
}

func TestFailover(t *testing.T) {
	bed, err := kafkatest.Start(kafkatest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer bed.Close()
	failOver(t, bed, time.Second)
}

func TestKafkaFailover(t *testing.T) {
	if os.Getenv(kafkatest.WantKafka) == "" {
		t.Skip(kafkatest.ErrNotWanted)
	}
	bed, err := kafkatest.StartKafka(t.Context(), kafkatest.KafkaConfig{Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer bed.Close()
	failOver(t, bed, 3*time.Second)
	if t.Failed() {
		t.Log(bed.LogTail(30))
	}
}
