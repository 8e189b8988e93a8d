"""What the README tells can be done, and it tells all options and exit statuses that there are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from disco.config import DISCO_OPTIONS, SOURCE_OPTIONS, Option
from disco.errors import Status
from disco.sources import BUILT_IN, Source, find

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def declared() -> Iterator[tuple[str, Option]]:
    """Yield every option that disco and its own sources declare, by the key that the README uses."""
    yield from ((f"disco.{option.name}", option) for option in DISCO_OPTIONS)
    yield from ((f"<source>.{option.name}", option) for option in SOURCE_OPTIONS)
    for name in BUILT_IN:
        source = find(name)
        if not isinstance(source, Source):
            pytest.skip(f"not installed: {source}")
        yield from ((f"{name}.{option.name}", option) for option in source.options)


def test_the_example_works_word_for_word() -> None:
    """After the steps that the README gives, its command prints what it says."""
    command = re.search(r"^ +\$ (env DISCO_CFG=.*)$", README, re.MULTILINE)
    assert command
    assert command[1] == 'env DISCO_CFG=flat.file=tests/mysql.yaml:disco.path=tests disco echo "doit"'
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command[1]], cwd=ROOT, env={"PATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "doit\n"), done.stderr


def test_the_tables_hold_every_option_and_no_other() -> None:
    """Each option has a row, and the default that it names is the one in the code."""
    rows = re.findall(r"^\| `((?:<source>|disco|flat|consul|etcd)\.[a-z_]+)` \| ([^|]*) \|", README, re.MULTILINE)
    known = dict(declared())
    assert sorted(key for key, _ in rows) == sorted(known)
    for key, type_and_default in rows:
        option = known[key]
        told = re.search(r"[,;] `([^`]+)`$", type_and_default)
        if told:
            assert option.type(told[1]) == option.default, key
        else:
            assert not isinstance(option.default, (int, float)), key


def test_the_table_of_exit_statuses_is_complete() -> None:
    """Each status of disco's own is explained."""
    told = set(map(int, re.findall(r"\d+", " ".join(re.findall(r"^\| ([\d, N+]+) \|", README, re.MULTILINE)))))
    assert told == set(map(int, Status))
