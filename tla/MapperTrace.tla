---------------------------- MODULE MapperTrace ----------------------------
(***************************************************************************)
(* Validates traces of mappers that ran: each is a behavior of Mapper.tla, *)
(* in which the machine knew after each step what it said it knew. Hooks   *)
(* in package mapper, built with -tags trace, write them; trace_test.go    *)
(* makes module Recorded of some, which says                               *)
(*                                                                         *)
(*   Events  a sequence of all events, each once                           *)
(*   Traces  a sequence of traces: sequences of indexes into Events        *)
(*                                                                         *)
(* An event has a field do, the name of an action, and those of its        *)
(* arguments. After a step of the machine it has besides                   *)
(*                                                                         *)
(*   now     what the machine knows of workers, where that has changed     *)
(*   conn    the states of connections, where they have changed            *)
(*   ready   its queue of those that are due, where it has changed         *)
(*   due     who joined that queue in this step, in order                  *)
(*   room    the channels that it looked at, and their capacities          *)
(*                                                                         *)
(* A trace that is none is a deadlock, and TLC prints how far it went.     *)
(***************************************************************************)
EXTENDS Recorded

VARIABLES
  t, \* the trace
  i  \* its next event

Left == i <= Len(Traces[t])
e == Events[Traces[t][i]]
Field(f, otherwise) == IF f \in DOMAIN e THEN e[f] ELSE otherwise

\* These stand in for operators of Mapper.
SeenDues(S) == {SelectSeq(Field("due", <<>>), LAMBDA w : w \in S)}
SeenFull(x, w) == LET room == Field("room", <<>>) IN Len(x.chan[w]) >= IF w \in DOMAIN room THEN room[w] ELSE Room

NoSymmetry == {} \* TLC would make all permutations of many workers

Nothing == s' = s

\* A worker took what was left in its channel when its life ended.
LateRead(w) ==
  /\ ~Known(s, w) /\ s.chan[w] # <<>>
  /\ s' = [s EXCEPT !.chan[w] = Tail(@)]

\* The machine knows workers by handles. That of one that it has forgotten may go to another, or to nobody, while it
\* stands in the queue; so does the place there.
HandleMoves(of, to) ==
  /\ of \notin s.on \cup s.flying /\ to \notin Range(s.ready)
  /\ s' = [s EXCEPT !.ready = [j \in DOMAIN @ |-> IF @[j] = of THEN to ELSE @[j]]]

Do ==
  CASE e.do = "WorkerSpawned"   -> WorkerSpawned(e.w)
    [] e.do = "WorkerStopped"   -> WorkerStopped(e.w)
    [] e.do = "TriggerReassign" -> IF s.trig[e.w] = "none" \/ e.w \notin s.debt THEN TriggerReassign(e.w) ELSE Nothing
    [] e.do = "BrokerFailed"    -> IF s.conn[e.c] = "stopping" \/ e.c \in s.failed THEN Nothing ELSE BrokerFailed(e.c)
    [] e.do = "AcquireLease"    -> AcquireLease(e.w) /\ s'.leases[e.c] = s.leases[e.c] + 1
    [] e.do = "ReleaseLease"    -> ReleaseLease(e.c)
    [] e.do = "Read"            -> Read(e.w)
    [] e.do = "LateRead"        -> LateRead(e.w)
    [] e.do = "HandleMoves"     -> HandleMoves(e.of, e.to)
    [] e.do = "Look"            -> IF Worth(e.w) THEN Look(e.w) ELSE Nothing \* a hint may come twice
    [] e.do = "TakeFlags"       -> IF s.failed \cup s.unpinned # {} THEN TakeFlags ELSE Nothing
    [] e.do = "CallReturns"     ->
         /\ e.call \in s.calls
         /\ CallReturnsWith(e.call, [w \in Range(e.call) |-> e.answers[CHOOSE j \in DOMAIN e.call : e.call[j] = w]])
    [] e.do = "SpawnReturns"    -> SpawnReturns(e.c, e.suspect)
    [] e.do = "SpawnNil"        -> SpawnNil(e.c)
    [] e.do = "SpawnUnfit"      -> SpawnUnfit(e.c)
    [] e.do = "StopReturns"     -> StopReturns(e.c)
    [] e.do = "Tick"            ->
         LET now == Field("now", <<>>)
         IN e.looked \subseteq s.look /\ TickWith({w \in s.timer \cap DOMAIN now : "timer" \notin now[w].is}, e.looked)
    [] e.do = "StopRequested"   -> StopRequested
    [] e.do = "Finish"          -> Finish
    [] e.do = "Rest"            -> Rest

\* What the machine knows of w.
View(x, w) == [is     |-> {f \in {"on", "owed", "flying", "stale", "timer", "look"} : w \in x[f]},
               awaits |-> x.awaits[w],
               sent   |-> x.sent[w]]

Seen ==
  /\ s'.ready = IF "ready" \in DOMAIN e THEN e.ready ELSE IF e.do = "HandleMoves" THEN s'.ready ELSE s.ready
  /\ s'.conn = Field("conn", <<>>) @@ s.conn
  /\ LET now == Field("now", <<>>) IN \A w \in Workers : View(s', w) = IF w \in DOMAIN now THEN now[w] ELSE View(s, w)

TraceInit == Init /\ t \in DOMAIN Traces /\ i = 1
TraceNext ==
  /\ t' = t
  /\ IF Left THEN Do /\ Seen /\ i' = i + 1 ELSE s' = s /\ i' = i
TraceSpec == TraceInit /\ [][TraceNext]_<<s, t, i>>
=============================================================================
