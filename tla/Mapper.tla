------------------------------- MODULE Mapper -------------------------------
(***************************************************************************)
(* The mapper of package mapper: the rules of its contract that are not a  *)
(* matter of time or allocation, over every interleaving of callers,       *)
(* workers, the mapper's goroutine and calls that may take long.           *)
(*                                                                         *)
(* One variable, s, is the whole state, a record that is described at      *)
(* TypeOK. Functions that take a state x and return another follow the     *)
(* shipped machine (internal/assign) name by name: Send is its send, Retire*)
(* its retireIdle. Actions say when something may happen and what s' then  *)
(* is. README.md beside this file is an introduction for those who have    *)
(* never read TLA+.                                                        *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets, TLC

CONSTANTS
  Workers,   \* worker values
  Conns,     \* connections; an executor goes by the name of its connection (S2)
  None,      \* no connection
  Room,      \* how many executors a worker's channel holds
  Batch,     \* the resolver answers for many workers in one call
  MaxCalls,  \* resolver calls in flight
  MaxLeases, \* leases on one executor; 0: there are none
  May,       \* what the world may do; see the actions that ask
  Noisy,     \* workers that go on triggering when the world is calm
  Hang,      \* workers and connections whose calls may take for ever
  Mut        \* seeded defects; {} is the design

VARIABLE s

Range(q) == {q[i] : i \in DOMAIN q}
Last(q)  == q[Len(q)]
Put(f, S, v) == [k \in DOMAIN f |-> IF k \in S THEN v ELSE f[k]] \* f, but v on S

\* Every sequence of different members of S: which of them come, and in which order.
RECURSIVE Queues(_)
Queues(S) == {<<>>} \cup UNION {{<<w>> \o q : q \in Queues(S \ {w})} : w \in S}

TypeOK ==
  \* Callers: slots and the gate. A slot says what is true; a hint says that a look is worth it.
  /\ s.alive    \in SUBSET Workers                      \* a life is on
  /\ s.reborn   \in SUBSET (s.alive \cap s.on)          \* it is not the one that the machine takes for on: the epoch differs
  /\ s.trig     \in [Workers -> {"none", "set", "told"}] \* its trigger
  /\ s.telling  \in SUBSET Workers                      \* a caller has written the slot and not yet left the hint ("pause")
  /\ s.hint     \in SUBSET Workers                      \* a hint is in the ring ("ring")
  /\ s.dirty    \in BOOLEAN                             \* a hint found the ring full: scan all slots ("overflow")
  /\ s.closed   \in BOOLEAN                             \* Stop or Shutdown was called
  /\ s.done     \in BOOLEAN                             \* the mapper has ended
  \* The machine.
  /\ s.on       \in SUBSET Workers                      \* takes a life for on
  /\ s.owed     \in SUBSET s.on                         \* a resolution is to start: the first, a trigger, a retry
  /\ s.flying   \in SUBSET Workers                      \* a resolution is under way
  /\ s.stale    \in SUBSET s.flying                     \* for a life that has ended
  /\ s.ready    \in Queues(Workers)                     \* resolutions that are due, first come first served
  /\ s.timer    \in SUBSET Workers                      \* a retry timer is armed
  /\ s.look     \in SUBSET Workers                      \* a timer for a look at the channel is armed
  /\ s.awaits   \in [Workers -> Conns \cup {None}]      \* the connection whose executor it waits for
  /\ s.sent     \in [Workers -> Seq(Conns)]             \* executors sent and not known to be superseded, oldest first
  /\ s.conn     \in [Conns -> {"empty", "spawning", "live", "retiring", "stopping"}] \* retiring: leases are out
  \* The world.
  /\ s.calls    \in SUBSET Queues(Workers)              \* resolver calls in flight: the workers asked for, in order
  /\ s.flying   = UNION {Range(k) : k \in s.calls}
  /\ s.chan     \in [Workers -> Seq(Conns \cup {None})] \* the channel of the life that the machine takes for on
  /\ s.using    \in [Workers -> Conns \cup {None}]      \* the executor that the worker took last
  /\ s.leases   \in [Conns -> 0..MaxLeases]
  /\ s.failed   \in SUBSET Conns                        \* flag: BrokerFailed was called
  /\ s.unpinned \in SUBSET Conns                        \* flag: the last lease was released
  /\ s.calm     \in BOOLEAN                             \* from now on all goes well ("calm")
  \* What only the rules look at. Nothing else depends on it.
  /\ s.debt     \in SUBSET s.alive                      \* triggered, and no resolution has started since
  /\ s.own      \in SUBSET s.alive                      \* the resolution under way was asked for in the life that is on
  /\ s.answer   \in [Workers -> Conns \cup {None}]      \* the last answer to such a one
  /\ s.asking   \in [Workers -> Nat]                    \* calls in flight that ask for it
  /\ s.exists   \in [Conns -> Nat]                      \* executors, from SpawnExecutor to the return of Stop
  /\ s.stops    \in [Conns -> Nat]                      \* calls of Stop on the executor that exists

First == [
  alive |-> {}, reborn |-> {}, trig |-> [w \in Workers |-> "none"], telling |-> {}, hint |-> {}, dirty |-> FALSE,
  closed |-> FALSE, done |-> FALSE,
  on |-> {}, owed |-> {}, flying |-> {}, stale |-> {}, ready |-> <<>>, timer |-> {}, look |-> {},
  awaits |-> [w \in Workers |-> None], sent |-> [w \in Workers |-> <<>>], conn |-> [c \in Conns |-> "empty"],
  calls |-> {}, chan |-> [w \in Workers |-> <<>>], using |-> [w \in Workers |-> None],
  leases |-> [c \in Conns |-> 0], failed |-> {}, unpinned |-> {}, calm |-> FALSE,
  debt |-> {}, own |-> {}, answer |-> [w \in Workers |-> None], asking |-> [w \in Workers |-> 0],
  exists |-> [c \in Conns |-> 0], stops |-> [c \in Conns |-> 0]]
Init == s = First

\* The life that is on is the one that the machine takes for on.
Known(x, w) == w \in (x.alive \cap x.on) \ x.reborn
\* The truth: what the worker holds. A life that the machine has not seen was sent nothing.
Held(x, w) == IF Known(x, w) THEN Range(x.chan[w]) \cup ({x.using[w]} \ {None}) ELSE {}
\* What the machine knows of an executor.
Holders(x, c) == {w \in x.on : c \in Range(x.sent[w])}
Waiters(x, c) == {w \in Workers : x.awaits[w] = c}
Full(x, w) == Len(x.chan[w]) >= Room

-----------------------------------------------------------------------------
(* Callers: mapper/notify.go, slot.go, executor.go. They never wait. *)

\* A hint goes into the ring, or finds it full. How full it is does not show: it may be, once there is a hint.
Push(x, w) ==
  {[x EXCEPT !.hint = @ \cup {w}]} \cup
  (IF "overflow" \in May /\ x.hint # {} THEN {[x EXCEPT !.dirty = "OverflowForgets" \notin Mut]} ELSE {})

\* Without "ring" the mapper finds what is worth a look by itself; see Worth.
Hint(x, w) ==
  IF "ring" \notin May THEN {x}
  ELSE IF "pause" \in May THEN {[x EXCEPT !.telling = @ \cup {w}]}
  ELSE Push([x EXCEPT !.trig[w] = IF @ = "set" THEN "told" ELSE @], w)

WorkerSpawned(w) ==
  /\ w \notin s.alive /\ ~s.calm
  /\ ~s.closed \/ "LifeAfterClose" \in Mut
  /\ s' \in Hint([s EXCEPT !.alive = @ \cup {w},
                           !.reborn = IF w \in s.on /\ "EpochLost" \notin Mut THEN @ \cup {w} ELSE @], w)

\* What is left in the channel of a life that is over is nobody's; only how much it is shows.
WorkerStopped(w) ==
  /\ w \in s.alive
  /\ s.closed \/ ("stop" \in May /\ ~s.calm)
  /\ s' \in Hint([s EXCEPT !.alive = @ \ {w}, !.reborn = @ \ {w}, !.trig[w] = "none",
                           !.chan[w] = [i \in DOMAIN @ |-> None], !.using[w] = None,
                           !.debt = @ \ {w}, !.own = @ \ {w}, !.answer[w] = None], w)

