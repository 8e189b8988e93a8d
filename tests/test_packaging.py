"""What is installed: its name, its extras, and the ways to call it."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from disco import __version__
from disco.handlers import SHIPPED
from disco.site.handlers import SHIPPED_PREFIX
from tests.pages import PAGES, ROOT

if TYPE_CHECKING:
    from lab.site import Site

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_text_names_the_distribution_that_is_disco() -> None:
    """Messages and documents install the distribution `disco-entrypoint`, with extras that it has: `disco` is somebody else's."""
    files = [*PAGES, *sorted((ROOT / "disco").rglob("*.py"))]
    named = [found for file in files for found in re.findall(r"pip install '([\w.-]+)\[([^]]*)\]'", file.read_text())]
    assert PROJECT["name"] == "disco-entrypoint"
    assert {name for name, _ in named} == {PROJECT["name"], "."}
    extras = {extra for _, listed in named for extra in listed.split(",") if extra.isidentifier()}
    assert extras == set(PROJECT["optional-dependencies"])
    assert PROJECT["optional-dependencies"]["all"] == [f"{PROJECT['name']}[consul,etcd,formats,render]"]


def test_the_documents_name_the_wheel_that_is_built() -> None:
    """The wheel that the documents copy into an image has the name and the version of this project."""
    wheels = {wheel for page in PAGES for wheel in re.findall(r"[\w.]+-[\w.]+-py3-none-any\.whl", page.read_text())}
    assert wheels == {f"{PROJECT['name'].replace('-', '_')}-{__version__}-py3-none-any.whl"}


@pytest.mark.parametrize(("options", "more"), [([], []), (["-P"], ["types", "contextlib", "warnings"])])
def test_python_m_disco_is_the_command(site: Site, options: list[str], more: list[str]) -> None:
    """`python -m disco` is `disco`: modules in the working directory shadow none of its imports (with -P nor of Python itself)."""
    site.simple()
    for name in ("yaml", "json", "logging", "signal", "psutil", "jsonschema", "getopt", *more):
        (site.folder / f"{name}.py").write_text("raise SystemExit('foreign module')\n")
    running = site.run("sh", "-c", "pwd", disco=[sys.executable, *options, "-m", "disco"])
    assert running.output.strip() == str(site.folder), running.log
    assert site.seen() == [{"app": {"a": 1}}]


def test_each_shipped_handler_is_a_command_and_documented() -> None:
    """Each shipped handler is a command of its name, and stands in the table of the documents; so is nothing else."""
    assert set(PROJECT["scripts"]) == {"disco", *SHIPPED}
    for name in SHIPPED:
        module, _, function = PROJECT["scripts"][name].partition(":")
        assert name == f"disco-{function}"
        assert callable(getattr(import_module(module), function))
        assert name.startswith(SHIPPED_PREFIX)
    page = (ROOT / "docs" / "handlers.md").read_text()
    assert set(re.findall(r"^\| \[?`(disco-\w+)`", page, re.MULTILINE)) == set(SHIPPED)
