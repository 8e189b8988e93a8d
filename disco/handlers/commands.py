"""The shipped handlers as commands: what a shell calls by their names."""

from __future__ import annotations

import sys
from typing import NoReturn

from disco import handlers


def env() -> NoReturn:
    """Be `disco-env`."""
    handlers.run("disco-env", sys.argv[1:])


def render() -> NoReturn:
    """Be `disco-render`."""
    handlers.run("disco-render", sys.argv[1:])


def wait() -> NoReturn:
    """Be `disco-wait`."""
    handlers.run("disco-wait", sys.argv[1:])
