"""A shipped handler in a process that a runner forked: everything becomes as exec would have left it, without a new Python.

Two things stay. The process is not dumpable, for its memory is still disco's, which holds secrets of the configuration. And what
/proc shows of the process's beginning (program, arguments, environment) is disco's.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from disco import handlers
from disco.system import libc, process, signals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def become(argv: Sequence[str], environment: Mapping[bytes, bytes], last: int) -> NoReturn:
    """Be the shipped handler argv[0]. last: the number of the last descriptor that it keeps.

    Raises:
        OSError, ValueError: the environment is none.

    """
    libc.clear_environment()
    os.environ.clear()
    os.environb.update(environment)
    gc.freeze()  # what the runner no longer uses must not close, as it is collected, what now has its descriptor's number
    process.close_above(last)
    signals.reset(signals.INTERPRETER)  # as Python leaves them
    libc.set_name(argv[0])
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)
    sys.argv[:] = argv
    handlers.run(argv[0], argv[1:])
