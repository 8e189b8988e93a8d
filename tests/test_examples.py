"""Sites in examples/ that have a page are small, and have no handlers of their own. tests/test_docs.py runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lab.postgres_server import PostgresServer
from lab.site import Site

from disco.data import documents
from disco.handlers import SHIPPED
from tests.conftest import need_program
from tests.page_programs import POSTGRES_PASSWORD as PASSWORD
from tests.pages import ROOT

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
    argv = [str(Path(sys.executable).with_name("disco-render")), str(tmp_path / "all.j2"), str(tmp_path / "all")]
    environ = os.environ | {"HOSTNAME": "host-1"}
    done = subprocess.run(argv, input=json.dumps(INPUT), env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
