"""Targets of disco-wait: which URLs there are, and what values can do in them."""

from __future__ import annotations

from typing import Any

import pytest

from disco.errors import DataError, UsageError
from disco.handlers import target

DATA = {
    "db": {
        "host": "10.0.0.1",
        "port": 5432,
        "text": "5432",
        "six": "fd00::1",
        "empty": "",
        "none": None,
        "true": True,
        "list": ["a"],
    },
    "web": {"path": "/a b/ü?x#y", "name": "a/b", "~/": "t", "new": "a\r\nX: y", "at": "a@b", "slash": "a/b:1", "half": "\ud800"},
    "nul": "a\0b",
    "long": "x" * 9000,
    "float": 1.5,
    "big": 70000,
}


def fill(url: str) -> target.Target:
    return target.fill(target.parse(url), DATA)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("tcp://a:1", ("tcp", "a", 1, "")),
        ("tcp://[::1]:1", ("tcp", "::1", 1, "")),
        ("tcp://{/db/host}:{/db/port}", ("tcp", "10.0.0.1", 5432, "")),
        ("tcp://{/db/six}:{/db/text}", ("tcp", "fd00::1", 5432, "")),
        ("tcp://[{/db/six}]:1", ("tcp", "fd00::1", 1, "")),
        ("tcp://db-{/db/port}.internal:1", ("tcp", "db-5432.internal", 1, "")),
        ("tcp://{/db/list/0}:1", ("tcp", "a", 1, "")),
        ("http://a", ("http", "a", 80, "/")),
        ("https://a", ("https", "a", 443, "/")),
        ("https://a:8443/b?c=d", ("https", "a", 8443, "/b?c=d")),
        ("http://a?b", ("http", "a", 80, "/?b")),
        ("http://a/{/web/name}/x", ("http", "a", 80, "/a/b/x")),
        ("http://a/{/web/path}", ("http", "a", 80, "//a%20b/%C3%BC%3Fx%23y")),
        ("http://a/?q={/web/name}", ("http", "a", 80, "/?q=a%2Fb")),
        ("http://a/{/web/new}", ("http", "a", 80, "/a%0D%0AX%3A%20y")),
        ("http://a/{/web/~0~1}", ("http", "a", 80, "/t")),
        ("unix:/run/a", ("unix", "", 0, "/run/a")),
        ("unix:///run/a", ("unix", "", 0, "/run/a")),
        ("unix:a", ("unix", "", 0, "a")),
        ("file:/a?b#c", ("file", "", 0, "/a?b#c")),
        ("file:/run/{/web/name}", ("file", "", 0, "/run/a/b")),
        ("file://{/web/name}", ("file", "", 0, "a/b")),
    ],
)
def test_what_a_url_stands_for(url: str, expected: tuple[Any, ...]) -> None:
    """A URL is taken apart, and values fill their places; those in an HTTP request are quoted."""
    found = fill(url)
    assert (found.scheme, found.host, found.port, found.path) == expected
    assert found.url == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "is none of tcp://HOST:PORT"),
        ("foo", "is none of"),
        ("tcp:a:1", "is none of"),
        ("ftp://a", "is none of"),
        ("{/a}://b", "is none of"),
        ("postgres://me:hunter2@a:1/b", "is none of"),
        ("tcp://a", "the port is missing"),
        ("tcp://:1", "the host is missing"),
        ("tcp://::1:1", None),
        ("tcp://[::1:1", "the host is missing"),
        ("tcp://[::1]1", "the host is missing"),
        ("tcp://a:0", "0 is no port from 1 to 65535"),
        ("tcp://a:65536", "65536 is no port"),
        ("tcp://a:x", "a port is one number or one pointer"),
        ("tcp://a:1/b", "tcp:// takes HOST:PORT alone"),
        ("tcp://a b:1", "a b is no host name"),
        ("tcp://a:1{/b}", "a port is one number or one pointer, and a path after it begins with /"),
        ("http://a:{/b}{/c}", "a port is one number or one pointer"),
        ("http://me:hunter2@a/", "a user or password is not sent"),
        ("http://a/b c", "write it as %XX"),
        ("http://a/ü", "write it as %XX"),
        ("http://a#", "after # stand the good statuses"),
        ("http://a#20", "after # stand the good statuses"),
        ("http://a#{/b}", "after # stand the good statuses"),
        ("file:", "the path is missing"),
        ("file://", "must begin with /"),
        ("file://host/x", "must begin with /"),
        ("unix:/" + "x" * 107, "is no path of at most 107 bytes"),
        ("tcp://{a}:1", "braces hold a JSON pointer"),
        ("tcp://{/a:1", "braces hold a JSON pointer"),
        ("tcp://{}:1", "braces hold a JSON pointer"),
    ],
)
def test_what_is_no_url(url: str, reason: str | None) -> None:
    """Anything else is refused with the reason; a password in it is not shown."""
    if reason is None:
        target.parse(url)
        return
    with pytest.raises(UsageError, match=reason.replace("[", "[[]")) as caught:
        target.parse(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("tcp://{/db/none}:1", "{/db/none} is neither text nor a whole number"),
        ("tcp://{/db/true}:1", "neither text nor"),
        ("tcp://{/db/list}:1", "neither text nor"),
        ("tcp://{/float}:1", "neither text nor"),
        ("tcp://{/db/empty}:1", "neither text nor"),
        ("tcp://{/db/nothing}:1", "/db/nothing is not in the input"),
        ("tcp://{/db/list/1}:1", "/db/list/1 is not in the input"),
        ("tcp://{/db/list/00}:1", "is not in the input"),
        ("tcp://{/db/list/-}:1", "is not in the input"),
        ("tcp://{/db/list/" + "1" * 5000 + "}:1", "is not in the input"),
        ("tcp://{/db/host/x}:1", "is not in the input"),
        ("tcp://{/}:1", "/ is not in the input"),
        ("tcp://{/web/at}:1", "{/web/at} is no host name or address"),
        ("tcp://{/web/slash}:1", "is no host name"),
        ("tcp://{/web/new}:1", "is no host name"),
        ("tcp://{/web/path}:1", "is no host name"),
        ("tcp://{/nul}:1", "is no host name"),
        ("tcp://{/long}:1", "is no host name"),
        ("tcp://a:{/db/host}", "{/db/host} is no port from 1 to 65535"),
        ("tcp://a:{/big}", "is no port"),
        ("unix:{/long}", "{/long} is no path of at most 107 bytes"),
        ("file:{/nul}", "is no path"),
        ("file:{/web/half}", "is no path"),
        ("http://a/{/web/half}", "is no text"),
        ("http://a/{/long}", "is more than 8000 bytes"),
    ],
)
def test_values_that_do_not_fit(url: str, reason: str) -> None:
    """A value that its place does not take is refused by its pointer, and not shown."""
    with pytest.raises(DataError) as caught:
        fill(url)
    assert reason in str(caught.value)
    assert not any(value in str(caught.value) for value in ("10.0.0.1", "a@b", "a/b:1", "xxx", "1.5", "70000"))


@pytest.mark.parametrize(
    ("url", "good", "bad"),
    [
        ("http://a", (200, 204, 302), (101, 404, 503)),
        ("http://a#200", (200,), (204,)),
        ("http://a#2xx,401", (204, 401), (302, 400)),
    ],
)
def test_good_statuses(url: str, good: tuple[int, ...], bad: tuple[int, ...]) -> None:
    """2xx and 3xx are good, or what stands after #."""
    found = fill(url)
    assert all(map(found.is_good, good))
    assert not any(map(found.is_good, bad))
