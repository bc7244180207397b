package assign

import (
	"bytes"
	"math"
	"testing"
	"time"
)

// loose is a machine with room for one in every channel, nothing ever unread, and
// this backoff.
func loose(batch bool, backoff func(int) time.Duration) *Machine {
	return New(Config{
		Batch: batch, MaxCalls: 1, Backoff: backoff,
		Room:   func(Worker) (int, int) { return 0, 1 },
		Failed: func(Executor) bool { return false },
	})
}

func constant(d time.Duration) func(int) time.Duration {
	return func(int) time.Duration { return d }
}

func TestNewNeedsAll(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no calls":   {Backoff: constant(0), Room: func(Worker) (int, int) { return 0, 1 }, Failed: func(Executor) bool { return false }},
		"no Backoff": {MaxCalls: 1, Room: func(Worker) (int, int) { return 0, 1 }, Failed: func(Executor) bool { return false }},
		"no Room":    {MaxCalls: 1, Backoff: constant(0), Failed: func(Executor) bool { return false }},
		"no Failed":  {MaxCalls: 1, Backoff: constant(0), Room: func(Worker) (int, int) { return 0, 1 }},
	} {
		if !panics(func() { New(cfg) }) {
			t.Errorf("%s: New took it", name)
		}
	}
	if !panics(func() { loose(false, constant(0)).Step(0, Event{}) }) {
		t.Error("an event of no kind was taken")
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

func TestRepeatedEventsAreNothing(t *testing.T) {
	m := loose(false, constant(0))
	m.Step(0, Event{Kind: Spawned})
	before := m.AppendState(nil, 0, Horizon{})
	if fx := m.Step(0, Event{Kind: Spawned}); len(fx) > 0 || m.Living() != 1 {
		t.Errorf("a second Spawned of a living worker: effects %v, %d living", fx, m.Living())
	}
	if after := m.AppendState(nil, 0, Horizon{}); !bytes.Equal(before, after) {
		t.Error("it has changed the state")
	}
	m.Step(0, Event{Kind: Stopped})
	if fx := m.Step(0, Event{Kind: Stopped}); len(fx) > 0 || m.Living() != 0 {
		t.Errorf("a second Stopped: effects %v, %d living", fx, m.Living())
	}
	if fx := m.Step(0, Event{Kind: SendFailed}); len(fx) > 0 {
		t.Errorf("SendFailed of a dead worker: effects %v", fx)
	}
}

// TestB4_JitterDoesNotSplit: workers that are resolved together and fail together
// are due together, however random Backoff is.
func TestB4_JitterDoesNotSplit(t *testing.T) {
	asked := 0
	m := loose(true, func(int) time.Duration {
		asked++
		return time.Duration(100 + asked)
	})
	const n = 300
	for w := range Worker(n) {
		m.Step(0, Event{Kind: Spawned, Worker: w})
	}
	for round := range 3 {
		fx := m.Step(due(m), Event{Kind: Tick})
		if len(fx) != n+1 || fx[n].Kind != Call {
			t.Fatalf("round %d: %d effects, want %d workers in one call", round, len(fx), n)
		}
		now := due(m)
		for w := range Worker(n) {
			m.Step(now, Event{Kind: Refused, Worker: w, At: m.workers.at(int32(w)).began})
		}
		m.Step(now, Event{Kind: CallReturned})
		if asked != round+1 {
			t.Fatalf("round %d: Backoff was asked %d times", round, asked)
		}
	}
}

// due is when the next Tick is needed; 0 where none is.
func due(m *Machine) Time {
	at, _ := m.Next()
	return at
}

// TestB1_EndlessBackoff: one that is longer than all time is a wait to the end of
// time, and a negative one is none.
func TestB1_EndlessBackoff(t *testing.T) {
	m := loose(false, constant(math.MaxInt64))
	m.Step(1000, Event{Kind: Spawned})
	m.Step(1000, Event{Kind: Tick})
	m.Step(2000, Event{Kind: Refused, At: 1000})
	m.Step(2000, Event{Kind: CallReturned})
	if at, ok := m.Next(); !ok || at != math.MaxInt64 {
		t.Errorf("the retry is due at %d, %v", at, ok)
	}

	m = loose(false, constant(-time.Second))
	m.Step(1000, Event{Kind: Spawned})
	m.Step(1000, Event{Kind: Tick})
	m.Step(1000, Event{Kind: Refused, At: 1000})
	m.Step(1000, Event{Kind: CallReturned})
	if fx := m.Step(1000, Event{Kind: Tick}); len(fx) != 2 {
		t.Errorf("with a negative Backoff the retry is not resolved at once: %v", fx)
	}
}

// TestB1_AttemptSaturates: a resolver that fails for ever is asked at the last
// backoff for ever.
func TestB1_AttemptSaturates(t *testing.T) {
	m := loose(false, constant(time.Nanosecond))
	m.Step(0, Event{Kind: Spawned})
	m.Step(0, Event{Kind: Tick})
	m.workers.at(0).attempt = math.MaxInt32 - 1
	for now := Time(0); now < 5; now++ {
		m.Step(now, Event{Kind: Refused, At: now})
		m.Step(now, Event{Kind: CallReturned})
		m.Step(now+1, Event{Kind: Tick})
	}
	if n := m.Attempt(0); n != math.MaxInt32 {
		t.Errorf("attempt is %d", n)
	}
}

// TestL4_LooksGrowSparse: the interval doubles from 1 ms to 10 s, and stays there
// however often nothing was found.
func TestL4_LooksGrowSparse(t *testing.T) {
	m := New(Config{
		MaxCalls: 1, Backoff: constant(0),
		Room:   func(Worker) (int, int) { return 1, 2 },
		Failed: func(Executor) bool { return false },
	})
	m.Step(0, Event{Kind: Spawned})
	for i := range Conn(2) {
		m.Step(0, Event{Kind: Tick})
		m.Step(0, Event{Kind: Answered, Conn: i})
		m.Step(0, Event{Kind: CallReturned})
		m.Step(0, Event{Kind: ExecutorUp, Conn: i, Executor: Executor(i)})
		m.Step(0, Event{Kind: Triggered})
	}
	m.Step(0, Event{Kind: Tick}) // the last trigger's, which stays in flight
	last, interval := Time(0), Time(time.Millisecond)
	for i := range 1000 {
		at, ok := m.Next()
		if !ok || at-last != interval {
			t.Fatalf("look %d comes %v after the last, want %v", i, time.Duration(at-last), time.Duration(interval))
		}
		m.Step(at, Event{Kind: Tick})
		last, interval = at, min(2*interval, Time(10*time.Second))
	}
}

// TestS8_StateIsForgotten: nothing is left of those that have come and gone, and
// how they came and went does not show.
func TestS8_StateIsForgotten(t *testing.T) {
	empty := loose(false, constant(0)).AppendState(nil, 0, Horizon{})
	m := loose(false, constant(0))
	const n = 1000
	for w := range Worker(n) {
		m.Step(0, Event{Kind: Spawned, Worker: w})
		m.Step(0, Event{Kind: Tick})
		m.Step(0, Event{Kind: Answered, Worker: w, Conn: Conn(w) % 7})
		m.Step(0, Event{Kind: CallReturned})
		if w < 7 {
			m.Step(0, Event{Kind: ExecutorUp, Conn: Conn(w), Executor: Executor(w)})
		}
	}
	for move := range Worker(3) { // nobody looks whether it was read before the next
		for w := range Worker(n) {
			m.Step(0, Event{Kind: Triggered, Worker: w})
			m.Step(0, Event{Kind: Tick})
			m.Step(0, Event{Kind: Answered, Worker: w, Conn: Conn(w+move+1) % 7})
			m.Step(0, Event{Kind: CallReturned})
		}
		if err := m.Check(Horizon{}); err != nil {
			t.Fatal(err)
		}
		if older, _, _ := m.Records(); older != n {
			t.Errorf("%d records of older holds for %d workers that have one each", older, n)
		}
	}
	for w := range Worker(n) {
		m.Step(1, Event{Kind: Stopped, Worker: w * 7 % n})
	}
	for e := range Executor(7) {
		m.Step(2, Event{Kind: Closed, Executor: e})
		m.Step(2, Event{Kind: ExecutorDown, Executor: e})
	}
	if got := m.AppendState(nil, 3, Horizon{}); !bytes.Equal(got, empty) {
		t.Errorf("the state is %x", got)
	}
	if calls, quiet := m.Quiet(); calls != 0 || !quiet || m.Busy() != 0 {
		t.Errorf("%d calls, quiet %v, %d connections", calls, quiet, m.Busy())
	}
}

// TestTimersKeepOrder sets, moves and removes many timers and sees them fire in
// order of their times.
func TestTimersKeepOrder(t *testing.T) {
	m := loose(false, constant(0))
	const n = 500
	at := map[Worker]Time{}
	random := uint64(1)
	for i := range 5000 {
		random = random*6364136223846793005 + 1442695040888963407
		w := m.worker(Worker(random >> 33 % n))
		id := Worker(random >> 33 % n)
		switch _, set := at[id]; {
		case set && random>>60 < 4:
			m.timers.remove(m, id, retry)
			delete(at, id)
		default:
			at[id] = Time(random >> 20 % 1000)
			w.due = at[id]
			m.timers.set(m, id, retry, at[id])
		}
		if len(m.timers.heap) != len(at) {
			t.Fatalf("after %d: %d timers, want %d", i, len(m.timers.heap), len(at))
		}
	}
	for last := (timer{due: -1}); len(at) > 0; {
		next := m.timers.heap[0]
		if !last.before(next) || at[Worker(next.id>>1)] != next.due {
			t.Fatalf("%+v fires after %+v", next, last)
		}
		if _, _, ok := m.timers.pop(m, next.due-1); ok {
			t.Fatalf("%+v fires too early", next)
		}
		w, kind, ok := m.timers.pop(m, next.due)
		if !ok || w != Worker(next.id>>1) || kind != retry {
			t.Fatalf("popped %d, %d, %v", w, kind, ok)
		}
		delete(at, w)
		last = next
	}
}