\* Where the trigger is set already, a repeated one changes nothing (and owes nothing new, or L2 will tell).
TriggerReassign(w) ==
  /\ "trigger" \in May /\ w \in s.alive
  /\ ~s.calm \/ w \in Noisy
  /\ LET x == [s EXCEPT !.debt = @ \cup {w}] IN
     IF s.trig[w] = "none" THEN s' \in Hint([x EXCEPT !.trig[w] = "set"], w)
                           ELSE w \notin s.debt /\ s' = x

\* A caller that paused leaves its hint, and says so in the slot.
Tell(w) ==
  /\ w \in s.telling
  /\ s' \in Push([s EXCEPT !.telling = @ \ {w}, !.trig[w] = IF @ = "set" THEN "told" ELSE @], w)

BrokerFailed(c) ==
  /\ "report" \in May /\ ~s.calm
  /\ s.conn[c] \in {"live", "retiring"} /\ c \notin s.failed
  /\ s' = [s EXCEPT !.failed = @ \cup {c}, !.debt = @ \cup {w \in s.alive : c \in Held(s, w)}]

AcquireLease(w) ==
  /\ ~s.calm
  /\ Held(s, w) # {}
  /\ LET c == IF s.chan[w] # <<>> THEN Last(s.chan[w]) ELSE s.using[w] IN
     /\ s.leases[c] < MaxLeases
     /\ s' = [s EXCEPT !.leases[c] = @ + 1]

