"""What tools/bench measures disco's processes beside: the bare thing that one of them cannot do without, and nothing else.

    python bench_lab/bare.py look FILE                  look at a file once a second
    python bench_lab/bare.py watch HOST:PORT PREFIX     watch the keys below a prefix of etcd
    python bench_lab/bare.py follow HOST:PORT PREFIX    read the keys below a prefix of Consul, again after each change
    python bench_lab/bare.py read COUNT FILE SCHEMA     read and validate a file in each of so many forked children

Each runs until it is killed. The last two tell the witness, which is their stdout, each time that something was read.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from http.client import HTTPConnection
from pathlib import Path


def look(file: str) -> None:
    """Do what a source of flat files cannot do without."""
    while True:
        os.stat(file)
        time.sleep(1)


def watch(address: str, prefix: str) -> None:
    """Do what a source of etcd cannot do without."""
    os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"  # etcd3's generated code works with no other
    import etcd3
    from grpc import aio

    rpc, key = etcd3.etcdrpc, f"{prefix}/".encode()
    create = rpc.WatchCreateRequest(key=key, range_end=key[:-1] + bytes([key[-1] + 1]), progress_notify=True)

    async def wait() -> None:
        call = rpc.WatchStub(aio.insecure_channel(address)).Watch()
        await call.write(rpc.WatchRequest(create_request=create))
        while await call.read() is not aio.EOF:
            pass

    asyncio.run(wait())


def follow(address: str, prefix: str) -> None:
    """Do what a source of Consul cannot do without."""
    connection, index = HTTPConnection(address), "0"
    while True:
        connection.request("GET", f"/v1/kv/{prefix}/?recurse&index={index}&wait=55s")
        with connection.getresponse() as answer:
            index = answer.headers["X-Consul-Index"]
            json.loads(answer.read())
        tell()


def read(count: str, file: str, schema: str) -> None:
    """Do what sources of flat files that share what they import cannot do without, each in memory of its own."""
    import logging  # noqa: F401 -- its hooks at a fork cost each child memory

    import jsonschema
    import yaml

    validator = jsonschema.Draft202012Validator(yaml.load(Path(schema).read_bytes(), yaml.CSafeLoader))
    gc.freeze()
    for _ in range(int(count)):
        if os.fork() == 0:
            data = yaml.load(Path(file).read_bytes(), yaml.CSafeLoader)
            validator.is_valid(next(iter(data.values())))
            json.dumps(data)
            tell()
            break
    time.sleep(1e6)


def tell() -> None:
    """Tell the witness."""
    os.write(1, f"bare {time.time_ns()}\n".encode())


globals()[sys.argv[1]](*sys.argv[2:])
