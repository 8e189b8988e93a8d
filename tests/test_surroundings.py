"""What the environment, the folder of the command, or PATH can make of disco: nothing but what is meant."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab.site import disco_command

if TYPE_CHECKING:
    from lab.site import Site

ROOT = Path(__file__).resolve().parent.parent
HANG = 20.0  # seconds
# Becomes its arguments, with further entries of the environment, as no shell would make them.
EXEC = """
import ctypes, os, sys
entries = [b"%s=%s" % pair for pair in os.environb.items()] + [b"TWICE=first", b"TWICE=second", b"no equals sign", b"=empty"]
array = lambda words: (ctypes.c_char_p * (len(words) + 1))(*words, None)
ctypes.CDLL(None).execve(sys.argv[1].encode(), array([word.encode() for word in sys.argv[1:]]), array(entries))
"""


def test_environment_as_it_is(site: Site) -> None:
    """Of variables that are there twice COMMAND gets the first; an entry that is no variable stays what it is."""
    site.simple()
    running = site.run("cat", "/proc/self/environ", before=(sys.executable, "-c", EXEC), options=())
    entries = running.output.split("\0")
    assert [entry for entry in entries if entry.startswith("TWICE")] == ["TWICE=first"]
    assert {"no equals sign", "=empty"} <= set(entries)
    assert not any(entry.startswith("DISCO_CFG") for entry in entries)


def test_no_prompt(site: Site) -> None:
    """With PYTHONINSPECT disco opens no prompt; COMMAND finds the variable."""
    site.environ["PYTHONINSPECT"] = "1"
    master, terminal = os.openpty()
    for options, status in ((("--version",), 0), (("--check",), 78), ((), 78)):
        assert site.start(options=options, stdin=terminal).wait(HANG) == status
    site.simple()
    assert site.run("sh", "-c", "echo $PYTHONINSPECT", options=(), stdin=terminal).output == "1\n"
    os.close(master)
    os.close(terminal)


def test_no_keys_are_logged(site: Site) -> None:
    """No source writes the keys of its connections where SSLKEYLOGFILE says; handlers and COMMAND find the variable."""
    site.simple()
    site.rules({"when": "odd", "do": "see"})
    site.schema("odd")
    site.plug_in("import ssl\nyield {'odd': {'file': str(ssl.create_default_context().keylog_filename)}}\ntime.sleep(1000)\n")
    site.handler("see", 'cat > "$OUT/see.seen"\necho "$SSLKEYLOGFILE" > "$OUT/name"\n')
    site.environ["SSLKEYLOGFILE"] = f"{site.folder}/keys"
    running = site.run("sh", "-c", "echo $SSLKEYLOGFILE", options=())
    assert site.seen() == [{"odd": {"file": "None"}}]
    assert site.read("name") == running.output == f"{site.folder}/keys\n"
    assert not (site.folder / "keys").exists()


def test_what_lies_beside_the_command(site: Site) -> None:
    """No file beside the command is imported in the place of a module."""
    site.simple()
    for name in ("signal", "gc", "logging", "json", "yaml", "selectors"):
        (site.folder / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
    command = Path(shutil.copy(disco_command()[0], site.folder))
    environ = site.environ | {"DISCO_CFG": site.cfg_line()}
    done = subprocess.run([command, "echo", "done"], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("path", [":{}", "{}:", "{}::/nowhere"])
def test_empty_entries_of_path(site: Site, path: str) -> None:
    """An empty entry of PATH, which stands for the working directory, leads to no handler."""
    site.simple()
    here = site.folder / "here"
    here.write_text("#!/bin/sh\n")
    here.chmod(0o755)
    site.rules({"when": "app", "do": "here"})
    site.environ["PATH"] = path.format(site.environ["PATH"])
    running = site.run(options=())
    assert running.process.returncode == 78
    assert "handler here is not found" in running.log


def test_cache_of_servers() -> None:
    """tools/backends has no folder that others know: without one of its own it says what to set."""
    anybody = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    if (
        not shutil.which("setpriv")
        or subprocess.run([*anybody, sys.executable, "-c", ""], capture_output=True, check=False).returncode
    ):
        pytest.skip("we may not become another user")
    program = [*anybody, sys.executable, str(ROOT / "tools/backends"), "etcd"]
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run(program, env=environ, capture_output=True, text=True, timeout=60, check=False)
    if "can't open file" in done.stderr:
        pytest.skip("other users may not read this checkout")
    assert (done.returncode, done.stdout) == (1, "")
    assert "XDG_CACHE_HOME" in done.stderr