ReleaseLease(c) ==
  /\ s.leases[c] > 0
  /\ s' = [s EXCEPT !.leases[c] = @ - 1,
                    !.unpinned = IF s.leases[c] = 1 /\ s.conn[c] = "retiring" /\ "UnpinnedLost" \notin Mut
                                 THEN @ \cup {c} ELSE @]

\* The worker takes an executor from its channel.
Read(w) ==
  /\ Known(s, w) /\ s.chan[w] # <<>>
  /\ s' = [s EXCEPT !.chan[w] = Tail(@), !.using[w] = Head(s.chan[w])]

StopRequested == "close" \in May /\ ~s.closed /\ s' = [s EXCEPT !.closed = TRUE]
CalmsDown     == "calm" \in May /\ ~s.calm /\ s' = [s EXCEPT !.calm = TRUE]

-----------------------------------------------------------------------------
(* The machine: internal/assign. Each function is a method of Machine. *)

\* A resolution of w is to start. It is one, however often it is asked for.
Owe(x, w) == IF w \in x.on \/ "TriggerRevives" \in Mut THEN [x EXCEPT !.owed = @ \cup {w}] ELSE x
\* The outcome of an answer was bad; a resolution under way is the retry.
LateFailure(x, w) == IF w \in x.flying THEN x ELSE Owe(x, w)

