"""disco: configure a container from service discovery, then become its command.

This text is the home of disco's architecture.

Processes
=========

    disco (often pid 1; becomes COMMAND): hands signals on to the coordinator, and waits
      └── coordinator
            ├── sources: one for each namespace, or for each blocking query of one (consul, consul/web, etcd, flat)
            ├── checker: from the first time that two sources say different things of one interface, or that one source says
            │   what only jsonschema can judge
            └── runner-1, runner-2, …: one handler each at a time, at most disco.workers of them

The coordinator is one loop without threads. It waits for facts (a message, a signal, a child's end, a deadline) in one
place, hands each to the lifecycle as an event, and does what the lifecycle answers. It calls no client library, and
once children run it does nothing whose duration depends on data or on a backend: data is bytes with a digest to it,
and a handler's input is such bytes put together. Whatever a source does (hang, crash, flood, lie) costs that source
only.

A child is forked, never exec'd. It leads a process group, holds one end of its channel and the write end of its log
pipe (its stdout and stderr) and no other descriptor of ours, and has /dev/null as stdin. The coordinator dies with the
first process by the kernel's hand, sources and checker die with the coordinator. A runner does not, because it has its
handler to kill first: it sees the end of file.

disco and its children are not dumpable: a process of the same user (a handler, a source's library) reads neither their
environment nor their memory. Exec ends that. Sources and checker gain no rights by setuid programs, and leave no core file.

Orphans
=======

The coordinator and each of its children adopt the orphans below them (PR_SET_CHILD_SUBREAPER). What a handler or a client
library leaves behind stays below its runner or source, whatever it does to its session, name and environment. When that
child dies the coordinator inherits it all. Only what disco started can get there: orphans of a `docker exec`, or of a
daemon that is older than disco, go to the first process, which leaves them alone. So one rule is enough: whatever becomes
the coordinator's child, and was not forked by it, is killed at once (`leftovers`); and a child's end is told together with
what is still there of its orphans. A process without children has nothing below it: that is the proof on which a runner
ends that was told to, on which a rule is run again whose runner died, and on which disco executes COMMAND. It needs no
/proc.

One race is left: if coordinator and runner are killed by somebody else at the same moment, what the handler left behind
goes to whoever adopts disco's orphans. Where disco is pid 1 it then ends, and the kernel ends everything with it.

The life of a change
====================

1. A source's generator (`sources`) yields everything it knows. The watcher around it drops what no schema names, or what
   the source's `interfaces` leaves out, compares with the last time, decodes text by the schema, fills in defaults, validates,
   and sends a `Diff` of the interfaces that changed, each whole and with its verdict: as the source has it, and besides with
   its defaults where it is valid and they make a difference.
2. `composition` composes. Where one source contributes, or several say the same, its verdict counts, and handlers get what has
   the defaults. Where sources differ the checker merges what has none, fills in and validates (`Merge`, `Merged`). It does so
   too with what a source gave no verdict on. A source can tell that data of a *plain* schema is valid, or merely incomplete
   (`data.plain`); for all else jsonschema is needed, which takes 7 MB and a tenth of a second: one process imports it, in which
   sources take turns. A schema that is not plain is loaded with jsonschema, and its data is judged by the source all the same.
   News that everything which a source had is gone at once is held, with all that follows (`contribution`), for it looks the
   same when a server restarts. What several sources name in their `interfaces` is withheld until each has answered.
3. `adoption` lets rules see it, in cuts. What changed and is named by one rule is adopted together: when all of it has been
   quiet for disco.settle, and judged. So a rule sees its interfaces as of one moment, and no half of a transaction. Where
   data changes faster than it is judged, an older moment that is wholly known is adopted, and exec waits for the newest.
4. `schedule` finds the rules whose *basis* (the digests of their interfaces) is not the one that they last succeeded
   on, and sends `Run` to an idle runner, which answers `Started` and, when the handler has exited, `RunFinished`. The runner is
   the first who may look into data: what is not one JSON object for each interface costs its source. A run's start
   un-satisfies its rule. A handler that exits with 65 refuses its data: on any other basis the rule runs at once, on the same
   after a pause, and meanwhile nothing is frozen. A rule that runs again and again on nothing but other data gets a *freeze*:
   nothing is adopted until every rule has succeeded, or one has failed.
5. When every rule has succeeded on the basis of now, and every required source has answered, the *goal* is reached
   (`goals`; that of a dry run is another one). disco stops all that it started (`ending`), and `start` execs COMMAND.

What people are to know of all that is a *fact* (`facts`), of which `people.wording` makes a sentence. What they may ask about is
in the *status* (`status`), a frozen snapshot from which reports, the dry run and the last words are made.

What has happened comes before what is due: before data is adopted, before exec and before a timer is acted on, each
channel is read once, up to what lies in it at that moment (`ReadAll`, `AllRead`).

Satisfaction is computed from digests each time and stored nowhere: new data un-satisfies a rule by itself, a late
success on old data counts for nothing, and a restarted source that says the same as before changes nothing. What has
to outlive a child (last good data, failures of handlers, delays of restarts, an emptiness that is held,
how often a rule ran again) is in the coordinator.

Messages
========

Frames (`frames`) of a JSON header and raw bodies: known fields of known types within a size limit, never a pickle. A
header is small, since the coordinator parses it; a Diff that needs more is sent in parts, and joined before anybody sees
it. A digest is compared with its body. A child that sends anything else is killed and replaced; one that says too much at
once waits until it is read.

    Diff        source →     what changed, atomically; the first replaces all that an earlier process of the source said
    ReadFailed  source →     could not read; it tries again by itself, at a time that it names
    Heartbeat   source →     still there; `answered`: the backend too, with nothing new
    Merge       → checker    merge these bodies, or take the one, and validate that
    Merged      checker →    the verdict, and the merged data
    Run         → runner     run this handler with this input; one at a time
    Started     runner →     the handler's pid: its time runs from now on
    RunFinished runner →     how it ended, its last lines, what it exports, and whether it left something behind

Phases
======

GATHERING → STOPPING → SWEEPING → OVER, never back (`ending`). STOPPING: sources, checker and idle runners are
killed; runners with something below them get SIGTERM, hand it on to all of that, and end last. After disco.grace they get
SIGKILL. SWEEPING: all children are reaped, and orphans of theirs that got SIGKILL are still there. What is there 10 s
after disco.grace has passed is named, and makes exit status 71. OVER: nothing is below the coordinator; exec, or an exit
status. A signal changes the outcome in any phase, a second one skips the grace.

Leases
======

A child that can hang has a time within which it must be heard of: a source by its options (two requests, one blocking
query, one pause, and a margin), a runner by its handler's timeout (none if that is 0), the checker by the size of its
task. The watcher itself interrupts a step of its source that takes too long; a child that stays silent all the same is
killed with its group, and forked again after a delay. In each turn of the loop what children sent is taken before a
lease may expire, and the child then gets 2 s more under the eyes of a coordinator that is awake: after SIGSTOP,
`docker pause` or heavy load nobody is killed for the coordinator's own sleep.

The memory of a source is watched from outside, since a handler of a signal in Python waits for whatever C code is at work.
The kernel's timer of its CPU time lets the interpreter write a byte into a pipe (`watcher.report_cpu_time`), even from there; the
coordinator then looks at /proc/PID/statm. So an idle source costs nothing. It looks with each message too, should a library
have taken the signal for itself.

Folders
=======

The folders are floors of one house: a module imports from its own folder, and from what comes after that in this list (for the
type checker too), and nowhere is there a cycle. tests/test_architecture.py reads the list and holds the code to it.

    9. __main__, cli, start, arguments, gathering, coordination, last_words
                                    a start, from the first signal to exec or to the exit status
    8. planning, launching, coordinator, entrypoint, processes
                                    the processes: what each is to do; the two loops; what forks, reads, sends, kills, reaps
    7. people, testing              what people read: log, report, --check, --dry-run, --graph, --options; tests for authors
    6. core                         what happens next: small machines, and the lifecycle that routes events to them; pure
    5. site                         what people write: configuration, schemas and rules, loaded once into a frozen `Site`
    4. workers                      what children run: entry, and from there watcher, checker or runner
    3. handlers, sources            the shipped handlers; the contract of a source, its options, and those that disco has
    2. data                         JSON values, documents in YAML, schemas, decoding, defaults, verdicts
    1. system, wire                 the kernel; messages between processes
    0. errors, text, named          how disco can end; texts for people; named tuples

`core` is pure: it imports no os, signal, time, selectors, socket or subprocess; time and randomness are given to it. Sources,
handlers and workers know nothing of the coordinator, the core or the site. Two imports cannot be seen: `sources.registry` loads a
source's module by its type's name, and `handlers` a shipped handler's by its program's. In the coordinator's process only
`coordinator` waits, only `processes.table` forks, sends and kills, and only `last_words` prints (but for the log). A child begins
in `workers.entry`. What people write goes one way: `start` → `site.loading` → `launching` → `planning` → `coordinator`.

What departs from the obvious
=============================

- The channel is a socket pair, not two pipes: one descriptor, both ways, one end of file.
- os.fork and one waitpid loop, not multiprocessing.Process: its sentinel fires only when the last heir of a pipe is
  gone, and there are orphans to reap anyway. psutil only looks (a runner hands SIGTERM on with it): its waiting calls would
  take exit statuses from that loop.
- multiprocessing-logging's handler is subclassed without its queue and its thread: a child killed in the middle of a
  record would keep the queue's lock for ever, and a fork beside a thread is unsafe. A record is a single write to the
  child's own log pipe. It is imported by a child that has something to say, and few have.
- A runner forks and executes a handler itself, not with `subprocess`, which waits for the exec: on a file system that does
  not answer that would take the runner from everything else. Why an exec failed comes through a pipe.
- A shipped handler is not executed: the runner calls its function in the process that it forked (`workers.shipped`), which finds
  everything as after an exec. The start of another Python takes as long as disco's own. Only a name that leads to none of the
  site's own programs does that.
- A handler's stdin is a file in memory (memfd), not a pipe: a handler that reads late, or never, keeps nobody waiting.
- So is the file for the variables that it exports to COMMAND (`workers.exporting`): they may be secrets. The runner validates
  them (`data.exports`). To the coordinator they are bytes until all its children have ended. Then it puts together those of each
  rule's last success, and hands them to the first process in such a file, with the word that COMMAND may be executed.
- Decoding and validating are limited in CPU time, not by the clock: a loaded machine does not make data invalid. A
  step of a source is limited by the clock.
- The coordinator is not the process that becomes COMMAND. A process of its own is the one place to which every orphan of
  disco's comes and nobody else's: there are no marks, names and snapshots to tell them apart by.
- Messages, events and settings are named tuples (of `named`), not dataclasses: Python needs a tenth of the time to make them,
  at each start of a container.
- With thousands of rules and interfaces only those are looked at to which something happened: a queue of what may be due, an
  index of what is not satisfied, the groups that are adopted together. The tests compare all with what is computed from scratch.
- The first process hands signals on as real-time signals, and the coordinator ignores the originals: what a supervisor sends to
  all processes at once would be two signals else, and the second one skips the grace.
- Signal handlers only note a number in a set: in a storm of signals the wakeup descriptor drops bytes.
- stderr is never made non-blocking, since COMMAND and the terminal share its open file description: it is opened anew
  where that works, else a poll precedes each write. The last words are a plain write, which an alarm ends: so the exit
  status comes although nobody reads, whatever stderr is.
- The sources and the first runner are forked before the lifecycle is imported (`launching`), which is given them as they are: a
  backend's client takes long to import, and that hides what the coordinator imports meanwhile. A child forked from less takes
  less memory. The first process imports nothing of either.
- `cli` imports late: as pid 1 disco must handle signals before it does anything that takes time.
"""

__version__ = "0.1.0"
