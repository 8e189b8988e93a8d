"""A name server that does not answer, a network that can be cut, and a TLS server's certificates.

All of it is on loopback, or between this machine and a network namespace made for it; `close` closes or removes it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import subprocess
import threading
from typing import TYPE_CHECKING

from lab.servers import sign_certificate

from faults_lab.errors import MissingError

if TYPE_CHECKING:
    from pathlib import Path


class Resolver:
    """A name server on a loopback address that says 127.0.0.1 to every question, or nothing."""

    def __init__(self) -> None:
        """Listen; raise MissingError where port 53 may not be taken."""
        self.is_silent = False
        self.hits = 0  # questions that were not answered
        self.address = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((self.address, 53))
        except OSError as error:
            self._socket.close()
            raise MissingError(f"port 53 on loopback: {error.strerror}") from None
        self._socket.settimeout(0.2)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                question, client = self._socket.recvfrom(4096)
            except OSError:
                continue
            if self.is_silent:
                self.hits += 1
            else:
                self._socket.sendto(self._answer(question), client)

    @staticmethod
    def _answer(question: bytes) -> bytes:
        """Return the answer (RFC 1035, 4.1): an address to a question for one of IPv4, nothing to any other."""
        end = question.index(b"\0", 12) + 5
        kind, a_record = struct.unpack(">H", question[end - 4 : end - 2])[0], 1
        records = struct.pack(">HHHLH", 0xC00C, a_record, 1, 1, 4) + bytes([127, 0, 0, 1]) if kind == a_record else b""
        return question[:2] + struct.pack(">HHHHH", 0x8180, 1, bool(records), 0, 0) + question[12:end] + records


def with_resolver(file: Path) -> list[str]:
    """Return the words before a command by which it sees this file as /etc/resolv.conf; raise MissingError if that cannot be."""
    script = f'mount --bind "{file}" /etc/resolv.conf && exec "$@"'
    for words in (["unshare", "-m"], ["unshare", "-r", "-m"]):
        command = [*words, "sh", "-c", script, "sh"]
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "true"], capture_output=True, timeout=10, check=False).returncode == 0:
                return command
    raise MissingError("no mount namespace with an own /etc/resolv.conf (needs root or user namespaces)")


class Network:
    """A network namespace, and a cable to it: `inside` are the words before a command that is to run there."""

    _count = 0

    def __init__(self) -> None:
        """Make both; raise MissingError where that is not allowed."""
        Network._count += 1
        number = (os.getpid() + Network._count) % 16384  # in 198.18.0.0/16, which is for such tests (RFC 2544)
        net = f"198.18.{number >> 6}.{(number & 63) << 2}"
        self.host, self._guest = (f"{net.rpartition('.')[0]}.{int(net.rpartition('.')[2]) + n}" for n in (1, 2))
        self._name = f"faults-{os.getpid()}-{Network._count}"
        self._cable = f"df{os.getpid()}x{Network._count}"[-15:]
        self.inside = ["ip", "netns", "exec", self._name]
        try:
            _ip("netns", "add", self._name)
            _ip("link", "add", self._cable, "type", "veth", "peer", "name", "disco0", "netns", self._name)
            _ip("addr", "add", f"{self.host}/30", "dev", self._cable)
            _ip("link", "set", self._cable, "up")
            _ip("-n", self._name, "addr", "add", f"{self._guest}/30", "dev", "disco0")
            _ip("-n", self._name, "link", "set", "disco0", "up")
            _ip("-n", self._name, "link", "set", "lo", "up")
        except (OSError, subprocess.SubprocessError) as error:
            self.close()
            words = getattr(error, "stderr", "") or str(error)
            raise MissingError(f"no network namespace: {words.strip().splitlines()[0]}") from None

    def cut(self) -> None:
        """Drop all packets, both ways: they are sent to an Ethernet address that nobody has."""
        nobody = ("lladdr", "02:00:00:00:00:fe", "nud", "permanent")
        _ip("neigh", "replace", self._guest, *nobody, "dev", self._cable)
        _ip("-n", self._name, "neigh", "replace", self.host, *nobody, "dev", "disco0")

    def mend(self) -> None:
        """Deliver packets again."""
        _ip("neigh", "del", self._guest, "dev", self._cable)
        _ip("-n", self._name, "neigh", "del", self.host, "dev", "disco0")

    def close(self) -> None:
        """Remove the namespace, and with it the cable."""
        for words in (("link", "del", self._cable), ("netns", "del", self._name)):
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                _ip(*words)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, text=True, timeout=10, check=True)


def sign(folder: Path, name: str, host: str, days: int = 2) -> ssl.SSLContext:
    """Return a server's TLS with a certificate for this host by the authority in `folder` (see `make_certificates`)."""
    try:
        sign_certificate(folder, name, f"subjectAltName={host}", days)
    except subprocess.CalledProcessError as error:
        raise MissingError(f"openssl {error.cmd[1]}: {error.stderr.strip().splitlines()[-1]}") from None
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    tls.set_alpn_protocols(["h2", "http/1.1"])  # gRPC insists on it
    return tls
