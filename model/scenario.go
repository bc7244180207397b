package model

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/brokermap/brokermap/internal/assign"
)

// Scenario performs actions from the first state of cfg and returns what happens
// to the machine, in the form of internal/assign/testdata, and the first broken
// rule. The actions stand in it as comments.
func Scenario(cfg Config, actions []Action) (string, error) {
	x, err := NewWorld(cfg)
	if err != nil {
		return "", err
	}
	x.log = &strings.Builder{}
	x.sayHeader()
	for _, a := range actions {
		if err = x.Do(a); err != nil {
			x.say("# broken: %s", strings.ReplaceAll(err.Error(), "\n", "\n# "))
			break
		}
	}
	return x.log.String(), err
}

// Record has x write down what happens from here on; Recorded returns it.
func (x *World) Record() {
	x.log = &strings.Builder{}
	x.sayHeader()
}

// Recorded returns the scenario since Record.
func (x *World) Recorded() string { return x.log.String() }

func (x *World) sayHeader() {
	kind := "plain"
	if x.cfg.Batch {
		kind = "batch"
	}
	waits := []string{"0s"}
	if x.cfg.Timeless {
		waits[0] = Unit.String()
	} else if len(x.cfg.Backoff) > 0 {
		waits = waits[:0]
		for _, n := range x.cfg.Backoff {
			waits = append(waits, (time.Duration(n) * x.cfg.unit()).String())
		}
	}
	x.say("%s calls %d backoff %s", kind, x.cfg.Calls, strings.Join(waits, " "))
	if x.cfg.Room != 1 {
		for w := range x.cfg.Workers {
			x.say("cap w%d %d", w+1, x.cfg.Room)
		}
	}
}

// sayTimes says what times the machine was loaded with.
func (x *World) sayTimes() {
	if x.log == nil {
		return
	}
	var words strings.Builder
	list := func(name string, workers uint16, backward bool) {
		if workers == 0 {
			return
		}
		words.WriteString(" " + name)
		for i := range MaxWorkers {
			w := i
			if backward {
				w = MaxWorkers - 1 - i
			}
			if workers>>w&1 != 0 {
				fmt.Fprintf(&words, " w%d", w+1)
			}
		}
	}
	a := &x.cast
	list("early", uint16(a.Early), false)
	if a.Kind == Tick {
		list("due", a.Choice&(1<<tickLooks-1), a.Choice&tickBackward != 0)
		list("looks", a.Choice>>tickLooks&(1<<tickLooks-1), a.Choice&tickBackward != 0)
	}
	x.say("times%s", words.String())
}

func (x *World) sayEvent(ev assign.Event) {
	if x.log == nil {
		return
	}
	line := eventLine(ev)
	if (ev.Kind == assign.Answered || ev.Kind == assign.Refused) && !x.cfg.Timeless && ev.At != x.book.workers[ev.Worker].began {
		line += fmt.Sprintf(" began %v", time.Duration(ev.At)-time.Hour)
	}
	x.say("%s", line)
}

func (x *World) sayEffect(f assign.Effect) {
	if x.log != nil {
		x.say("  %s", effectLine(f))
	}
}

func eventLine(ev assign.Event) string {
	w, e, c := ev.Worker+1, ev.Executor+1, ev.Conn+1
	switch ev.Kind {
	case assign.Spawned:
		return fmt.Sprintf("spawn w%d", w)
	case assign.Stopped:
		return fmt.Sprintf("stop w%d", w)
	case assign.Triggered:
		return fmt.Sprintf("trigger w%d", w)
	case assign.Answered:
		return fmt.Sprintf("answer w%d c%d", w, c)
	case assign.Refused:
		return fmt.Sprintf("refuse w%d", w)
	case assign.CallReturned:
		return "return"
	case assign.ExecutorUp:
		if ev.Suspect {
			return fmt.Sprintf("up c%d e%d suspect", c, e)
		}
		return fmt.Sprintf("up c%d e%d", c, e)
	case assign.SpawnFailed:
		return fmt.Sprintf("spawnfailed c%d", c)
	case assign.ExecutorUnfit:
		return fmt.Sprintf("unfit c%d e%d", c, e)
	case assign.BrokerFailed:
		return fmt.Sprintf("fail e%d", e)
	case assign.Unpinned:
		return fmt.Sprintf("unpinned e%d", e)
	case assign.Closed:
		return fmt.Sprintf("closed e%d", e)
	case assign.ExecutorDown:
		return fmt.Sprintf("down e%d", e)
	case assign.SendFailed:
		return fmt.Sprintf("sendfailed w%d", w)
	case assign.Tick:
		return "tick"
	}
	return fmt.Sprintf("event %d", ev.Kind)
}

func effectLine(f assign.Effect) string {
	w, e, c := f.Worker+1, f.Executor+1, f.Conn+1
	switch f.Kind {
	case assign.Ask:
		return fmt.Sprintf("ask w%d", w)
	case assign.Call:
		return "call"
	case assign.Spawn:
		return fmt.Sprintf("spawn c%d", c)
	case assign.Send:
		return fmt.Sprintf("send w%d e%d", w, e)
	case assign.Full:
		return fmt.Sprintf("full w%d", w)
	case assign.Retire:
		return fmt.Sprintf("retire e%d", e)
	case assign.Resume:
		return fmt.Sprintf("resume e%d", e)
	case assign.Stop:
		return fmt.Sprintf("stop e%d", e)
	case assign.ForgetWorker:
		return fmt.Sprintf("forget w%d", w)
	case assign.ForgetConn:
		return fmt.Sprintf("forget c%d", c)
	}
	return fmt.Sprintf("effect %d", f.Kind)
}

func compareEffects(f, g assign.Effect) int {
	return cmp.Or(cmp.Compare(f.Kind, g.Kind), cmp.Compare(f.Worker, g.Worker), cmp.Compare(f.Executor, g.Executor), cmp.Compare(f.Conn, g.Conn))
}

func effectLines(effects []assign.Effect) string {
	lines := make([]string, len(effects))
	for i, f := range effects {
		lines[i] = effectLine(f)
	}
	return fmt.Sprint(lines)
}
