"""tools/demo and tools/test on a machine that lacks something, which versions they install, and what they say meanwhile."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSION = "{}.{}".format(*sys.version_info)
HIDE = "import sys\nsys.modules['ensurepip'] = None\n"
APT = '#!/bin/sh\necho "$*" >> "$OUT/apt"\n'
URIS = """#!/bin/sh
case $* in
    *--print-uris*) echo "'http://x/e.deb' e_1_amd64.deb 7654321 SHA256:0";;
    *download*) exit 1;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """Give the environment of a machine like bare Debian: a Python without ensurepip, and beside it what a shell needs."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / f"python{VERSION}").symlink_to(os.path.realpath(sys.executable))
    for name in ("sh", "env"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDE)
    for name in ("tools", "pyproject.toml", "constraints.txt"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / "checkout" / name)
    return {
        "PATH": str(tmp_path / "bin"),
        "HOME": str(tmp_path),
        "PYENV_ROOT": str(tmp_path),
        "PYTHONPATH": str(tmp_path / "hidden"),
        "OUT": str(tmp_path),
    }


def run(tool: str, machine: dict[str, str]) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(Path(machine["OUT"], "checkout", "tools", tool))]
    return subprocess.run(argv, env=machine, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("tool", ["demo", "test"])
def test_one_line_names_the_command_where_it_cannot_be_run(machine: dict[str, str], tool: str) -> None:
    """Where the system lacks something that cannot be installed from here, one line names the command, and the status is 2."""
    done = run(tool, machine)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tools/{tool}: this system lacks ")
    assert ": apt-get update && apt-get install --yes --no-install-recommends " in line
    assert line.endswith(f"python{VERSION}-venv")
    assert ("openssl" in line) == (tool == "test")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may install packages")
@pytest.mark.parametrize("tool", ["demo", "test"])
def test_root_installs_what_is_missing(machine: dict[str, str], tool: str) -> None:
    """As root with apt the commands install what is missing, and say so; where that did not help they say that too."""
    apt = Path(machine["PATH"], "apt-get")
    apt.write_text(APT)
    apt.chmod(0o755)
    done = run(tool, machine)
    update, install = Path(machine["OUT"], "apt").read_text().splitlines()
    assert update.startswith("update ")
    assert install.startswith("install --yes --no-install-recommends ")
    assert f"python{VERSION}-venv" in install
    assert done.returncode == 2
    told, failed = done.stderr.splitlines()
    assert told.startswith("installing what this system lacks: apt-get install")
    assert "cannot make virtual environments, also with" in failed


FAKE_TOX = """
import os, sys
def main():
    print("some tests ....... [ 31%]", flush=True)
    open(os.environ["OUT"] + "/" + sys.argv[sys.argv.index("-e") + 1]).close()  # until the test opens it too
"""


def make_tox(folder: Path, version: str) -> None:
    """Write a wheel of a tox that only waits."""
    with zipfile.ZipFile(folder / f"tox-{version}-py3-none-any.whl", "w") as wheel:
        info = f"tox-{version}.dist-info"
        wheel.writestr("tox.py", FAKE_TOX)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tox\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\ntox = tox:main\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_how_far_it_is_with_the_pinned_versions(machine: dict[str, str]) -> None:
    """tools/test installs what constraints.txt says, tells now and then how far each environment is, and sums up at the end."""
    folder = Path(machine["OUT"])
    (folder / "hidden" / "sitecustomize.py").unlink()
    for name in ("openssl", "ps", "ip"):
        (folder / "bin" / name).symlink_to("/bin/true")
    (pinned,) = re.findall(r"(?m)^tox==(.*)$", (ROOT / "constraints.txt").read_text())
    for version in (pinned, f"{int(pinned.partition('.')[0]) + 1}.0"):
        make_tox(folder, version)
    tool = folder / "checkout" / "tools" / "test"
    tool.write_text(re.sub(r"(?m)^HEARTBEAT = \S+", "HEARTBEAT = 0.1", tool.read_text()))
    for name in ("lint", "types"):
        os.mkfifo(folder / name)
    machine |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}
    argv = [sys.executable, str(tool), "lint", "types"]
    with subprocess.Popen(argv, env=machine, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        told = ""
        for name in ("lint", "types"):
            while not re.search(rf"(?m)^=== {name}: \d+ s, 31% of its tests$", told):
                line = process.stdout.readline()
                assert line, told
                told += line
        for name in ("lint", "types"):
            (folder / name).open("w").close()
        told += process.stdout.read()
    assert process.returncode == 0, told
    assert re.search(r"\n=== tools/test, \d+ s: passed: lint, types\n$", told)
    assert [file.name for file in (folder / "checkout" / ".tox" / "runner").rglob("tox-*")] == [f"tox-{pinned}.dist-info"]


def test_nothing_stays_of_tests_that_passed(tmp_path: Path) -> None:
    """What a passed test wrote into its folder is removed; what a failed one wrote stays for whoever looks into it."""
    test = "def test_x(tmp_path):\n    (tmp_path / 'large').touch()\n"
    (tmp_path / "test_good.py").write_text(test)
    (tmp_path / "test_bad.py").write_text(test.replace("_x", "_y") + "    assert False\n")
    argv = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    subprocess.run([*argv, str(tmp_path)], env=environ, cwd=tmp_path, check=False, capture_output=True, timeout=100)
    kept = {file.resolve().parent.name for file in tmp_path.glob("pytest-of-*/pytest-*/*/large")}
    assert kept == {"test_y0"}


def test_what_is_fetched_is_said(machine: dict[str, str]) -> None:
    """tools/backends says what it fetches and how large it is before it does."""
    release, apt = Path("/etc/os-release").read_text(), Path(machine["PATH"], "apt-get")
    if not re.search(r"(?m)^ID(_LIKE)?=.*(debian|ubuntu)", release):
        pytest.skip("only Debian's and Ubuntu's packages are fetched")
    apt.write_text(URIS)
    apt.chmod(0o755)
    Path(machine["PATH"], "dpkg-deb").symlink_to("/bin/true")
    done = run("backends", machine | {"XDG_CACHE_HOME": machine["OUT"]})
    assert done.returncode == 1
    assert "tools/backends: fetching e_1_amd64.deb, 7.7 MB (once)\n" in done.stderr


def test_roots_says_what_it_needs(machine: dict[str, str]) -> None:
    """Without debootstrap tools/roots names what is missing, and the status is 2."""
    done = run("roots", machine)
    assert done.returncode == 2
    assert re.fullmatch(r"tools/roots: needs root, .*debootstrap.*\n", done.stderr)
