"""The HTTP client of sources, by way of the Consul source: what it refuses, and how it explains failures."""

from __future__ import annotations

import base64
import contextlib
import gzip
import os
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from tests.sources.consul.fake import Fake, Reply
from tests.sources.consul.follower import PATIENCE, SECRET, Follow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_retry_after_is_handed_on(follow: Follow) -> None:
    """The server's Retry-After is handed on, as seconds or as a date; nonsense is none."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=1000), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=1000), usegmt=True)
    replies = [Reply(status=429, headers={"Retry-After": value}) for value in ("7", date, past, "soon")]
    with Fake(*replies, Reply(status=503)) as fake:
        errors = [follow(fake.pairs).fail() for _ in range(5)]
    assert str(errors[0]) == "answered 429 too many requests"
    waits = [error.retry_after for error in errors]
    assert waits[0] == 7
    assert waits[1] is not None
    assert 500 < waits[1] <= 1000
    assert waits[2:] == [0, None, None]


def test_a_body_that_is_an_error_is_not_shown(follow: Follow) -> None:
    """Of an error's body only known phrases are told, in disco's own words."""
    with Fake(Reply(b"No cluster leader", 500), Reply(b"hunter2", 500), Reply(b"hunter2", 418), Reply(b"", 599)) as fake:
        reasons = [str(follow(fake.pairs).fail()) for _ in range(4)]
    assert reasons == [
        "Consul has no cluster leader (are enough of its servers up?)",
        "answered 500 internal server error",
        "answered 418 i'm a teapot",
        "answered 599",
    ]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(follow: Follow, status: int) -> None:
    """A redirect is an error that names the other host alone, which never sees the token."""
    with Fake() as other:
        target = f"http://joe:hunter2@localhost:{other.server_port}/hunter2?hunter2"
        with Fake(Reply(b"", status, headers={"Location": target})) as fake:
            reason = str(follow(f"{fake.pairs}:consul.token={SECRET}").fail())
    assert reason == f"answered {status}, a redirect to localhost, which is not followed"
    assert not other.requests
    assert len(fake.requests) == 1


def test_the_body_of_a_redirect_is_not_read(follow: Follow) -> None:
    """A redirect, or an error, with an endless body ends at once."""
    for status in (302, 500, 404):
        with Fake(Reply(status=status, headers={"Location": "/x"}, chunks=endless(b"x" * 4096), index=None)) as fake:
            assert f"answered {status}" in str(follow(fake.pairs).fail())


def endless(chunk: bytes) -> Iterator[bytes]:
    while True:
        yield chunk


def test_an_endless_body_is_refused(follow: Follow) -> None:
    """A body without end is given up at the limit, which the error names."""
    with Fake(Reply(chunks=endless(b" " * (1 << 20)))) as fake:
        assert str(follow(fake.pairs).fail()).startswith("answered with more than 32 MiB: ")


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "gzip, gzip", "GZIP", "hunter2" * 50])
def test_compression_that_nobody_asked_for_is_refused(follow: Follow, encoding: str) -> None:
    """Nothing is ever decompressed: identity was asked for, and 32 KB may be 800 MB."""
    bomb = gzip.compress(gzip.compress(b"[" + b" " * (1 << 20) + b"]"))
    with Fake(Reply(bomb, headers={"Content-Encoding": encoding}), Reply(headers={"Content-Encoding": "identity"})) as fake:
        reason = str(follow(fake.pairs).fail())
        assert follow(fake.pairs).step() == {"web": {"port": "80"}}
    shown = encoding if len(encoding) < 20 else encoding[:20] + "…"
    assert reason == f"answered with Content-Encoding {shown}, which was not asked for: is a proxy in between?"
    with Fake(Reply(bomb, 503, headers={"Content-Encoding": encoding})) as fake:
        assert str(follow(fake.pairs).fail()) == "answered 503 service unavailable"


@pytest.mark.parametrize("item", ["{},", "[],", '{"a":{"b":[]}},'])
def test_many_tiny_things_are_refused(follow: Follow, item: str) -> None:
    """A body within its limit does not become many times as large when it is parsed."""
    with Fake(Reply(b"[" + item.encode() * (1 << 20) + b"0]")) as fake:
        assert str(follow(fake.pairs).fail()) == (
            "answered with JSON of more than 2000000 parts: narrow what is read (a longer prefix)"
        )


@pytest.mark.parametrize("where", ["body", "headers", "blocking"])
def test_one_request_has_one_deadline(follow: Follow, where: str) -> None:
    """A request ends after `timeout`, a blocking one after its wait besides, though each byte of the answer drips in in time."""

    def drip() -> Iterator[bytes]:
        while True:
            time.sleep(0.05)
            yield b" "

    answered = [Reply()] if where == "blocking" else []
    dripping = Reply(before=drip()) if where == "headers" else Reply(chunks=drip())
    with Fake(*answered, dripping) as fake:
        follower = follow(f"{fake.pairs}:consul.timeout=500ms:consul.wait=1s")
        for _ in answered:
            follower.step()
        assert str(follower.fail()) == f"no answer within {'1.56 s' if answered else '500 ms'}"
        assert fake.ended.acquire(timeout=PATIENCE)  # the connection was closed


def test_a_server_that_shakes_no_hands(follow: Follow) -> None:
    """A port that accepts connections and says nothing is told as that, with TLS and without."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        common = f"consul.host={where}:consul.timeout=200ms"
        assert str(follow(common).fail()) == "no answer within 200 ms"
        secure = f"{common}:consul.scheme=https"
        assert str(follow(secure).fail()) == f"cannot connect to {where}: no TLS handshake within 100 ms"