\* release: of all that was sent, the unread and the one before are held. An executor that is let go while its failure
\* is on its way would not be found any more to be held by w.
LetGo(x, w) ==
  LET q == x.sent[w]
      n == Len(q) - (Len(x.chan[w]) + 1)
      d == IF "StopsUnread" \in Mut THEN Len(q) - 1 ELSE n
      gone == {q[i] : i \in {j \in 1..d : q[j + 1] # q[j]}}
      y == [x EXCEPT !.sent[w] = SubSeq(q, d + 1, Len(q))]
  IN IF q = <<>> \/ d <= 0 THEN x
     ELSE IF gone \cap x.failed # {} /\ "FailedForgotten" \notin Mut THEN Owe(y, w) ELSE y

\* watch: a read tells nobody, so while w holds more than one executor its channel is looked at.
Watch(x, w) ==
  [x EXCEPT !.look = CASE Cardinality(Range(x.sent[w])) > 1 /\ "NoLook" \notin Mut -> @ \cup {w}
                       [] "LookForever" \in Mut -> @
                       [] OTHER -> @ \ {w}]

\* send, and its performance in the shell: a life that is over is sent nothing.
Send(x, w, c) ==
  LET y == LetGo(x, w)
      z == IF Full(x, w) THEN LateFailure(y, w)
           ELSE [y EXCEPT !.sent[w] = Append(@, c),
                          !.conn[c] = IF "NoResume" \in Mut THEN @ ELSE "live",
                          !.chan[w] = IF Known(x, w) \/ "SendsToTheDead" \in Mut THEN Append(@, c) ELSE @]
  IN Watch(z, w)

\* assign: w gets the executor of c, or waits for it.
Assign(x, w, c) ==
  CASE "StaysPut" \in Mut /\ x.sent[w] # <<>> -> x
    [] x.conn[c] \in {"live", "retiring"} -> Send(x, w, c)
    [] x.conn[c] = "empty" /\ Full(x, w) /\ "SpawnsForFull" \notin Mut -> Owe(x, w)
    [] x.conn[c] = "empty" \/ (x.conn[c] = "stopping" /\ "SpawnsWhileStopping" \in Mut)
       -> [x EXCEPT !.conn[c] = "spawning", !.exists[c] = @ + 1, !.stops[c] = 0, !.awaits[w] = c]
    [] OTHER -> [x EXCEPT !.awaits[w] = c]

\* retireIdle, with what the shell does at once: an executor that nobody holds is closed for leases and stopped, or, if
\* leases are out, retires.
Retire(x) ==
  LET idle == {c \in Conns : x.conn[c] = "live" /\ Holders(x, c) = {}}
      stop == {c \in idle : x.leases[c] = 0 \/ "LeaseIgnored" \in Mut}
  IN IF idle = {} THEN x ELSE
     [x EXCEPT !.conn = Put(Put(@, idle, "retiring"), stop, "stopping"),
               !.stops = [c \in Conns |-> IF c \in stop THEN @[c] + 1 ELSE @[c]],
               !.failed = @ \ stop, !.unpinned = @ \ stop]

\* Which of those in S are due now, and in which order. MapperTrace puts what was seen in its place.
Dues(S) == Queues(S)

\* schedule: every worker that is owed a resolution and not flying is due now, or at a later time that a timer waits for.
\* Time is not in the model: any is possible, but for those in atonce, who are due now.
Scheduled(x, atonce) ==
  LET new == {w \in x.owed \ (x.flying \cup x.timer) : w \notin Range(x.ready) \/ "QueuesTwice" \in Mut}
  IN {[x EXCEPT !.ready = IF "LastComeFirst" \in Mut THEN due \o @ ELSE @ \o due,
                !.timer = @ \cup (new \ Range(due))] :
      due \in {q \in Dues(new) : (atonce \cap new) \subseteq Range(q) \/ "NewLifeWaits" \in Mut}}

\* The end of each step: all states that it may lead to.
After(x, atonce) == {Retire(y) : y \in Scheduled(x, atonce)}

Stopped(x, w) ==
  [x EXCEPT !.on = @ \ {w}, !.owed = @ \ {w}, !.look = @ \ {w}, !.awaits[w] = None, !.sent[w] = <<>>, !.chan[w] = <<>>,
            !.timer = IF "TimerOfTheDead" \in Mut THEN @ ELSE @ \ {w},
            !.flying = IF "ForgetsFlying" \in Mut THEN @ \ {w} ELSE @,
            !.stale = IF w \in x.flying /\ "ForgetsFlying" \notin Mut THEN @ \cup {w} ELSE @]

\* lookAt: the mapper compares a slot with what the machine knows, and steps it through the difference.
Worth(w) ==
  IF "ring" \in May THEN w \in s.hint
  ELSE IF w \in s.alive THEN ~Known(s, w) \/ s.trig[w] = "set" ELSE w \in s.on

Look(w) ==
  /\ Worth(w) /\ ~s.done
  /\ LET x0 == [s EXCEPT !.hint = @ \ {w}, !.reborn = @ \ {w}, !.trig[w] = IF @ = "set" THEN "told" ELSE @]
         x1 == IF w \in s.on /\ ~Known(s, w) THEN Stopped(x0, w) ELSE x0
         begins == w \in s.alive /\ w \notin x1.on
         x2 == IF begins THEN [x1 EXCEPT !.on = @ \cup {w}, !.owed = @ \cup {w}] ELSE x1
         lost == "FlyingIsEnough" \in Mut /\ w \in s.flying
         x3 == IF (x2.trig[w] # "none" /\ ~lost) \/ "TriggerRevives" \in Mut THEN Owe(x2, w) ELSE x2
     IN s' \in After(x3, IF begins THEN {w} ELSE {})

\* takeHints after an overflow: every slot gets a look.
Scan ==
  /\ s.dirty /\ ~s.done
  /\ s' = [s EXCEPT !.dirty = FALSE, !.hint = @ \cup s.on \cup (IF "ScanMissesNew" \in Mut THEN {} ELSE s.alive)]

\* takeFlags: failures are triggers for all holders; executors without leases, that nobody has come to hold since, stop.
TakeFlags ==
  /\ s.failed \cup s.unpinned # {}
  /\ LET all(c) == IF "OnlyNewest" \in Mut THEN {w \in Holders(s, c) : Last(s.sent[w]) = c} ELSE Holders(s, c)
         stop == {c \in s.unpinned : s.conn[c] = "retiring" /\ s.leases[c] = 0}
     IN s' \in After([s EXCEPT !.failed = {}, !.unpinned = {},
                               !.owed = @ \cup UNION {all(c) : c \in s.failed},
                               !.conn = Put(@, stop, "stopping"),
                               !.stops = [c \in Conns |-> IF c \in stop THEN @[c] + 1 ELSE @[c]]], {})

\* answered, refused: one worker's resolution has come to a, or to nothing. That of a life that has ended is void; a new
\* life of that worker has waited for it.
Landed(x, w, a) ==
  LET y == [x EXCEPT !.flying = @ \ {w}, !.stale = @ \ {w}, !.own = @ \ {w}, !.asking[w] = @ - 1,
                     !.answer[w] = IF w \in x.own /\ a # None THEN a ELSE @,
                     !.trig[w] = IF "ClearsLate" \in Mut THEN "none" ELSE @]
      drop(z) == IF "DropsOnFailure" \in Mut /\ z.sent[w] # <<>> THEN [z EXCEPT !.sent[w] = Tail(@)] ELSE z
      leave(z) == IF "OldAnswerStays" \in Mut THEN z ELSE [z EXCEPT !.awaits[w] = None]
  IN CASE w \in x.stale /\ "StaleCounts" \notin Mut -> After(y, {w})
       [] a # None -> After(Assign(leave(y), w, a), {})
       [] OTHER -> After(IF "NoRetry" \in Mut THEN y ELSE Owe(drop(y), w), {})

RECURSIVE AllLanded(_, _, _)
AllLanded(X, k, a) ==
  IF k = <<>> THEN X ELSE AllLanded(UNION {Landed(x, Head(k), a[Head(k)]) : x \in X}, Tail(k), a)

\* A call of the resolver returns with an answer for each worker; None is an error.
CallReturnsWith(k, a) == s' \in AllLanded({[s EXCEPT !.calls = @ \ {k}]}, k, a)
CallReturns ==
  \E k \in s.calls : \E a \in [Range(k) -> IF "refuse" \in May /\ ~s.calm THEN Conns \cup {None} ELSE Conns] :
    CallReturnsWith(k, a)

\* executorUp, with a failure that was reported before SpawnExecutor returned (suspect).
RECURSIVE Deliver(_, _, _, _)
Deliver(x, W, c, suspect) ==
  IF W = {} THEN x ELSE
  LET w == CHOOSE v \in W : TRUE \* any: they have nothing to do with each other
      y == Send([x EXCEPT !.awaits[w] = None], w, c)
      z == IF Known(x, w) THEN [y EXCEPT !.debt = @ \cup {w}] ELSE y
  IN Deliver(IF ~suspect \/ Full(x, w) THEN y ELSE IF "EarlyLost" \in Mut THEN z ELSE Owe(z, w), W \ {w}, c, suspect)

SpawnReturns(c, suspect) ==
  /\ s.conn[c] = "spawning"
  /\ suspect => "report" \in May /\ ~s.calm
  /\ LET x == Deliver([s EXCEPT !.conn[c] = "live"], Waiters(s, c), c, suspect) IN
     s' \in IF "DropsUndelivered" \in Mut /\ Holders(x, c) = {}
            THEN After([x EXCEPT !.conn[c] = "empty"], {}) ELSE After(x, {})

\* failWaiters
LetDown(x, W) ==
  IF "WaitersForgotten" \in Mut THEN x
  ELSE [x EXCEPT !.awaits = Put(@, W, None), !.owed = @ \cup (W \ x.flying)]

SpawnNil(c) ==
  /\ "nil" \in May /\ ~s.calm /\ s.conn[c] = "spawning"
  /\ s' \in After([LetDown(s, Waiters(s, c)) EXCEPT !.conn[c] = "empty", !.exists[c] = @ - 1], {})

\* An executor of another connection, or one that cannot be told from others.
SpawnUnfit(c) ==
  /\ "unfit" \in May /\ ~s.calm /\ s.conn[c] = "spawning"
  /\ s' \in After([LetDown(s, Waiters(s, c)) EXCEPT !.conn[c] = "stopping", !.stops[c] = @ + 1], {})

\* executorDown: those who wait want another one, unless their channels have filled since.
StopReturns(c) ==
  /\ s.conn[c] = "stopping"
  /\ LET full == {w \in Waiters(s, c) : Full(s, w)}
         more == Waiters(s, c) # full /\ "NoRespawn" \notin Mut
     IN s' \in After([LetDown(s, full) EXCEPT !.conn[c] = IF more THEN "spawning" ELSE "empty",
                                              !.exists[c] = IF more THEN @ ELSE @ - 1, !.stops[c] = 0], {})

