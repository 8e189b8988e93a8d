"""The rows of client libraries: what a source's process may do to itself, and to disco."""

from __future__ import annotations

import json
import re
import textwrap
from functools import partial
from typing import TYPE_CHECKING

from faults_lab.disco import SECRET
from faults_lab.row import Case

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from faults_lab.bench import Bench
    from faults_lab.row import Make


def list_faults() -> dict[str, Make]:
    """Return what makes each row, by its fault."""
    return {
        **{fault: _library_row(body, passes=passes) for fault, (body, passes) in LIBRARIES.items()},
        **{fault: _library_row(LIES + body, passes=True, check=_find_lies) for fault, body in LIARS.items()},
    }


PLUG_IN = """
import itertools, json, logging, resource, socket, threading
out = os.environ['OUT']
done = False
def note(pid):
    with open(out + '/pids', 'a') as file: file.write(f'{pid}\\n')
while True:
    if os.path.exists(out + '/fault') and not done:
        done = True
        open(out + '/hit', 'w').close()
FAULT
    with open(out + '/odd.json') as file: data = json.load(file)
    yield {'odd': data}
    time.sleep(0.1)
"""
# What a source's process does once while the fault is on, and whether its changes come all the same.
LIBRARIES: dict[str, tuple[str, bool]] = {
    "segmentation fault": ("ctypes.string_at(0)", False),
    "spins, holding the interpreter's lock": ("sum(itertools.repeat(0))", False),
    "sleeps, holding the interpreter's lock": ("ctypes.PyDLL(None).sleep(1000)", False),
    "sleeps for ever": ("time.sleep(1e6)", False),
    "blocks all signals and sleeps": ("signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(1e6)", False),
    "stops itself": ("os.kill(os.getpid(), signal.SIGSTOP)", False),
    "leaks memory": ("leak = []\nwhile True: leak.append(b'x' * (1 << 20))", False),
    "exits with 0": ("os._exit(0)", False),
    "calls sys.exit": ("sys.exit('no more')", False),
    "aborts": ("os.abort()", False),
    "kills its process group": ("os.killpg(0, signal.SIGKILL)", False),
    "becomes another program": ("note(os.getpid()); os.execvp('sleep', ['sleep', '1000'])", False),
    "raises": (f"raise RuntimeError('{SECRET}')", False),
    "ends": ("return", False),
    "yields nonsense": ("yield 5", False),
    "forks children of its own": (
        """
for _ in range(5):
    note(subprocess.Popen(['setsid', 'sleep', '1000']).pid)
    note(subprocess.Popen(['env', '-i', 'sleep', '1000'], start_new_session=True).pid)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        time.sleep(1000)
    note(pid)
""",
        True,
    ),
    "forks, and both go on": ("note(os.fork() or os.getpid())", True),
    "prints without end": ("while True: os.write(1, b'x' * 100 + b'\\n')", False),
    "prints long lines without end": ("while True: os.write(1, b'x' * 900 + b'\\n')", False),
    "prints without end or line": ("while True: os.write(2, b'x' * 4096)", False),
    "logs without end": ("while True: logging.getLogger('odd').error('x' * 100)", False),
    "changes without end": (
        "n = 0\nwhile os.path.exists(out + '/fault'):\n    n += 1\n    yield {'odd': {'n': 1, 'x': n}}",
        False,
    ),
    "a large change without end": (
        "n = 0\nwhile os.path.exists(out + '/fault'):\n    n += 1\n    yield {'odd': {'n': 1, 'x': str(n) * 1000000}}",
        False,
    ),
    "handles all signals itself": (
        """
for number in range(1, 65):
    try: signal.signal(number, lambda *_: None)
    except (OSError, ValueError): pass
""",
        True,
    ),
    "ignores all signals, then hangs": (
        """
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: time.sleep(1000)
""",
        False,
    ),
    "changes umask and working directory": ("os.umask(0o777); os.chdir('/proc')", True),
    "changes limits and priority": (
        """
os.nice(19)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
""",
        True,
    ),
    "opens descriptors without end": ("keep = []\nwhile True: keep.append(socket.socket())", False),
    "closes all descriptors": ("os.closerange(0, 1000)", False),
    "writes garbage into its channel": ("os.write(3, os.urandom(5000)); time.sleep(1e6)", False),
    "starts 100 threads that spin": (
        """
def spin():
    while True: pass
for _ in range(100): threading.Thread(target=spin, daemon=True).start()
time.sleep(1e6)
""",
        False,
    ),
    "takes sys.stdout and logging away": (
        "sys.stdout = sys.stderr = None; logging.disable(); logging.getLogger().handlers.clear(); print('x')",
        True,
    ),
}
# A source that was taken over speaks the protocol itself. `tell` sends a Diff with these fragments, whatever else a Diff may hold.
LIES = """
from typing import get_origin, get_type_hints
from disco.wire.frames import encode
from disco.wire.messages import Diff, Fragment, digest
from disco.data.values import canonical
def blank(kind): return kind(*((get_origin(hint) or hint)() for hint in get_type_hints(kind).values()))
def tell(fragments, **fields):
    changed = {name: blank(Fragment)._replace(digest=mark, body=body) for name, (mark, body) in fragments.items()}
    for part in encode(blank(Diff)._replace(changed=changed, **fields)): channel.sendall(part)
channel = socket.socket(fileno=os.dup(3))
channel.setblocking(True)
"""
LIE = 666
LIARS = {
    "lies: a body with another interface": f"""tell({{'odd': ('0' * 32, b'{{"n":2}},"end":{{"n":{LIE}}}')}})""",
    "lies: a body that is no JSON": f"""tell({{'odd': ('0' * 32, b'{{"n":{LIE}')}})""",
    "lies: a name twice in a body": f"""tell({{'odd': ('0' * 32, b'{{"n":1,"n":{LIE}}}')}})""",
    "lies: a body under another's digest": f"""tell({{'app0': (digest(canonical({{'n': 1}})), b'{{"n":{LIE}}}')}})""",
    "lies: new names with 150 MiB each": """
import mmap
body = memoryview(mmap.mmap(-1, 150 << 20, mmap.MAP_PRIVATE))
for n in itertools.count(): tell({f'new{n}': ('0' * 32, body)})
""",
    "lies: a message of 5 million names": """
frame = b''.join(encode(blank(Diff)._replace(removed=('',) * 5_000_000)))
while True: channel.sendall(frame)
""",
}


