------------------------------ MODULE Classic ------------------------------
(***************************************************************************)
(* The mapper that brokermap replaces, as its users knew it since 2017, and*)
(* the rules of Mapper.tla, which it breaks. Each configuration shows one  *)
(* defect from the field:                                                  *)
(*                                                                         *)
(*   1 an executor is stopped while it is unread or in use             S1  *)
(*   2 a failed resolution drops the reference to what is in use       S6  *)
(*   3 the mapper's own retry overwrites a stop, so Stop hangs         L5  *)
(*   4 a stop and a respawn within a batch are one event               L1  *)
(*   5 notifications block: a full buffer, a mapper that has ended     S7  *)
(*   6 the batch timer is armed for ever                               L6  *)
(*   7 an executor that cannot be delivered is never stopped           L4  *)
(*   8 one slow resolution, or Stop, delays everybody                  S10 *)
(*   9 BrokerFailed leads to nothing                                   L2  *)
(*                                                                         *)
(* Events go through a buffered channel to one goroutine, which collects   *)
(* them in a map, one for each worker: the last one counts. When a timer   *)
(* fires they are performed, one after the other, Stop included. A worker  *)
(* has one reference, to the executor that it was assigned last.           *)
(*                                                                         *)
(* The state is that of Mapper.tla, for its rules, and some fields more:   *)
(* on is the mapper's map of workers, timer its batch timer.               *)
(***************************************************************************)
EXTENDS Mapper

CONSTANT Buffer \* events in the channel

ClassicInit == s = First @@ [
  inbox    |-> <<>>,                        \* events: <<kind, worker>>
  blocked  |-> {},                          \* callers that wait for room in it, or for ever
  batch    |-> [w \in Workers |-> "none"],  \* the event that is to be performed
  doing    |-> <<"nothing">>,               \* or <<"resolve", w>>, <<"stop", c>>
  assigned |-> [w \in Workers |-> None],    \* the references
  born     |-> {}]                          \* workers that have lived, where they do so only once ("once")

Notify(x, kind, w) ==
  IF Len(x.inbox) < Buffer /\ ~x.done THEN [x EXCEPT !.inbox = Append(@, <<kind, w>>)]
  ELSE [x EXCEPT !.blocked = @ \cup {<<kind, w>>}]
Free(w) == \A b \in s.blocked : b[2] # w \* its own goroutine is not blocked

SpawnedEvent(w) ==
  /\ w \notin s.alive \cup s.born /\ Free(w) /\ ~s.closed /\ ~s.calm
  /\ s' = Notify([s EXCEPT !.alive = @ \cup {w}, !.born = IF "once" \in May THEN @ \cup {w} ELSE @], "spawned", w)
StoppedEvent(w) ==
  /\ w \in s.alive /\ Free(w)
  /\ s.closed \/ ("stop" \in May /\ ~s.calm)
  /\ s' = Notify([s EXCEPT !.alive = @ \ {w}, !.chan[w] = <<>>, !.using[w] = None,
                           !.debt = @ \ {w}, !.own = @ \ {w}, !.answer[w] = None], "stopped", w)
TriggeredEvent(w) ==
  /\ "trigger" \in May /\ w \in s.alive /\ Free(w) /\ ~s.calm
  /\ w \notin s.debt \* one after the other
  /\ s' = Notify([s EXCEPT !.debt = @ \cup {w}], "triggered", w)
\* Also after the mapper has ended, of a worker that it does not know.
LateStopEvent(w) ==
  /\ "late" \in May /\ s.done /\ Free(w)
  /\ s' = Notify(s, "stopped", w)
BrokerFailedIgnored(c) ==
  /\ "report" \in May /\ ~s.calm /\ s.conn[c] = "live"
  /\ s' = [s EXCEPT !.debt = @ \cup {w \in s.alive : c \in Held(s, w)}]

Enter ==
  /\ s.blocked # {} /\ Len(s.inbox) < Buffer /\ ~s.done
  /\ \E b \in s.blocked : s' = Notify([s EXCEPT !.blocked = @ \ {b}], b[1], b[2])