\* The second half of tick: start resolutions as far as calls are free. An entry of a life that has ended is passed over.
Start(x) ==
  LET busy == Cardinality(x.calls) +
              (IF "SpawnsCount" \in Mut THEN Cardinality({c \in Conns : x.conn[c] \in {"spawning", "stopping"}}) ELSE 0)
      able(w) == w \in x.owed \ x.flying
      taken(n) == SelectSeq(SubSeq(x.ready, 1, n), able)
      len == Len(x.ready)
      n == CASE "NoBound" \in Mut -> len
             [] busy >= MaxCalls -> 0
             [] Batch \/ Len(taken(len)) < MaxCalls - busy -> len
             [] OTHER -> CHOOSE i \in 1..len : Len(taken(i)) = MaxCalls - busy /\ able(x.ready[i])
      start == Range(taken(n))
      mine == {w \in start : Known(x, w)}
  IN [x EXCEPT !.ready = SubSeq(@, n + 1, len),
               !.calls = @ \cup (IF start = {} THEN {} ELSE IF Batch THEN {taken(n)} ELSE {<<w>> : w \in start}),
               !.owed = @ \ start, !.flying = @ \cup start,
               !.trig = IF "ClearsLate" \in Mut THEN @ ELSE Put(@, start, "none"), \* answer
               !.debt = @ \ mine, !.own = @ \cup mine,
               !.asking = [w \in Workers |-> IF w \in start THEN @[w] + 1 ELSE @[w]]]

