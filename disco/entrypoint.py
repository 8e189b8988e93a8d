"""The process that disco was started as, and that becomes COMMAND: it forks the coordinator, hands signals on, and waits.

The coordinator adopts all orphans below it. So an orphan of something that disco started goes to the coordinator, and anybody
else's (of a `docker exec`, of a daemon that is older than disco) comes here, where it is reaped and else left alone.
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING

from disco.errors import SystemFailure
from disco.system import process, reaping, signals
from disco.system.backoff import backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from disco.system.signals import Signals

ATTEMPTS = 6  # to fork
DONE = b"\n"  # ends an answer that is whole


def delegate(work: Callable[[], bytes], received: Signals) -> int | bytes:
    """Do the coordinator's work in a child; return the exit status, or what `work` returned if COMMAND is to be executed now.

    The latter is what it means that `work` returns. What `work` raises is raised in the child.

    Raises:
        SystemFailure: the child could not be forked, or was killed.

    """
    process.hide()
    received.prepare()
    # A file in memory: a pipe would be full before all that is known that exec needs.
    answer = os.memfd_create("answer", os.MFD_CLOEXEC)
    pid = _fork(received)
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.RELAYED.values())
        with open(answer, "wb") as file:  # noqa: PTH123 -- a descriptor
            file.write(work() + DONE)
        os._exit(0)
    status, stops = _wait_for(pid, received)
    with open(answer, "rb") as file:  # noqa: PTH123 -- a descriptor
        file.seek(0)
        content = file.read()
    if status < 0:
        reason = f"the coordinator was killed by {signals.name_of(-status)}"
        raise SystemFailure(f"{reason}: out of memory? (give the container more)" if status == -signal.SIGKILL else reason)
    if status or not content.endswith(DONE):
        return status
    received.give_back(stops)  # the coordinator had decided before they reached it
    return content.removesuffix(DONE)


def _fork(received: Signals) -> int:
    parent, reason = os.getpid(), ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(backoff(attempt - 1, 1.0))
        try:
            with signals.blocked():
                pid = os.fork()
                if pid == 0:
                    process.begin("coordinator", parent)
                    received.obey()
                    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it logs to a terminal as a background process
                return pid
        except OSError as error:
            reason = os.strerror(error.errno or 0)
    remedy = "raise the container's limits (processes, memory)"
    raise SystemFailure(f"the coordinator cannot be started ({ATTEMPTS} attempts): {reason}; {remedy}")


def _wait_for(pid: int, received: Signals) -> tuple[int, list[int]]:
    """Hand signals on until a child exits; return its status (as os.waitstatus_to_exitcode has it) and the stop signals sent."""
    waiting = select.poll()
    waiting.register(received.listen(), select.POLLIN)
    stops: list[int] = []
    while True:
        for number in received.take():
            if number != signal.SIGCHLD:
                signals.kill(pid, signals.RELAYED[number])
                stops += [number] if number in signals.STOP else []
        for ended, status in reaping.reap():
            if ended == pid:
                return status, stops
        waiting.poll()
