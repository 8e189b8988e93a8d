"""disco-wait, as a process: what it waits for on real servers, sockets and files, and what it prints meanwhile."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab.servers import free_ports, make_certificates, sign_certificate
from lab.waiting import PATIENCE, eventually

from disco.handlers import target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.site import Site

COMMAND = str(Path(sys.executable).with_name("disco-wait"))
SECRET = "hunter2"


class Waiting:
    """A disco-wait that runs; its stderr goes to a file."""

    def __init__(self, folder: Path, *words: str, data: Any = None, argv: tuple[str, ...] = (COMMAND,), **environ: str) -> None:
        self._log = folder / "wait.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, *words], stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder, env=os.environ | environ
            )
        assert self.process.stdin
        if data is not None:
            self.process.stdin.write(data if isinstance(data, bytes) else json.dumps(data).encode())
            self.process.stdin.close()  # without data it stays open: nobody may read it

    @property
    def lines(self) -> list[str]:
        return [line.removeprefix("disco-wait: ") for line in self._log.read_text().splitlines()]

    def wait_for(self, line: str) -> None:
        eventually(lambda: line in self.lines or self.process.poll() is not None, line)
        assert line in self.lines

    def wait_for_lines(self, count: int) -> None:
        eventually(lambda: len(self.lines) >= count, f"{count} lines")

    def end(self) -> int:
        return self.process.wait(PATIENCE)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Waiting]]:
    """Give what starts a disco-wait in the test's folder."""
    started: list[Waiting] = []

    def run(*words: str, **more: Any) -> Waiting:
        started.append(Waiting(tmp_path, *words, **more))
        return started[-1]

    yield run
    for waiting in started:
        waiting.process.kill()
        waiting.process.communicate()


@contextmanager
def serve(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Give the port of a server that talks so with each client, in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=run, args=(client,), daemon=True).start()

        def run(client: socket.socket) -> None:
            with client:
                try:
                    talk(client)
                except OSError:
                    pass

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def answer(statuses: list[int], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Give the port of an HTTP server that answers with these statuses in turn, and then with the last one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0], SECRET)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_server_that_starts_later(start: Callable[..., Waiting]) -> None:
    """It waits until a port accepts connections, whose number is in the input; one line for each change of state."""
    (port,) = free_ports(1)
    url = "tcp://{/db/host}:{/db/port}"
    waiting = start(url, data={"db": {"host": "127.0.0.1", "port": port}})
    waiting.wait_for(f"{url}: Connection refused")
    with socket.create_server(("127.0.0.1", port)):
        assert waiting.end() == 0
    assert waiting.lines == [f"{url}: Connection refused", f"{url}: is there"]


def test_all_must_be_there(start: Callable[..., Waiting], tmp_path: Path) -> None:
    """Of several URLs each is waited for, and one that was there once is not looked at again."""
    (tmp_path / "a").touch()
    waiting = start("file:a", "file:b")
    waiting.wait_for("file:a: is there")
    waiting.wait_for("file:b: No such file or directory")
    (tmp_path / "a").unlink()
    (tmp_path / "b").touch()
    assert waiting.end() == 0
    assert len(waiting.lines) == 3


def test_a_file(start: Callable[..., Waiting], tmp_path: Path) -> None:
    """Anything that has the name is there, a link only with what it leads to."""
    (tmp_path / "link").symlink_to("dir")
    waiting = start("file:{/app/file}", data={"app": {"file": str(tmp_path / "link")}})
    waiting.wait_for("file:{/app/file}: No such file or directory")
    (tmp_path / "dir").mkdir()
    assert waiting.end() == 0


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket(start: Callable[..., Waiting], tmp_path: Path, kind: socket.SocketKind) -> None:
    """A socket of any kind is there when somebody serves it: its file alone is not enough."""
    path = tmp_path / "socket"
    with closing(socket.socket(socket.AF_UNIX, kind)) as dead:
        dead.bind(str(path))
    waiting = start("unix:socket")
    waiting.wait_for("unix:socket: Connection refused")
    path.unlink()
    with closing(socket.socket(socket.AF_UNIX, kind)) as server:
        server.bind(str(path))
        if kind != socket.SOCK_DGRAM:
            server.listen()
        assert waiting.end() == 0


@pytest.mark.parametrize(
    ("statuses", "fragment", "states"),
    [
        ([503, 503, 204], "", ["it answers with status 503", "is there"]),
        ([302], "", ["is there"]),
        ([503, 404, 500, 401], "#2xx,401", [*(f"it answers with status {status}" for status in (503, 404, 500)), "is there"]),
        ([204, 200], "#200", ["it answers with status 204", "is there"]),
    ],
)
def test_http_statuses(start: Callable[..., Waiting], statuses: list[int], fragment: str, states: list[str]) -> None:
    """An HTTP server is there when it answers with a good status."""
    with answer(statuses) as port:
        url = f"http://127.0.0.1:{port}/health{fragment}"
        waiting = start(url)
        assert waiting.end() == 0
    assert waiting.lines == [f"{url}: {state}" for state in states]