def _find_lies(folder: Path) -> str:
    """Return which lie a handler has seen; empty if none has."""
    texts = ((folder / f"{handler}.seen").read_text() for handler in ("see", "other", "last"))
    lie = re.search(rf'.*"n": ?{LIE}.*', "".join(texts))
    return f"a handler saw the lie: {lie[0]}" if lie else ""


def _library_row(fault: str, *, passes: bool, check: Callable[[Path], str] = lambda _: "") -> Make:
    """Return what makes a row in which a source of our own does something.

    passes: its changes come all the same. check: says what else is wrong, seen in disco's folder.
    """
    lines = textwrap.indent(fault.strip("\n"), " " * 8)

    def make(bench: Bench) -> Case:
        folders = {side: bench.folder / f"{side}-disco" for side in ("faulty", "twin")}

        def write(side: str, n: int) -> None:
            new = folders[side] / "odd.new"
            new.write_text(json.dumps({"n": n}))
            new.rename(folders[side] / "odd.json")

        switch = folders["faulty"] / "fault"
        return Case(
            faulty={},
            twin={},
            write=partial(write, "faulty"),
            write_twin=partial(write, "twin"),
            begin=switch.touch,
            end=switch.unlink,
            is_on=lambda _: (folders["faulty"] / "hit").exists(),
            plug_in=PLUG_IN.replace("FAULT", lines),
            passes=passes,
            check=lambda: check(folders["faulty"]),
        )

    return make
