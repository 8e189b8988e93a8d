"""TLS of sources: the files that it needs, and why it fails, from OpenSSL's codes or by a probe."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING

from disco.data import documents
from disco.errors import DocumentError, SourceError
from disco.text import escape

if TYPE_CHECKING:
    from pathlib import Path

    from disco.sources.options import Options

FILE_LIMIT = 1 << 20  # bytes; the certificates that a system trusts are a quarter of it
PROBE_LIMIT = 2.0  # seconds for finding out why TLS fails
# What Python makes of a connection that ends within TLS: which of the two, differs from version to version.
TLS_CLOSED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)

# OpenSSL's codes of what is wrong with a certificate (x509_vfy.h) → what people read.
_CERTIFICATE = {
    **dict.fromkeys((2, 18, 19, 20, 21), "certificate is not signed by a trusted authority (ca_cert)"),
    9: "certificate is not valid yet",
    10: "certificate has expired",
    23: "certificate is revoked",
    **dict.fromkeys((62, 64), "certificate is for another name"),
}
# OpenSSL's names of what went wrong → what people read.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
_NO_CLIENT = "the server does not accept the client certificate, or asks for one (cert, key)"
_REASONS = {
    **dict.fromkeys(("TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE", "TLSV1_ALERT_UNKNOWN_CA"), _NO_CLIENT),
    "KEY_VALUES_MISMATCH": "key does not belong to cert",
    "PEM_LIB": "cert or key is no PEM file",
    "NO_CERTIFICATE_OR_CRL_FOUND": "ca_cert holds no certificate",
}


def read_tls_file(name: str, file: Path) -> bytes:
    """Return the content of an option's file; raise SourceError where a TLS library would fail without saying which, or ask."""
    try:
        content = documents.read_file(file, FILE_LIMIT)
    except DocumentError as error:
        raise SourceError(f"{name}: {error}") from None
    if b"ENCRYPTED" in content:  # in the head of a key, of either form
        raise SourceError(f"{name}: {file}: is encrypted, and disco cannot ask for its password: store it unencrypted")
    return content


def explain_tls(error: BaseException, remedy: str) -> str:
    """Return what OpenSSL found wrong, empty if the exception is none of its own; remedy: what to do if there is no TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE.get(error.verify_code, f"certificate is not accepted (OpenSSL: {error.verify_code})")
    if isinstance(error, ssl.SSLError) and not isinstance(error, TLS_CLOSED):
        # OpenSSL 3 has no name for what is wrong with a PEM file, only a text.
        reason = error.reason or ("PEM_LIB" if "PEM lib" in str(error) else "handshake failed")
        if reason in _NO_TLS:
            return f"this port does not speak TLS: {remedy}"
        return _REASONS.get(reason, escape(reason.lower().replace("_", " "), 80))
    return ""


def find_tls_problem(endpoint: str, options: Options, until: float) -> str:
    """Return why TLS with a server fails where a library does not say it; empty if the probe does not see it in time.

    endpoint: HOST:PORT. options: of the source, with `ca_cert`, `cert` and `key`. until: monotonic seconds.
    """
    host, _, port = endpoint.rpartition(":")
    host = host.strip("[]")
    end = min(until, time.monotonic() + PROBE_LIMIT)

    def left() -> float:
        return max(end - time.monotonic(), 0.001)

    try:
        trust = ssl.create_default_context(cafile=options["ca_cert"])
        trust.verify_flags &= ~ssl.VERIFY_X509_STRICT  # gRPC is not as strict
        trust.set_alpn_protocols(["h2"])
        if options["cert"]:
            trust.load_cert_chain(options["cert"], options["key"], password=str)  # never ask the terminal
        with socket.create_connection((host, int(port)), left()) as plain:
            plain.settimeout(left())  # of the handshake as a whole
            with trust.wrap_socket(plain, server_hostname=host) as probe:
                probe.settimeout(left())
                probe.recv(1)  # with TLS 1.3 a client's certificate is refused after the handshake only
    except (ConnectionResetError, BrokenPipeError, *TLS_CLOSED):
        return "TLS: the connection was closed (if the server does not use TLS, remove ca_cert)"
    except ssl.SSLError as error:
        return f"TLS: {explain_tls(error, 'remove ca_cert')}"
    except OSError:
        pass  # the library's own words will do
    return ""