def test_https(start: Callable[..., Waiting], tmp_path: Path) -> None:
    """A server's certificate is verified by the system's authorities, or those of SSL_CERT_FILE, which may come later."""
    folder = make_certificates(tmp_path / "tls", "IP:127.0.0.1")
    sign_certificate(folder, "other", "subjectAltName=DNS:hunter2.example")
    contexts = {}
    for name in ("server", "other"):
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[name].load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    with answer([200], contexts["server"]) as right, answer([200], contexts["other"]) as wrong, answer([200]) as plain:
        urls = {name: f"https://127.0.0.1:{port}" for name, port in (("right", right), ("wrong", wrong), ("plain", plain))}
        waiting = start(*urls.values(), "--timeout", "15s", SSL_CERT_FILE=str(tmp_path / "ca.pem"))
        waiting.wait_for(f"{urls['right']}: the certificate is refused: unable to get local issuer certificate")
        (folder / "ca.pem").rename(tmp_path / "ca.pem")
        waiting.wait_for(f"{urls['right']}: is there")
        waiting.wait_for(f"{urls['wrong']}: the certificate is another address's")
        assert any(line.startswith(f"{urls['plain']}: TLS failed (") for line in waiting.lines)
    assert SECRET not in "".join(waiting.lines)


def drip(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1")
    while True:
        client.sendall(b" ")
        time.sleep(0.1)  # its pace


def drip_tls(client: socket.socket) -> None:
    client.sendall(b"\x16\x03\x03\x40\0")  # the head of a record of 16 KiB
    while True:
        client.sendall(b"\0")
        time.sleep(0.1)  # its pace


def flood(client: socket.socket) -> None:
    while True:
        client.sendall(b"x" * 65536)


def talk_at_length(client: socket.socket) -> None:
    client.sendall(b"x" * 5000)
    client.recv(10000)
    client.recv(10000)  # nothing comes before the other side closes


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_servers_that_misbehave(start: Callable[..., Waiting], tmp_path: Path) -> None:
    """Whatever a server does, an attempt ends in time; each state is printed once, and no other URL waits for it."""
    silent = "no answer within 5 s"
    behaviours: dict[str, tuple[Callable[[socket.socket], Any], str]] = {
        "silent": (lambda client: client.recv(10000) and client.recv(10000), silent),
        "dripping": (drip, silent),
        "flooding": (flood, "its answer is not HTTP"),
        "a long line": (talk_at_length, "its answer is not HTTP"),
        "garbage": (lambda client: client.sendall(f"SSH-2.0-{SECRET}\r\n".encode()), "its answer is not HTTP"),
        "no status": (lambda client: client.sendall(b"HTTP/1.1 2000 OK\r\n"), "its answer is not HTTP"),
        "closing": (lambda client: client.recv(10000), "it closes the connection without an answer"),
        "resetting": (reset, "Connection reset by peer"),
    }
    with ExitStack() as stack:
        urls = {name: f"http://127.0.0.1:{stack.enter_context(serve(talk))}" for name, (talk, _) in behaviours.items()}
        tls = f"https://127.0.0.1:{stack.enter_context(serve(behaviours['silent'][0]))}"
        slow_tls = f"https://127.0.0.1:{stack.enter_context(serve(drip_tls))}"
        good = f"http://127.0.0.1:{stack.enter_context(answer([200]))}"
        full = socket.socket(socket.AF_UNIX)
        stack.enter_context(closing(full))
        full.bind(str(tmp_path / "full"))
        full.listen(0)
        client = socket.socket(socket.AF_UNIX)
        stack.enter_context(closing(client))
        client.connect(str(tmp_path / "full"))
        waiting = start(*urls.values(), tls, slow_tls, good, "unix:full", "--timeout", "12s")
        waiting.wait_for(f"{good}: is there")
        assert waiting.end() == 1
    expected = {urls[name]: state for name, (_, state) in behaviours.items()} | {
        tls: silent,
        slow_tls: silent,
        "unix:full": "its queue of connections is full",
    }
    *lines, last = waiting.lines
    assert sorted(lines) == sorted([f"{good}: is there", *(f"{url}: {state}" for url, state in expected.items())])
    assert last == "gave up after 12 s: " + ", ".join(
        f"{url} ({expected[url]})" for url in (*urls.values(), tls, slow_tls, "unix:full")
    )


def test_a_server_that_flaps(start: Callable[..., Waiting]) -> None:
    """States that alternate are printed once, not at each change."""
    with answer([503, 500] * 2 + [200]) as port:
        waiting = start(f"http://127.0.0.1:{port}")
        assert waiting.end() == 0
    assert [line.rpartition(" ")[2] for line in waiting.lines] == ["503", "500", "there"]


def test_a_state_is_printed_when_it_changes(start: Callable[..., Waiting]) -> None:
    """However long a state lasts, it is one line."""
    with answer([503] * 4 + [500, 503, 200]) as port:
        waiting = start(f"http://127.0.0.1:{port}", argv=with_prologue("wait.QUIET = 0"))
        assert waiting.end() == 0
    assert [line.rpartition(" ")[2] for line in waiting.lines] == ["503", "500", "503", "there"]


@pytest.mark.parametrize(
    ("url", "what"), [("tcp://{/db/host}:1", "the name service does not answer"), ("file:x", "the file system does not answer")]
)
def test_a_system_call_that_hangs(start: Callable[..., Waiting], url: str, what: str) -> None:
    """Where the resolution of a name or a look at a file hangs, that is printed, and the timeout is kept all the same."""
    hang = "socket.getaddrinfo = os.stat = lambda *_, **__: time.sleep(1000); wait.HANG_LIMIT = 0.3"
    waiting = start(url, "--timeout", "1s", data={"db": {"host": SECRET}}, argv=with_prologue(hang))
    assert waiting.end() == 1
    assert waiting.lines == [f"{url}: {what}", f"gave up after 1 s: {url} ({what})"]


def test_a_system_call_that_hangs_for_a_while(start: Callable[..., Waiting], tmp_path: Path) -> None:
    """After a hang that has ended the state is what the next attempts find, and the next hang is noticed too."""
    go = tmp_path / "go"
    hang = "while path == 'x' and not os.path.exists('go'): time.sleep(0.01)"
    slow = f"stat = os.stat\ndef slow(path):\n  {hang}\n  return stat(path)\nos.stat = slow"
    waiting = start("file:x", argv=with_prologue(f"{slow}\nwait.HANG_LIMIT, wait.QUIET = 0.3, 0"))
    hangs, fails = "file:x: the file system does not answer", "file:x: No such file or directory"
    for times in (1, 2):
        waiting.wait_for_lines(2 * times - 1)
        go.touch()
        waiting.wait_for_lines(2 * times)
        go.unlink()
        assert waiting.lines == [hangs, fails] * times
    (tmp_path / "x").touch()
    go.touch()
    assert waiting.end() == 0


@contextmanager
def be_silent() -> Iterator[int]:
    """Give the port of a server whose queue is full: the kernel drops what comes after that."""
    with closing(socket.socket()) as server, ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(2):
            client = stack.enter_context(closing(socket.socket()))
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def resolve_to(*ports: int) -> str:
    """Return code by which every name has these ports as its addresses."""
    found = f"[(socket.AF_INET, socket.SOCK_STREAM, 0, '', ('127.0.0.1', port)) for port in {ports}]"
    return f"socket.getaddrinfo = lambda *_, **__: {found}"


def test_a_host_with_several_addresses(start: Callable[..., Waiting]) -> None:
    """Each address of a name is tried within one attempt, though an earlier one is silent or refuses."""
    with be_silent() as silent, socket.create_server(("127.0.0.1", 0)) as server:
        ports = (silent, *free_ports(1), server.getsockname()[1])
        waiting = start("tcp://db:1", argv=with_prologue(resolve_to(*ports)))
        assert waiting.end() == 0
    assert waiting.lines == ["tcp://db:1: is there"]


def test_a_host_with_silent_addresses(start: Callable[..., Waiting]) -> None:
    """An attempt takes no longer when more addresses are silent."""
    with be_silent() as silent:
        limits = "attempt.TIME_LIMIT, wait.HANG_LIMIT = 0.4, 0.9"
        waiting = start("tcp://db:1", "--timeout", "2s", argv=with_prologue(f"{resolve_to(*[silent] * 4)}; {limits}"))
        assert waiting.end() == 1
    assert waiting.lines == ["tcp://db:1: no answer within 5 s", "gave up after 2 s: tcp://db:1 (no answer within 5 s)"]


def test_an_address_of_ipv6(start: Callable[..., Waiting]) -> None:
    """An IPv6 address needs no brackets as a value, and has them in the request."""
    requests: list[bytes] = []
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener:
        port = listener.getsockname()[1]
        waiting = start("http://{/db/host}:{/db/port}/x", data={"db": {"host": "::1", "port": port}})
        client, _ = listener.accept()
        with client:
            requests.append(client.recv(10000))
            client.sendall(b"HTTP/1.0 200\r\n\r\n")
        assert waiting.end() == 0
    assert requests[0].startswith(f"GET /x HTTP/1.1\r\nHost: [::1]:{port}\r\n".encode())


def with_prologue(code: str) -> tuple[str, ...]:
    """Return a disco-wait that runs some code first, which finds `wait`, its module, and what that calls."""
    script = f"import os, socket, time\nfrom disco.handlers import attempt, commands, wait\n{code}\ncommands.wait()"
    return (sys.executable, "-c", script)


def test_names_that_are_not_known(start: Callable[..., Waiting]) -> None:
    """A name that cannot be resolved is a state like any other, and is not shown; so is one that cannot be a name."""
    for host in ("hunter2.invalid", "hunter2..invalid", "hunter2" * 10):
        waiting = start("tcp://{/db/host}:1", "--timeout", "1s", data={"db": {"host": host}})
        assert waiting.end() == 1
        assert waiting.lines[0].startswith("tcp://{/db/host}:1: the name cannot be resolved: ")
        assert SECRET not in "".join(waiting.lines)


def test_a_timeout_before_any_answer(start: Callable[..., Waiting]) -> None:
    """A timeout shorter than an attempt says that there was no answer, not that there was no attempt."""
    with be_silent() as port:
        waiting = start(f"tcp://127.0.0.1:{port}", "--timeout", "300ms")
        assert waiting.end() == 1
    assert waiting.lines == [f"gave up after 300 ms: tcp://127.0.0.1:{port} (no answer yet)"]


def test_the_timeout(start: Callable[..., Waiting]) -> None:
    """After the timeout it exits with 1, and its last line names what is still not there and why."""
    waiting = start("file:/", "file:a", "unix:b", "--timeout", "300ms")
    assert waiting.end() == 1
    why = "No such file or directory"
    assert waiting.lines[-1] == f"gave up after 300 ms: file:a ({why}), unix:b ({why})"


@pytest.mark.parametrize(
    ("data", "words", "status", "line"),
    [
        ({}, ["tcp://{/db/host}:1"], 65, "/db/host is not in the input"),
        ({"db": {"host": [SECRET]}}, ["tcp://{/db/host}:1"], 65, "{/db/host} is neither text nor a whole number"),
        (b"[1]", ["tcp://{/0}:1"], 65, "stdin is no JSON object"),
        (b"hunter2", ["tcp://{/0}:1"], 65, "stdin is no JSON object"),
        (b"\xff", ["tcp://{/0}:1"], 65, "stdin is no JSON object"),
        (b"[" * 100_000, ["tcp://{/0}:1"], 65, "stdin is no JSON object"),
        (None, [], 64, "no URL to wait for; 'disco-wait -h' shows how it is used"),
        (None, ["file:/", "--time", "1"], 64, "option --time not recognized; 'disco-wait -h' shows how it is used"),
        (None, ["file:/", "--timeout"], 64, "option --timeout requires argument; 'disco-wait -h' shows how it is used"),
        (None, ["file:/", "--timeout", "1x"], 64, "--timeout takes a duration like 1, 0.5, 500ms, 2m or 1h, of at most 120h"),
        (None, ["a:1"], 64, f"a:1 is none of {target.FORMS}"),
    ],
)  # fmt: skip
def test_wrong_words_and_data(start: Callable[..., Waiting], data: Any, words: list[str], status: int, line: str) -> None:
    """Wrong data is 65, a wrong command line 64, with one line; no value is in it."""
    waiting = start(*words, data=data)
    assert waiting.end() == status
    assert waiting.lines == [line]


def test_help(start: Callable[..., Waiting]) -> None:
    """-h prints how it is used."""
    waiting = start("-h")
    assert waiting.end() == 0
    assert waiting.lines[0] == "usage: disco-wait URL... [--timeout DURATION]"


def test_in_a_rule(site: Site) -> None:
    """As a handler it waits for what the data names; the log has its lines, and no value."""
    (port,) = free_ports(1)
    site.simple({"host": "127.0.0.1", "port": port})
    site.rules({"when": "app", "do": "disco-wait tcp://{/app/host}:{/app/port}", "name": "wait"})
    running = site.start()
    running.wait_for(r"rule wait: disco-wait: tcp://\{/app/host\}:\{/app/port\}: Connection refused")
    with socket.create_server(("127.0.0.1", port)):
        assert running.wait() == 0
    assert running.output == "done\n"
    assert str(port) not in running.log.replace(f"[{port}]", "")
    assert "127.0.0.1" not in running.log


def test_sigterm_ends_it(site: Site) -> None:
    """While it waits as a handler, SIGTERM ends disco at once."""
    site.simple({"port": free_ports(1)[0]})
    site.rules({"when": "app", "do": "disco-wait tcp://127.0.0.1:{/app/port}", "name": "wait"})
    site.cfg["disco.grace"] = "1h"
    running = site.start()
    running.wait_for("Connection refused")
    running.process.terminate()
    assert running.wait() == 128 + 15