\* One event for each worker: the last one.
Collect ==
  /\ s.inbox # <<>> /\ ~s.done
  /\ s' = [s EXCEPT !.inbox = Tail(@), !.batch[Head(s.inbox)[2]] = Head(s.inbox)[1], !.timer = Workers]

\* The timer fires again and again, if only to find nothing.
Perform(w) ==
  /\ s.doing = <<"nothing">> /\ s.timer # {} /\ s.batch[w] # "none"
  /\ LET x == [s EXCEPT !.batch[w] = "none"]
         c == s.assigned[w]
         last == c # None /\ \A v \in Workers \ {w} : s.assigned[v] # c
         known == IF s.batch[w] = "spawned" THEN w \notin s.on ELSE w \in s.on
     IN s' = CASE ~known -> x
               [] s.batch[w] = "stopped" ->
                    [x EXCEPT !.on = @ \ {w}, !.assigned[w] = None,
                              !.conn = IF last THEN [@ EXCEPT ![c] = "stopping"] ELSE @,
                              !.doing = IF last THEN <<"stop", c>> ELSE @]
               [] OTHER ->
                    [x EXCEPT !.on = @ \cup {w}, !.doing = <<"resolve", w>>,
                              !.own = @ \cup ({w} \cap s.alive), !.debt = @ \ {w}]

Resolved(w, a) ==
  /\ s.doing = <<"resolve", w>>
  /\ a = None => "refuse" \in May /\ ~s.calm
  /\ LET c == s.assigned[w]
         last == c # None /\ \A v \in Workers \ {w} : s.assigned[v] # c
         x == [s EXCEPT !.doing = <<"nothing">>, !.own = @ \ {w}]
         leave(y) == IF ~last THEN y ELSE [y EXCEPT !.conn[c] = "stopping", !.doing = <<"stop", c>>]
         y == [x EXCEPT !.conn[a] = "live", !.answer[w] = IF w \in s.own THEN a ELSE @]
     IN s' = CASE a = None -> leave([x EXCEPT !.assigned[w] = None, !.batch[w] = "retry"])
               [] a # None /\ Full(s, w) -> y
               [] a = c -> [y EXCEPT !.chan[w] = IF w \in s.alive THEN Append(@, a) ELSE @]
               [] OTHER -> leave([y EXCEPT !.assigned[w] = a, !.chan[w] = IF w \in s.alive THEN Append(@, a) ELSE @])

InlineStopReturns(c) ==
  /\ s.doing = <<"stop", c>>
  /\ s' = [s EXCEPT !.doing = <<"nothing">>, !.conn[c] = "empty"]

Ends ==
  /\ s.closed /\ ~s.done /\ s.on = {} /\ s.alive = {} /\ s.inbox = <<>> /\ s.blocked = {} /\ s.doing = <<"nothing">>
  /\ \A w \in Workers : s.batch[w] = "none"
  /\ s' = [s EXCEPT !.done = TRUE]

ClassicNext ==
  \/ \E w \in Workers :
       \/ SpawnedEvent(w) \/ StoppedEvent(w) \/ TriggeredEvent(w) \/ LateStopEvent(w) \/ Read(w) \/ Perform(w)
       \/ \E a \in Conns \cup {None} : Resolved(w, a)
  \/ \E c \in Conns : BrokerFailedIgnored(c) \/ InlineStopReturns(c)
  \/ Enter \/ Collect \/ StopRequested \/ CalmsDown \/ Ends
  \/ s' = s

ClassicSpec ==
  /\ ClassicInit /\ [][ClassicNext]_s
  /\ WF_s(Enter) /\ WF_s(Collect) /\ WF_s(Ends)
  /\ \A w \in Workers :
       /\ WF_s(Read(w)) /\ WF_s(Perform(w)) /\ WF_s(s.closed /\ StoppedEvent(w))
       /\ w \notin Hang => WF_s(\E c \in Conns : Resolved(w, c))
  /\ \A c \in Conns \ Hang : WF_s(InlineStopReturns(c))

\* A failed resolution changes no assignment.
S6_ReferenceIsKept == [][\A w \in Workers : Resolved(w, None) => s'.assigned = s.assigned]_s
\* No caller waits.
S7_NotifyNeverBlocks == s.blocked = {}
=============================================================================
