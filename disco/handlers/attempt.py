"""One attempt to reach a target: each ends within a time, whatever the other side does, but where the C library itself hangs.

The result is in words that hold no value: no host, no address, nothing that a server has sent but its status.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

    from disco.handlers.target import Target

TIME_LIMIT = 5.0  # seconds for one attempt
ANSWER_LIMIT = 4096  # bytes of an answer that are read, for its status
_STATUS = re.compile(rb"HTTP/[0-9.]{1,3} ([1-5][0-9]{2})\b")
_HEADERS = ("User-Agent: disco-wait", "Accept: */*", "Connection: close")
_SILENT = f"no answer within {TIME_LIMIT:g} s"
# Of OpenSSL's X.509 errors those whose text names the host.
_MISMATCHES = {62: "the certificate is another host's", 64: "the certificate is another address's"}


def attempt(target: Target) -> str:
    """Return why a target is not there; empty if it is."""
    deadline = time.monotonic() + TIME_LIMIT
    try:
        match target.scheme:
            case "file":
                os.stat(target.path)  # noqa: PTH116 -- a path as it was given
                return ""
            case "unix":
                return _reach_socket(target.path)
            case _:
                return _reach_port(target, deadline)
    except (OSError, UnicodeError) as error:
        return explain(error)


def explain(error: OSError | UnicodeError) -> str:
    """Return why something could not be reached; of the exception's own text nothing is taken that may hold a value."""
    if isinstance(error, TimeoutError):
        return _SILENT
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    if isinstance(error, UnicodeError):  # of the name's encoding for the resolver
        return "the name cannot be resolved: a part of it is empty or too long"
    if reason := _explain_tls(error):
        return reason
    if isinstance(error, BlockingIOError):
        return "its queue of connections is full"
    return os.strerror(error.errno) if error.errno else "the connection was closed"


def _explain_tls(error: Exception) -> str:
    """Return why TLS failed; empty if the error is none of TLS."""
    if "ssl" not in sys.modules:  # it is loaded only where it is needed
        return ""
    import ssl  # noqa: PLC0415 -- as above

    if isinstance(error, ssl.SSLCertVerificationError):
        return _MISMATCHES.get(error.verify_code) or f"the certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'the connection was closed'})"
    return ""


def _reach_socket(path: str) -> str:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as connection:
            connection.settimeout(TIME_LIMIT)
            try:
                connection.connect(path)
            except OSError as error:
                if error.errno == errno.EPROTOTYPE:  # a socket of another kind
                    continue
                raise
            return ""
    return os.strerror(errno.EPROTOTYPE)


def _reach_port(target: Target, deadline: float) -> str:
    """Try each address of a host in turn; return why the last one is not there."""
    failure: OSError = TimeoutError()
    addresses = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        share = (deadline - time.monotonic()) / (len(addresses) - number)  # a silent address leaves time for the next
        if share <= 0:
            break
        with socket.socket(family, kind, protocol) as connection:
            connection.settimeout(share)
            try:
                connection.connect(address)
            except OSError as error:
                failure = error
                continue
            if target.scheme == "tcp":
                return ""
            return _ask(connection, target, deadline)
    return explain(failure)


def _ask(connection: socket.socket, target: Target, deadline: float) -> str:
    """Send an HTTP request; return what is wrong with the answer's status."""
    if target.scheme == "https":
        connection = _secure(connection, target.host, deadline)
    with connection:
        _limit(connection, deadline)
        connection.sendall(_request(target))
        answer = b""
        while b"\n" not in answer and len(answer) < ANSWER_LIMIT:
            _limit(connection, deadline)
            part = connection.recv(ANSWER_LIMIT)
            if not part:
                break
            answer += part
    match = _STATUS.match(answer)
    if not match:
        return "its answer is not HTTP" if answer else "it closes the connection without an answer"
    status = int(match[1])
    return "" if target.is_good(status) else f"it answers with status {status}"


def _request(target: Target) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = (f"GET {target.path} HTTP/1.1", f"Host: {host}:{target.port}", *_HEADERS, "", "")
    return "\r\n".join(lines).encode("ascii")


def _secure(connection: socket.socket, host: str, deadline: float) -> ssl.SSLSocket:
    import ssl  # noqa: PLC0415 -- it takes long, and only https needs it

    # Made anew each time: a handler may install the certificates meanwhile.
    context = ssl.create_default_context()
    _limit(connection, deadline)
    return context.wrap_socket(connection, server_hostname=host)


def _limit(connection: socket.socket, deadline: float) -> None:
    """Let the next call take no longer than until the deadline.

    Raises:
        TimeoutError: it has passed.

    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)