def test_closing_closes_the_connection(follow: Follow) -> None:
    """A generator that is closed, or failed, leaves no connection behind."""
    with Fake(Reply(), Reply(), Reply(status=500)) as fake:
        follower = follow(fake.pairs)
        follower.step()
        follower.close()
        assert fake.ended.acquire(timeout=PATIENCE)
        follower = follow(fake.pairs)
        follower.step()
        follower.fail()
        assert fake.ended.acquire(timeout=PATIENCE)


def test_the_environment_of_the_process_is_not_seen(follow: Follow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The token goes in its header alone; no proxy, no netrc, no CONSUL_ variable of the process has a say."""
    (tmp_path / ".netrc").write_text("default login joe password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "wrong")
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    with Fake(Reply()) as fake:
        follow(f"{fake.pairs}:consul.token={SECRET}").step()
        follow(fake.pairs).step()
    first, second = fake.requests
    assert first.headers["X-Consul-Token"] == SECRET
    assert SECRET not in repr(first.query) + first.path
    assert "Authorization" not in first.headers
    assert "X-Consul-Token" not in second.headers


def test_a_users_name_in_the_url_is_basic_authentication(follow: Follow) -> None:
    """A user and password in the URL are those of a proxy in front of Consul."""
    with Fake(Reply()) as fake:
        follow(f"consul.host=http\\://joe\\:p%40ss-ä@127.0.0.1\\:{fake.server_port}").step()
    expected = "Basic " + base64.b64encode("joe:p@ss-ä".encode()).decode()
    assert fake.requests[0].headers["Authorization"] == expected


@pytest.mark.parametrize("token", ["hunter2\nX-Evil: 1", "hunter2-ä", "hunter2\x00"])
def test_a_token_that_no_header_can_hold_is_not_shown(follow: Follow, tmp_path: Path, token: str) -> None:
    """A token with characters that a header cannot hold is an error that does not show it."""
    (tmp_path / "token").write_text(token)
    reason = str(follow(f"consul.token_file={tmp_path}/token").fail())
    assert reason == "the token holds a character that no token can have"


CLOSED_BY_TLS = b"\x15\x03\x03\x00\x02\x01\x00"  # the alert close_notify


@contextlib.contextmanager
def hanging_up(*words: bytes) -> Iterator[str]:
    """Give the address of a server that says one of the words to each client, and closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)

        def hang_up() -> None:
            for word in words:
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(word)

        with ThreadPoolExecutor(1) as threads:
            done = threads.submit(hang_up)
            yield f"127.0.0.1:{server.getsockname()[1]}"
            done.result()


