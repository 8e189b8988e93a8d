"""The etcd source's options."""

from __future__ import annotations

import pytest

from disco.site import config
from tests.sources.etcd.reader import HUSH


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ("etcd.host=10.0.0.1:2379", "etcd.host: expected a name or an address alone"),
        ("etcd.host=http://10.0.0.1", "etcd.host: expected a name or an address alone"),
        ("etcd.endpoints=a:1,b", "expected a list of host:port joined by ','"),
        ("etcd.endpoints=http://a:1", "expected a list of host:port joined by ','"),
        ("etcd.endpoints=a:70000", "expected a port from 1 to 65535"),
        ("etcd.user=ann", "etcd.password: is not set, nor password_file, but user is"),
        (f"etcd.password={HUSH}", "etcd.user: is not set, "),
        ("etcd.password_file=/x", "etcd.user: is not set, "),
        ("etcd.ca_cert=/c:etcd.cert=/x", "etcd.key: is not set, "),
        ("etcd.ca_cert=/c:etcd.key=/x", "etcd.cert: is not set, "),
        ("etcd.cert=/x:etcd.key=/x", "etcd.ca_cert: is not set, "),
        ("etcd.wait=0.5", "expected at least 1"),
    ],
)
def test_wrong_options(pairs: str, problem: str) -> None:
    """What is wrong with the options is told before anything is started."""
    _settings, problems = config.load(pairs, None, {})
    assert len(problems) == 1
    assert problem in str(problems[0])
    assert HUSH not in str(problems[0])


def test_right_options() -> None:
    """The options may be all left out, a prefix may be empty, and addresses may be of IPv6."""
    for pairs in (
        "etcd.prefix=",
        "etcd.host=::1",
        "etcd.endpoints=[::1]:2379,db.example:1",
        "etcd.user=a:etcd.password_file=/x",
    ):
        assert config.load(pairs, None, {})[1] == []
