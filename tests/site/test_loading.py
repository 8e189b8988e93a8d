"""Loading a site: everything is loaded once, and every problem is in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.site import loading

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, *, rules: str = "{when: app, do: see}") -> dict[str, str]:
    """Write a site with a schema, a handler and a rule; return the environment that names it."""
    for name, content in {"app.schema": "type: object", "see": "#!/bin/sh\n", "site.rules": f"rules: [{rules}]"}.items():
        (folder / name).write_text(content)
    (folder / "see").chmod(0o755)
    return {"PATH": "/bin", "DISCO_CFG": f"disco.path={folder}:flat.file=/nowhere.yaml"}


def test_a_site(tmp_path: Path) -> None:
    """A site in order has settings, schemas, rules and the programs of handlers, and no problem."""
    site = loading.load(None, write(tmp_path))
    assert (site.errors, site.warnings, site.is_whole) == ((), (), True)
    assert site.settings.path == (tmp_path,)
    assert list(site.schemas) == ["app"]
    assert [rule.argv for rule in site.rules] == [(str(tmp_path / "see"),)]
    assert (site.programs, site.named_interfaces()) == ({"see": str(tmp_path / "see")}, ("app",))


def test_processes(tmp_path: Path) -> None:
    """Each source has its processes, which know where they read and what they may provide."""
    (tmp_path / "db.schema").write_text("{}")
    environ = write(tmp_path)
    environ["DISCO_CFG"] += ":flat.interfaces=a*:east.type=consul:east.services=db:east.kv=yes:east.host=h"
    processes = loading.load(None, environ).processes
    assert [(process.name, process.part, process.interfaces, process.is_declared) for process in processes] == [
        ("flat", "", {"app"}, True),
        ("east", "", {"app", "db"}, False),
        ("east/db", "db", {"db"}, False),
    ]
    assert processes[0].place == "/nowhere.yaml"
    assert all(process.settings.options["timeout"] < process.step_limit for process in processes)


def test_problems_of_all_parts(tmp_path: Path) -> None:
    """Problems of the configuration, of schemas and of rules are reported together, in this order."""
    environ = write(tmp_path, rules="{when: app, do: none}")
    (tmp_path / "bad.schema").write_text("type: 5")
    environ["DISCO_CFG"] += ":disco.workers=0"
    site = loading.load(tmp_path / "none.yaml", environ)
    assert not site.is_whole
    assert [problem.place.removeprefix(f"{tmp_path}/") for problem in site.errors] == [
        f"-c: {tmp_path}/none.yaml",
        "DISCO_CFG: disco.workers",
        "bad.schema:1:7",
        "site.rules:1:25",
    ]


def test_rules_without_a_source(tmp_path: Path) -> None:
    """Rules that nothing gives data to are refused."""
    environ = write(tmp_path) | {"DISCO_CFG": f"disco.path={tmp_path}"}
    assert [problem.message for problem in loading.load(None, environ).errors] == [
        "there are rules that need data, but no source to read from"
    ]
