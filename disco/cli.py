"""The command: what has to be done before anything is imported that takes time. `start` does all the rest."""

from __future__ import annotations

import os
import sys

# First of all: the application's PYTHONPATH is not for disco's own imports, nor is the folder of the command, which Python
# puts first. `os` and `sys` are the interpreter's by now.
if os.environ.get("PYTHONPATH"):
    _FOREIGN = {os.path.realpath(entry) for entry in os.environ["PYTHONPATH"].split(os.pathsep)}
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) not in _FOREIGN]
if os.path.basename(sys.argv[0]) == "disco" and not sys.flags.safe_path:  # noqa: PTH119 -- before pathlib is imported
    _BESIDE = os.path.dirname(os.path.realpath(sys.argv[0]))  # noqa: PTH120 -- as above
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != _BESIDE]

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there are handlers: no KeyboardInterrupt's traceback

import gc
from typing import NoReturn

from disco import last_words
from disco.errors import DiscoError, ExitStatus, explain_failure
from disco.system.frames import run_with_room
from disco.system.signals import Signals


def main() -> NoReturn:
    """Run disco; never returns.

    It ends by `os._exit` alone: after anything else the interpreter may open a prompt (PYTHONINSPECT).
    """
    run_with_room(_run)


def _run() -> NoReturn:
    gc.disable()  # what is imported and loaded now stays: nothing to collect before the loop
    _occupy_standard_descriptors()
    signals = Signals(last_words.leave_at_start)
    call = None
    try:
        from disco import arguments, start  # noqa: PLC0415 -- takes its time: signals have to be handled by now

        call = arguments.parse(sys.argv[1:])
        start.run(call, signals)
    except DiscoError as error:
        last_words.leave(error.status, *map(str, error.problems))
    except Exception as error:  # noqa: BLE001 -- the outermost boundary: a bug in disco, or no room
        trace = ""
        if call and call.level == "DEBUG":
            import traceback  # noqa: PLC0415 -- for bugs only

            trace = "".join(traceback.format_tb(error.__traceback__))  # without the exception's text, which may hold a secret
        last_words.leave(ExitStatus.SYSTEM, explain_failure(error), trace=trace)


def _occupy_standard_descriptors() -> None:
    """Keep 0 to 2 from being given to something else, where disco found them closed; exec closes them again."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