def test_a_connection_that_ends_without_an_answer(follow: Follow) -> None:
    """A connection that is closed before anything was answered is told with what the reason may be."""
    with hanging_up(b"", b"", CLOSED_BY_TLS) as where:
        reason = f"{where} closed the connection without an answer (has this address more than 200 of them to Consul?)"
        assert str(follow(f"consul.host={where}").fail()) == reason
        for _ in range(2):
            assert str(follow(f"consul.host={where}:consul.scheme=https").fail()) == reason


def test_a_connection_that_ends_later(follow: Follow) -> None:
    """A connection that had served before is closed for other reasons than its being one too many."""
    with Fake(Reply(), Reply(status=0)) as fake:
        follower = follow(fake.pairs)
        follower.step()
        assert str(follower.fail()) == f"127.0.0.1:{fake.server_port} closed the connection"
    with Fake(Reply(headers={"Content-Length": "100"}, chunks=iter([b"[]"]))) as fake:
        assert str(follow(fake.pairs).fail()) == "answered with incomplete or invalid HTTP"


def test_files_for_tls_that_cannot_be_used(certificates: Path, follow: Follow, tmp_path: Path) -> None:
    """An encrypted key, a file that is none and one without end are told by option and file, without a connection."""
    key = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", f"{certificates}/client.key", "-aes256", "-passout", "pass:hunter2", "-out", str(key)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    os.mkfifo(tmp_path / "fifo")
    common = f"consul.host=https\\://127.0.0.1\\:1:consul.cert={certificates}/client.pem"
    locked = f"key: {key}: is encrypted, and disco cannot ask for its password: store it unencrypted"
    assert str(follow(f"{common}:consul.key={key}").fail()) == locked
    assert str(follow(f"{common}:consul.key={tmp_path}/fifo").fail()) == f"key: {tmp_path}/fifo: not a regular file"
    assert str(follow(f"{common}:consul.ca_cert=/dev/zero").fail()) == "ca_cert: /dev/zero: not a regular file"
    both = tmp_path / "both.pem"
    both.write_bytes((certificates / "client.pem").read_bytes() + key.read_bytes())
    assert str(follow(f"consul.host=https\\://127.0.0.1\\:1:consul.cert={both}").fail()) == locked.replace(
        f"key: {key}", f"cert: {both}"
    )
    (tmp_path / "text.pem").write_text("hunter2")
    error = str(follow(f"{common}:consul.key={tmp_path}/text.pem").fail())
    assert error == "cannot connect to 127.0.0.1:1: connection refused"


def test_ipv6(follow: Follow) -> None:
    """IPv6 hosts work, with and without brackets, and are named in brackets."""
    try:
        fake = Fake(Reply(), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with fake:
        port = fake.server_port
        for pairs in (f"consul.host=\\:\\:1:consul.port={port}", f"consul.host=[\\:\\:1]\\:{port}"):
            assert follow(pairs).step() == {"web": {"port": "80"}}
    assert str(follow(f"consul.host=http\\://[\\:\\:1]\\:{port}").fail()).startswith(f"cannot connect to [::1]:{port}: ")


def test_a_name_that_does_not_resolve(follow: Follow) -> None:
    """A name that does not resolve is told as that."""
    assert str(follow("consul.host=a..b").fail()) == "a..b:8500 is not a valid address"
    reason = str(follow("consul.host=no-such-host.invalid").fail())
    assert reason == "cannot connect to no-such-host.invalid:8500: its name does not resolve"