Starts == s.ready # <<>> /\ Start(s) # s

RECURSIVE LookAll(_, _)
LookAll(x, W) == IF W = {} THEN x ELSE LET w == CHOOSE v \in W : TRUE IN LookAll(Watch(LetGo(x, w), w), W \ {w})

\* tick: the timers whose time has come fire, and what is due starts.
TickWith(fired, looked) ==
  /\ ~s.done
  /\ fired # {} \/ looked # {} \/ Starts
  /\ s' \in {Retire(Start(y)) : y \in Scheduled(LookAll([s EXCEPT !.timer = @ \ fired], looked), fired)}
Tick == \E fired \in SUBSET s.timer, looked \in SUBSET s.look : TickWith(fired, looked)

\* run: the gate is closed and empty, so one more pass has seen all there will ever be, and nothing is left.
CanFinish ==
  /\ s.closed /\ s.alive = {} /\ s.telling = {} /\ s.hint = {} /\ ~s.dirty /\ s.on = {}
  /\ s.calls = {} /\ s.ready = <<>>
  /\ (\A c \in Conns : s.conn[c] = "empty") \/ "LeavesEarly" \in Mut
Finish == CanFinish /\ ~s.done /\ s' = [s EXCEPT !.done = TRUE]

\* Nothing is left to do, until somebody wants something.
AtRest ==
  /\ s.telling = {} /\ s.hint = {} /\ ~s.dirty /\ s.failed = {} /\ s.unpinned = {}
  /\ s.calls = {} /\ s.ready = <<>> /\ s.timer = {} /\ s.look = {}
  /\ \A c \in Conns : s.conn[c] \notin {"spawning", "stopping"}
  /\ \A w \in Workers : (Known(s, w) => s.chan[w] = <<>>) /\ ~Worth(w)

Rest == AtRest /\ s' = s

-----------------------------------------------------------------------------
Next ==
  \/ \E w \in Workers :
       WorkerSpawned(w) \/ WorkerStopped(w) \/ TriggerReassign(w) \/ Tell(w) \/ AcquireLease(w) \/ Read(w) \/ Look(w)
  \/ \E c \in Conns :
       \/ BrokerFailed(c) \/ ReleaseLease(c) \/ SpawnNil(c) \/ SpawnUnfit(c) \/ StopReturns(c)
       \/ \E suspect \in BOOLEAN : SpawnReturns(c, suspect)
  \/ CallReturns \/ Tick \/ TakeFlags \/ Scan \/ StopRequested \/ CalmsDown \/ Finish \/ Rest

Spec == Init /\ [][Next]_s

