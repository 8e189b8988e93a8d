"""TLS of the etcd source: its files, and why it fails."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
from lab.servers import make_certificates

from tests.sources.etcd.reader import HUSH, Reader
from tests.sources.etcd.servers import secure, serving

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from lab.etcd_server import EtcdServer


def test_tls(start: Callable[..., EtcdServer], read: Callable[..., Reader], tmp_path: Path) -> None:
    """TLS with a CA and a client's certificate works, with a login too; whatever is wrong with it is told."""
    good, other = make_certificates(tmp_path / "good"), make_certificates(tmp_path / "other", "DNS:elsewhere.example")
    server = start(certificates=good, client_certificates=True)
    secure(server)
    client = f"cert={good}/client.pem key={good}/client.key"
    login = f"user=ann password={HUSH}-ann"
    reader = read(server, f"prefix=app ca_cert={good}/ca.pem {client} {login}")
    assert reader.watched() == {"mysql": {"host": "db1"}}
    server.put("app/mysql/host", "db2")
    assert reader.data() == {"mysql": {"host": "db2"}}
    named = read(server, f"host=localhost prefix=app ca_cert={good}/ca.pem {client} {login}")
    assert named.data() == {"mysql": {"host": "db2"}}
    start_of = f"cannot connect to {server.address}: "
    wrongs = {
        f"ca_cert={good}/ca.pem": "TLS: the server does not accept the client certificate, or asks for one (cert, key)",
        f"ca_cert={good}/ca.pem cert={other}/client.pem key={other}/client.key": "TLS: the server does not accept the client",
        f"ca_cert={other}/ca.pem {client}": "TLS: certificate is not signed by a trusted authority (ca_cert)",
        f"ca_cert={good}/ca.pem cert={good}/client.pem key={other}/client.key": "TLS: key does not belong to cert",
        f"ca_cert={good}/ca.key {client}": "TLS: ca_cert holds no certificate",
        f"ca_cert={good}/ca.pem cert={good}/client.key key={good}/client.key": "TLS: cert or key is no PEM file",
        "": "the connection was closed (if the server wants TLS, set ca_cert)",
    }
    readers = {read(server, f"prefix=app {pairs}"): reason for pairs, reason in wrongs.items()}
    for wrong, reason in readers.items():
        assert wrong.error().startswith(start_of + reason)


def test_tls_files(read: Callable[..., Reader], tmp_path: Path) -> None:
    """A file for TLS that is missing, no regular file, too large or encrypted is told at once, with its option."""
    make_certificates(tmp_path)
    encrypt = ["openssl", "pkcs8", "-topk8", "-in", "client.key", "-out", "locked.key", "-passout", "pass:x"]
    subprocess.run(encrypt, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    client = f"ca_cert={tmp_path}/ca.pem cert={tmp_path}/client.pem key={tmp_path}/locked.key"
    reason = "is encrypted, and disco cannot ask for its password: store it unencrypted"
    assert read(None, client).error() == f"key: {tmp_path}/locked.key: {reason}"
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"\n" * ((1 << 20) + 1))
    for name, reason in (
        ("nope", "No such file or directory"),
        ("fifo", "not a regular file"),
        ("large", "larger than 1024 KiB"),
    ):
        path = tmp_path / name
        assert read(None, f"ca_cert={path}").error() == f"ca_cert: {path}: {reason}"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=str)
def test_tls_refused_certificate(read: Callable[..., Reader], tmp_path: Path, version: ssl.TLSVersion) -> None:
    """A client's certificate of an authority that the server does not trust, and none at all, are told as refused."""
    good, other = make_certificates(tmp_path / "good"), make_certificates(tmp_path / "other")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=f"{good}/ca.pem")
    tls.load_cert_chain(f"{good}/server.pem", f"{good}/server.key")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.minimum_version = tls.maximum_version = version
    tls.set_alpn_protocols(["h2"])

    def answer(connection: socket.socket, _number: int) -> None:
        with tls.wrap_socket(connection, server_side=True):
            pass

    with serving(answer) as port:
        # With TLS 1.2 OpenSSL's word for a missing one has other meanings, too.
        none = [""] if version is ssl.TLSVersion.TLSv1_3 else []
        for pairs in (f"cert={other}/client.pem key={other}/client.key", *none):
            reason = read(None, f"port={port} ca_cert={good}/ca.pem {pairs}").error()
            assert reason.endswith("TLS: the server does not accept the client certificate, or asks for one (cert, key)")


def drip(connection: socket.socket, start: str) -> None:
    """Send bytes of hexadecimal form, then for ever a zero now and then."""
    connection.sendall(bytes.fromhex(start))
    connection.settimeout(0.2)
    while True:
        with contextlib.suppress(TimeoutError):
            while connection.recv(1 << 16):
                pass
        connection.sendall(b"\0")


def test_dripping(read: Callable[..., Reader], tmp_path: Path) -> None:
    """Servers whose answer, or whose handshake, drips in byte by byte are given up in time, and do not add up."""
    certificates = make_certificates(tmp_path)

    def answer(connection: socket.socket, number: int) -> None:
        if number % 2:  # gRPC's own connection, after which disco looks into TLS
            return
        drip(connection, "16 0303 4000 02 003ffc 0303")  # a handshake's longest record (RFC 8446, 5.1 and 4.1.3)

    with serving(answer) as port:
        endpoints = ",".join([f"127.0.0.1:{port}"] * 6)
        reader = read(None, f"endpoints={endpoints} timeout=3 ca_cert={certificates}/ca.pem", limit=9)
        reasons = reader.next()["error"].split("; ")  # not the step's limit, which is for three such
        assert reasons == [f"cannot connect to 127.0.0.1:{port}: the connection was closed"] * 6
    with serving(lambda connection, _: drip(connection, "000000 04 00 00000000 003fff 00 00 00000001")) as port:
        reader = read(None, f"port={port} timeout=1")
        assert re.search("no answer within 1 s|it no longer answers", reader.error())


def test_tls_wrong_name(start: Callable[..., EtcdServer], read: Callable[..., Reader], tmp_path: Path) -> None:
    """A certificate for another name is refused, and TLS with a server that has none ends with a reason."""
    certificates = make_certificates(tmp_path / "certificates", "DNS:elsewhere.example")
    server = start("tls", certificates=certificates)
    reason = f"cannot connect to {server.address}: TLS: certificate is for another name"
    assert read(server, f"ca_cert={certificates}/ca.pem").error() == reason
    plain = start("plain")
    reason = f"cannot connect to {plain.address}: TLS: the connection was closed (if the server does not use TLS, remove ca_cert)"
    assert read(plain, f"ca_cert={certificates}/ca.pem").error() == reason
