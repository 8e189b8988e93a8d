"""Variables of the environment in the values of the file of -c: `${NAME}` and `${NAME:-TEXT}`.

No message shows a value: it may be a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from disco.errors import Problem
from disco.text import NAME_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


def substitute(text: str, place: str, environ: Mapping[str, str], problems: list[Problem]) -> str:
    """Return text with each reference replaced by its variable's value, in which nothing is replaced again.

    `${NAME:-TEXT}` is TEXT where the variable is not set, or empty. `$${` is `${`, and any other `$` is itself.
    place: of the text. problems: gets what is wrong with a reference.
    """

    def replace(reference: re.Match[str]) -> str:
        name, default = reference.groups()
        if reference[0] == "$${":
            return "${"
        if name is None:
            problems.append(Problem(place, "'${' begins no ${NAME} or ${NAME:-TEXT}", "correct it, or write $${ for the text ${"))
            return ""
        value = environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            shown = escape(name, NAME_LIMIT)
            problems.append(Problem(place, f"variable {shown} is not set", f"set it, or give a default: ${{{shown}:-TEXT}}"))
        return value or ""

    return _REFERENCE.sub(replace, text)
