"""disco on mounted folders, as a real process."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

from lab.kubelet import Mount
from lab.processes import below, name_of
from lab.waiting import eventually

from tests.sources.tree.reader import count_watches, write
from tests.workers.support import SECRET

if TYPE_CHECKING:
    from lab.site import Site

PORT = {"type": "object", "required": ["host", "password"], "properties": {"port": {"type": "integer"}}}


def test_a_secret_beside_a_file(site: Site) -> None:
    """A password of a Secret is composed with host and port of another source; text is decoded as the schema says."""
    site.schema("db", PORT)
    site.rules({"when": "db", "do": "see"})
    site.handler("see")
    site.flat({"db": {"host": "db1"}})
    Mount(site.folder / "secrets").write({"password": "0123\n", "port": "5432\n"})
    site.cfg |= {"tree.path": str(site.folder / "secrets"), "tree.interface": "db"}
    running = site.run()
    assert running.process.returncode == 0, running.log
    assert site.seen()[-1:] == [{"db": {"host": "db1", "password": "0123", "port": 5432}}]


def test_docker_secrets(site: Site) -> None:
    """Files that lie side by side get their keys by `map`."""
    site.schema("db")
    site.rules({"when": "db", "do": "see"})
    site.handler("see")
    write(site.folder / "secrets", {"db_password": "x\n", "tls_key": SECRET})
    site.cfg |= {"tree.path": str(site.folder / "secrets"), "tree.map": "db_password=db/password"}
    assert site.run().process.returncode == 0
    assert site.seen() == [{"db": {"password": "x"}}]


def test_credentials_of_systemd(site: Site) -> None:
    """Without `path` the folder is the one that systemd names."""
    site.schema("app")
    site.rules({"when": "app", "do": "see"})
    site.handler("see")
    site.environ["CREDENTIALS_DIRECTORY"] = str(write(site.folder / "credentials", {"token": "x"}))
    site.cfg["tree.interface"] = "app"
    assert site.run().process.returncode == 0
    assert site.seen() == [{"app": {"token": "x"}}]


def test_a_generation_that_comes_late(site: Site) -> None:
    """disco waits for the generation that holds what is missing; it never looks, and is told by the kernel."""
    site.schema("app", {"type": "object", "required": ["password"]})
    site.rules({"when": "app", "do": "see"})
    site.handler("see")
    mount = Mount(site.folder / "app" / "app")
    mount.write({"host": "db1"})
    site.cfg |= {"tree.path": str(site.folder / "app"), "disco.interval": "1h"}
    running = site.start(options=())
    running.wait_for("source tree: first answer")
    (pid,) = (found for found in below(running.pid) if name_of(found) == "disco:tree")
    eventually(lambda: count_watches(pid) == 3, "inotify of the folder, of the mount in it, and of its generation")
    mount.write({"host": "db1", "password": SECRET})
    assert running.wait() == 0, running.log
    assert site.seen() == [{"app": {"host": "db1", "password": SECRET}}]
    assert SECRET not in running.log


def test_bad_entries_cost_their_interfaces_only(site: Site) -> None:
    """What cannot be read is reported by key and reason, escaped; other rules run, and the rest when it is mended."""
    for name in ("app", "db"):
        site.schema(name)
    site.rules({"when": "app", "do": "see"}, {"when": "db", "do": "other"})
    site.handler("see")
    site.handler("other")
    folder = write(site.folder / "data", {"app/a": "x", "app/binary": b"\xff" + SECRET.encode(), "db/a": "y"})
    os.mkfifo(folder / "app" / "fi\nfo")
    (folder / "app" / "out").symlink_to("/etc/passwd")
    with open(folder / "app" / "huge", "wb") as file:
        file.truncate(1 << 30)
    site.cfg["tree.path"] = str(folder)
    running = site.start()
    running.wait_for("source tree: first answer")
    running.report_until("is not valid")
    for key, reason in [
        ("binary", "is no UTF-8 text"), ("fi\\\\nfo", "is a FIFO"), ("huge", "is larger than 16 MiB"), ("out", "is a link out"),
    ]:  # fmt: skip
        running.wait_for(f"app is not valid: /{key} {reason}")
    assert eventually(lambda: site.seen("other")) == [{"db": {"a": "y"}}]
    for name in ("binary", "fi\nfo", "out", "huge"):
        (folder / "app" / name).unlink()
    assert running.wait() == 0, running.log
    assert site.seen() == [{"app": {"a": "x"}}]
    assert SECRET not in running.log


def test_a_folder_that_vanishes(site: Site) -> None:
    """A folder that is gone is trouble that is told; what was read stays, and what is there when it is back counts."""
    site.schema("app")
    site.schema("late")
    site.rules({"when": "app", "do": "see"}, {"when": "late", "do": "see"})
    site.handler("see")
    folder = write(site.folder / "data", {"app/a": "x"})
    site.cfg["tree.path"] = str(folder)
    running = site.start(options=())
    eventually(site.seen)
    folder.rename(site.folder / "away")
    running.wait_for("source tree: .*data: No such file or directory")
    running.report_until("not readable for")
    write(site.folder / "away", {"late/b": "y"})
    (site.folder / "away").rename(folder)
    assert running.wait() == 0, running.log
    assert site.seen() == [{"app": {"a": "x"}}, {"late": {"b": "y"}}]


def test_hundred_thousand_files(site: Site) -> None:
    """A folder with very many files is read, up to the limit, and the coordinator is as quick as ever."""
    site.schema("app")
    site.rules({"when": "app", "do": "see"})
    site.handler("see", 'wc -c > "$OUT/see.size"\n')
    folder = site.folder / "data" / "app"
    folder.mkdir(parents=True)
    for number in range(99_000):
        with open(folder / f"{number}", "wb") as file:
            file.write(b"x")
    site.cfg |= {"tree.path": str(site.folder / "data"), "disco.interval": "1"}
    running = site.run(options=())
    assert running.process.returncode == 0, running.log
    assert int(site.read("see.size")) > 99_000
    for number in range(99_000, 100_001):
        (folder / f"{number}").touch()
    running = site.start(options=())
    running.wait_for("more than 100000 files and folders")
    running.send(signal.SIGTERM)
    assert running.wait() == 128 + signal.SIGTERM


def test_dry_run(site: Site) -> None:
    """`--dry-run` tells which keys there are, and `--check` what it has to."""
    site.schema("app")
    site.rules({"when": "app", "do": "see"})
    site.handler("see")
    write(site.folder / "data", {"password": SECRET})
    site.cfg |= {"tree.path": str(site.folder / "data"), "tree.interface": "app"}
    running = site.run(options=("--dry-run", "--json"))
    assert json.loads(running.output)["sources"][0]["interfaces"]["app"]["leaves"].keys() == {"/password"}
    assert SECRET not in running.output + running.log
    del site.cfg["tree.path"]
    running = site.run(options=("--check",))
    assert "tree.path: expected the path of a folder; set it" in running.output
