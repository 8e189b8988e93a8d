"""Options of the Consul source that need more than a type: where Consul is, who asks, and what is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from disco.named import NamedTuple
from disco.sources.options import boolean, words
from disco.text import nearest

if TYPE_CHECKING:
    from disco.sources.options import Options


class Address(NamedTuple):
    """Where Consul is: an IPv6 host in brackets, as URLs want it."""

    scheme: str
    host: str
    port: int


class Service(NamedTuple):
    """A service, the interface that it becomes, and which of its instances count: those with all tags, of one datacenter.

    dc: empty for the one of the option `dc`.
    """

    interface: str
    name: str
    tags: tuple[str, ...] = ()
    dc: str = ""


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


def take_services(value: str) -> tuple[Service, ...]:
    """Take `web,db=pg,mail=smtp?tag=a&tag=b&dc=dc2`: interfaces, each with its service if that has another name, and its filter."""
    services = []
    for number, word in enumerate(words(value), 1):
        names, question, parameters = word.partition("?")
        interface, _, name = (part.strip() for part in names.partition("="))
        tags, dc = _take_filter(parameters, number) if question else ((), "")
        services.append(Service(interface, name or interface, tags, dc))
    # A service's name becomes a part of a URL.
    is_right = all(service.interface and re.fullmatch(r"[\w-][\w.-]*", service.name) for service in services)
    if not is_right or len({service.interface for service in services}) < len(services):
        raise ValueError("services like web,db=pg, each interface once, of letters, digits, '_', '.' and '-'")
    return tuple(services)


def _take_filter(parameters: str, number: int) -> tuple[tuple[str, ...], str]:
    """Return tags and datacenter of `tag=a&tag=b&dc=dc2`; number: the service's in the list, which is named in an error."""
    values: dict[str, list[str]] = {"tag": [], "dc": []}
    for parameter in parameters.split("&"):
        name, _, value = (part.strip() for part in parameter.partition("="))
        if name not in values:
            hint = nearest(name, values, "")
            raise ValueError(f"no parameter but tag and dc after the ? of service {number}" + (f" ({hint})" if hint else ""))
        values[name].append(unquote(value))
    if not all(map(all, values.values())) or len(values["dc"]) > 1:
        raise ValueError(f"parameters like tag=http&dc=dc2 after the ? of service {number}, dc once at most")
    return tuple(values["tag"]), "".join(values["dc"])


def find_service(options: Options, part: str) -> Service | None:
    """Return the service that a process reads; None if it reads keys."""
    return next((service for service in options["services"] if service.interface == part), None)


def describe_filter(service: Service) -> str:
    """Return which instances of a service count, for people; empty if all do."""
    tags = ("tag " if len(service.tags) == 1 else "tags ") + ", ".join(map(repr, service.tags))
    return f" with {tags}" * bool(service.tags) + f" in datacenter {service.dc!r}" * bool(service.dc)


def describe_target(options: Options, part: str) -> str:
    """Return what a process reads, for people."""
    if service := find_service(options, part):
        return f"service {service.name!r}{describe_filter(service)}"
    return f"key prefix {options['prefix'] + '/'!r}" if options["prefix"] else "all keys"