\* What the liveness rules may rely on: again and again nothing is left undone of what somebody must do - callers get to
\* the end of their calls, workers drain their channels and, after Stop, stop; leases are released; calls return, unless
\* they hang; the mapper looks, takes flags, fires timers and starts what it can. Each line is the weak fairness of an
\* action, said by what is true after it, which is cheaper to check.
Fairness ==
  /\ \A w \in Workers :
       /\ []<>(w \notin s.telling)                                  \* Tell
       /\ []<>(~Known(s, w) \/ s.chan[w] = <<>>)                    \* Read
       /\ []<>(~s.closed \/ w \notin s.alive)                       \* WorkerStopped
       /\ []<>(~Worth(w))                                           \* Look
       /\ []<>(w \notin s.timer)                                    \* TickWith({w}, {})
       /\ []<>(w \notin s.look \/ Len(s.sent[w]) <= Len(s.chan[w]) + 1) \* TickWith({}, {w})
       /\ w \notin Hang => []<>(w \notin s.flying)                  \* CallReturns
  /\ \A c \in Conns :
       /\ []<>(s.leases[c] = 0)                                     \* ReleaseLease
       /\ c \notin Hang => []<>(s.conn[c] # "spawning") /\ []<>(s.conn[c] # "stopping") \* SpawnReturns, StopReturns
  /\ []<>(~Starts)                                                 \* TickWith({}, {})
  /\ []<>(s.failed \cup s.unpinned = {}) /\ []<>(~s.dirty)          \* TakeFlags, Scan
  /\ []<>(s.done \/ ~CanFinish)                                     \* Finish
\* An invariant: nothing is relied on that cannot happen.
FairnessIsFair ==
  /\ \A w \in Workers :
       /\ w \in s.telling => ENABLED Tell(w)
       /\ Known(s, w) /\ s.chan[w] # <<>> => ENABLED Read(w)
       /\ s.closed /\ w \in s.alive => ENABLED WorkerStopped(w)
       /\ Worth(w) => ENABLED Look(w)
       /\ w \in s.timer => ENABLED TickWith({w}, {})
       /\ w \in s.look => ENABLED TickWith({}, {w})
  /\ \A c \in Conns :
       /\ s.leases[c] > 0 => ENABLED ReleaseLease(c)
       /\ s.conn[c] = "spawning" => ENABLED SpawnReturns(c, FALSE)
       /\ s.conn[c] = "stopping" => ENABLED StopReturns(c)
  /\ s.flying # {} => ENABLED CallReturns \* for each k: TypeOK has those that fly in a call
  /\ Starts => ENABLED TickWith({}, {})
  /\ s.failed \cup s.unpinned # {} => ENABLED TakeFlags
  /\ s.dirty => ENABLED Scan
  /\ ~s.done /\ CanFinish => ENABLED Finish
FairSpec == Spec /\ Fairness
-----------------------------------------------------------------------------
(* The rules: invariants and action properties, which hold at every moment. *)

S1_NoUseAfterStop ==
  /\ \A w \in s.alive : \A c \in Held(s, w) : s.conn[c] = "live"
  /\ \A c \in Conns : s.leases[c] > 0 => s.conn[c] \in {"live", "retiring"}

S2_OneExecutorPerConn == \A c \in Conns : s.exists[c] <= 1

S3_StoppedExactlyOnce ==
  [][\A c \in Conns : /\ s'.stops[c] <= 1
                      /\ s'.exists[c] < s.exists[c] => s.stops[c] = 1 \/ s.conn[c] = "spawning"
                      /\ s'.conn[c] = "empty" => s'.exists[c] = 0]_s
S3_NoSpawnForFull ==
  [][\A c \in Conns : s.conn[c] # "spawning" /\ s'.conn[c] = "spawning" => \E w \in Waiters(s', c) : ~Full(s', w)]_s

\* What is sent is what was answered last: asked for, and answered, in the life that is on.
S4_OnlyResolved ==
  [][\A w \in Workers : Len(s'.chan[w]) > Len(s.chan[w]) => s'.chan[w] = Append(s.chan[w], s'.answer[w])]_s

S5_NoResurrection ==
  \A w \in Workers \ s.on : w \notin s.owed \cup s.timer \cup s.look /\ s.awaits[w] = None /\ s.sent[w] = <<>>
S5_NothingSentToTheDead == [][\A w \in Workers : Len(s'.chan[w]) > Len(s.chan[w]) => Known(s', w)]_s

\* What a worker holds the machine takes it to hold, whatever fails; and a resolution that comes to an end, or the wait
\* that followed it, has given the worker an executor, or changed nothing and left a retry behind.
S6_HoldsAreKept ==
  \A w \in Workers : Known(s, w) =>
    LET q == (IF s.using[w] = None THEN <<>> ELSE <<s.using[w]>>) \o s.chan[w]
        n == Len(s.sent[w])
    IN Len(q) <= n /\ q = SubSeq(s.sent[w], n - Len(q) + 1, n)
S6_FailureKeeps ==
  [][\A w \in Workers :
      Known(s, w) /\ Known(s', w) /\ (w \in s.own \ s'.own \/ (s.awaits[w] # None /\ s'.awaits[w] = None)) =>
        \/ s'.chan[w] = Append(s.chan[w], s'.answer[w])
        \/ /\ s'.chan[w] = s.chan[w] /\ s'.using[w] = s.using[w]
           /\ s'.awaits[w] # None \/ w \in s'.owed \cup s'.flying]_s

S8_Bounded ==
  \A w \in Workers : /\ Len(s.sent[w]) <= Room + 1 /\ Len(s.chan[w]) <= Room
                     /\ Cardinality({i \in DOMAIN s.ready : s.ready[i] = w}) <= 1

S9_OneAtATime == \A w \in Workers : s.asking[w] <= 1
S9_NewLifeAtOnce == [][\A w \in s.stale \ s'.stale : w \in s'.on => w \in Range(s'.ready)]_s

S10_CallsAreBounded == Cardinality(s.calls) <= MaxCalls

L5_NothingIsLeft ==
  s.done => /\ s.alive = {} /\ s.on = {} /\ s.calls = {} /\ s.flying = {} /\ s.timer = {} /\ s.look = {}
            /\ \A c \in Conns : s.exists[c] = 0 /\ s.leases[c] = 0
L5_NoLifeBegins == [][s.closed => s'.alive \subseteq s.alive]_s

L6_TimersHaveCause ==
  /\ s.timer \subseteq (s.on \cap s.owed) \ s.flying
  /\ \A w \in s.look : w \in s.on /\ Cardinality(Range(s.sent[w])) > 1

-----------------------------------------------------------------------------
(* The rules of liveness, as far as safety goes: when nothing is left to do, nobody has been forgotten. They miss only *)
(* what goes on for ever, and can be checked in configurations in which the real ones take too long.                   *)

L1_AtRest == AtRest => \A w \in s.alive : s.using[w] # None
L2_AtRest == AtRest => s.debt = {}
L3_AtRest == AtRest => \A w \in s.alive : s.using[w] = s.answer[w]
L4_AtRest == AtRest => \A c \in Conns : s.exists[c] > 0 => s.leases[c] > 0 \/ \E w \in s.alive : c \in Held(s, w)
L5_AtRest == AtRest /\ s.closed /\ s.alive = {} /\ (\A c \in Conns : s.leases[c] = 0) => s.done \/ CanFinish

-----------------------------------------------------------------------------
(* The rules of liveness. *)

Served(w) == w \notin s.alive \/ s.using[w] # None
L1_EveryWorkerServed == \A w \in Workers : (s.calm ~> Served(w))
L2_ReassignHonoured  == \A w \in Workers : (w \in s.debt ~> w \notin s.debt)
L3_LatestWins ==
  \A w \in Workers \ Noisy : <>[](s.calm /\ w \in s.alive => s.chan[w] = <<>> /\ s.using[w] = s.answer[w])
\* A life that the mapper does not yet know to have ended counts: lives that come and go faster than they can be served
\* may keep an executor for as long as they do.
Unused(c) ==
  /\ s.conn[c] \in {"live", "retiring"} /\ s.leases[c] = 0
  /\ \A w \in Workers : c \notin Held(s, w) /\ (c \in Range(s.sent[w]) => Known(s, w))
L4_UnusedIsStopped ==
  \A c \in Conns : (Unused(c) ~> ~Unused(c)) /\ (s.conn[c] = "stopping" ~> s.conn[c] # "stopping")
L5_StopReturns   == s.closed ~> s.done
L6_TimersQuiesce == <>[](s.calm => s.timer = {} /\ s.look = {} /\ s.ready = <<>> /\ s.calls = {})

\* With something in Hang: whoever does not need it is served as ever.
S10_Isolation ==
  \A w \in Workers \ Hang :
    /\ s.calm ~> (Served(w) \/ s.awaits[w] \in Hang)
    /\ w \in s.debt ~> w \notin s.debt

Symmetry == Permutations(Workers) \cup Permutations(Conns)
=============================================================================
