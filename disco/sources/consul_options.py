"""Options of the Consul source that need more than a type: where Consul is, who asks, and what is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from disco.named import NamedTuple
from disco.sources.options import boolean, words

if TYPE_CHECKING:
    from disco.sources.options import Options


class Address(NamedTuple):
    """Where Consul is: an IPv6 host in brackets, as URLs want it."""

    scheme: str
    host: str
    port: int


def split_host(value: str) -> tuple[str, str, int | None, tuple[str, str] | None]:
    """Return scheme, host, port and user of a host, `host:port` or a URL: empty or None what is not in it."""
    scheme, _, rest = value.rpartition("://")
    why = " (a socket, unix://, cannot be used)" if scheme.lower() == "unix" else ""
    expected = ValueError(f"a host, host:port or a URL like http://host:port{why}")
    if rest.count(":") > 1 and "[" not in rest and "@" not in rest:
        rest = f"[{rest}]"  # a bare IPv6 address
    try:
        url = urlsplit(f"//{rest}")
        host, number = url.hostname or "", url.port
    except ValueError:
        raise expected from None
    named = re.fullmatch(r"[\w.-]+", host)
    if not named and not re.fullmatch(r"[0-9a-f:.]*:[0-9a-f:.]*(%[\w.-]+)?", host):
        raise expected
    if scheme.lower() not in {"", "http", "https"} or url.path.strip("/") or url.query or url.fragment or number == 0:
        raise expected
    user = None
    if url.username is not None:
        user = (_encode(unquote(url.username)), _encode(unquote(url.password or "")))
    return scheme.lower(), host if named else f"[{host}]", number, user


def locate(options: Options) -> Address:
    """Return where Consul is: explicit options before the environment, `port` and `scheme` before what `host` says."""
    scheme, host, number, _ = split_host(options["host"])
    if "port" in options.explicit or number is None:
        number = options["port"]
    if "scheme" in options.explicit or not (scheme and "host" in options.explicit):
        scheme = options["scheme"] or scheme or "http"
    return Address(scheme, host, number)


def find_user(options: Options) -> tuple[str, str] | None:
    """Return user and password for a proxy in front of Consul: of `auth`, of `host`, or of the environment's, in this order."""
    *_, user = split_host(options["host"])
    auth = options["auth"]
    if not auth or (user and not {"auth", "auth_file"} & options.explicit):
        return user
    name, _, password = auth.partition(":")
    return _encode(name), _encode(password)


def _encode(text: str) -> str:
    """Return what requests, which sends text as Latin-1, makes UTF-8 of: servers expect that."""
    return text.encode().decode("latin-1")


def take_host(value: str) -> str:
    """Take a host, `host:port` or a URL."""
    split_host(value)
    return value


def take_scheme(value: str) -> str:
    """Take a scheme, or the boolean of CONSUL_HTTP_SSL."""
    if value in {"http", "https"}:
        return value
    try:
        return "https" if boolean(value) else ""
    except ValueError:
        raise ValueError("http or https") from None


def take_prefix(value: str) -> str:
    """Take a prefix of keys, without the slashes around it."""
    if {".", ".."} & set(value.split("/")):  # they would be taken out of the URL, and another prefix be read
        raise ValueError("a prefix without . and .. between its slashes")
    return value.strip("/")


def take_services(value: str) -> tuple[tuple[str, str], ...]:
    """Take `web,db=pg`: interfaces, each with its service if that has another name."""
    pairs = []
    for word in words(value):
        interface, _, service = (part.strip() for part in word.partition("="))
        pairs.append((interface, service or interface))
    # A service's name becomes a part of a URL; nothing else that Consul's templates and DNS know (tag, datacenter) is in it.
    good = all(interface and re.fullmatch(r"[\w-][\w.-]*", service) for interface, service in pairs)
    if not good or len(dict(pairs)) < len(pairs):
        raise ValueError("services like web,db=pg, each interface once, of letters, digits, '_', '.' and '-'")
    return tuple(pairs)


def describe_target(options: Options, part: str) -> str:
    """Return what a process reads, for people."""
    if part:
        return f"service {dict(options['services'])[part]!r}"
    return f"key prefix {options['prefix'] + '/'!r}" if options["prefix"] else "all keys"
