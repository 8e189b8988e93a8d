"""Sites in examples/ that have a page are small, and have no handlers of their own. tests/test_docs.py runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from lab.postgres_server import PostgresServer
from lab.site import Site

from disco.data import documents
from disco.handlers import SHIPPED
from tests.conftest import need_program
from tests.page_programs import POSTGRES_PASSWORD as PASSWORD
from tests.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

SITES = sorted(page.parent for page in (ROOT / "examples").glob("*/README.md"))
LINES = 25
OTHER_HANDLERS = {"psql"}  # programs of the distribution
INPUT = {
    "app": {"name": "shop", "port": 1, "debug": True, "hosts": "a,b", "n": 1, "services": [{"port": 1}, {"port": 2}]},
    "proxy": {
        "listen": 8080, "tls": {}, "limits": {"rate": 5}, "name": "a-b", "at": "host:1", "backends": {"one": "10.0.0.1:80"},
    },
    "web": {"instances": [{"id": "web-1", "address": "10.0.0.1", "port": 80}]},
}  # fmt: skip
EVIL = "\nevil"  # a line more, where a file has one line for each value
GOOD: dict[str, dict[str, Any]] = {
    "haproxy": {"web": {"instances": [{"id": "web-1", "address": "10.0.0.1", "port": 80, "weight": 1}]}},
    "migrate": {"postgres": {"host": "db", "port": 5432, "password": "correct-horse"}},
    "nginx": {"proxy": {"listen": 80, "backends": {"one": "10.0.0.1:80"}}},
    "pgbouncer": {
        "pool": {
            "settings": {"listen_port": "6432"},
            "databases": {"app": {"host": "db", "port": "5432", "dbname": "app"}},
            "users": {"app": "correct-horse"},
        }
    },
    "secret-file": {"db": {"address": "db", "port": 5432, "password": "correct-horse"}},
}


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_site_is_small(site: Path) -> None:
    """Rules, schemas and templates of an example have few lines together."""
    files = [path for pattern in ("*.rules", "*.schema", "*.j2") for path in site.glob(pattern)]
    assert sum(bool(line.strip()) for path in files for line in path.read_text().splitlines()) <= LINES


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_site_has_no_handler_of_its_own(site: Path) -> None:
    """Each handler of an example is one of disco's or of the distribution; the one program beside it stands for the user's own."""
    for path in site.glob("*.rules"):
        content: Any = documents.parse(path.read_bytes(), path.name).data
        for rule in content["rules"]:
            assert rule["do"].split()[0] in {*SHIPPED, *OTHER_HANDLERS}
    assert {path.name for path in site.iterdir() if os.access(path, os.X_OK) and path.is_file()} <= {"app"}


@pytest.mark.parametrize("site", [site for site in SITES if [*site.glob("*.j2")]], ids=lambda site: site.name)
def test_no_value_adds_a_line(site: Path, tmp_path: Path) -> None:
    """What may write to a site's backend adds no line to its files: schema or template refuses it, or it is within quotes."""
    (interface,) = GOOD[site.name]
    schema: Any = documents.parse((site / f"{interface}.schema").read_bytes(), interface).data
    is_valid = Draft202012Validator(schema).is_valid
    for template in site.glob("*.j2"):
        assert is_valid(GOOD[site.name][interface])
        assert render(template, GOOD[site.name], tmp_path / "good").returncode == 0
        for bad in spoil(GOOD[site.name][interface]):
            if is_valid(bad) and render(template, {interface: bad}, tmp_path / "bad").returncode == 0:
                lines = [line.strip() for line in (tmp_path / "bad").read_text().splitlines()]
                assert not [line for line in lines if line.startswith(EVIL.strip())], template


def test_database_that_comes_late(tmp_path: Path) -> None:
    """The site that migrates waits for a PostgreSQL that is started later, and becomes the program once the tables are there."""
    etc = tmp_path / "etc"
    shutil.copytree(ROOT / "examples" / "migrate", etc)
    psql = need_program("psql")
    need_program("initdb")
    site = Site(tmp_path)
    with PostgresServer(need_program("postgres")) as server:
        server.add_database("app", PASSWORD)
        server.kill()
        site.flat({"postgres": {"host": "127.0.0.1", "port": server.port, "password": PASSWORD}})
        site.environ |= {"PATH": f"{psql.parent}:{site.environ['PATH']}", "PGSERVICEFILE": "pg_service.conf"}
        running = site.start("psql", "service=app", "-Atc", "select count(*) from visit", cwd=etc)
        running.wait_for("disco-wait: .*refused")
        server.start()
        assert (running.wait(), running.output) == (0, "0\n"), running.log
    assert PASSWORD not in running.log


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "coming-from").glob("*.md")), ids=lambda page: page.name)
def test_templates_of_other_programs(page: Path, tmp_path: Path) -> None:
    """Each template in the right column of a page about another program renders."""
    rows = [re.split(r"(?<!\\)\|", line) for line in page.read_text().splitlines() if line.startswith("| `")]
    shown = [found for row in rows for found in re.findall(r"`([^`]*\{[{%][^`]*)`", row[2])]
    (tmp_path / "all.j2").write_text("\n".join(shown).replace("\\|", "|"))
    done = render(tmp_path / "all.j2", INPUT, tmp_path / "all")
    assert done.returncode == 0, done.stderr


def render(template: Path, data: dict[str, Any], target: Path) -> subprocess.CompletedProcess[str]:
    """Run disco-render by hand."""
    argv = [str(Path(sys.executable).with_name("disco-render")), str(template), str(target)]
    environ = os.environ | {"HOSTNAME": "host-1"}
    return subprocess.run(argv, input=json.dumps(data), env=environ, capture_output=True, text=True, timeout=60, check=False)


def spoil(value: Any) -> Iterator[Any]:
    """Yield copies of JSON data, in each of which one text or key has a line more."""
    if isinstance(value, str):
        yield value + EVIL
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from ([*value[:index], bad, *value[index + 1 :]] for bad in spoil(item))
    elif isinstance(value, dict):
        for key, item in value.items():
            rest = {name: other for name, other in value.items() if name != key}
            yield rest | {key + EVIL: item}
            yield from (rest | {key: bad} for bad in spoil(item))
