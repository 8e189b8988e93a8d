"""Servers that ask for a login, or that do with each connection what a test wants."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from tests.sources.etcd.reader import HUSH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.etcd_server import EtcdServer


def secure(server: EtcdServer) -> None:
    server.transact({"app/mysql/host": "db1", "other/mysql/host": HUSH})
    server.add_role("app", "app/")
    server.add_user("ann", f"{HUSH}-ann", "app")
    server.enable_auth()


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket, int], None]) -> Iterator[int]:
    """Answer each connection, by its number, in a thread of its own, which ends with the test; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = []
        accepted = []

        def serve(connection: socket.socket, number: int) -> None:
            with contextlib.suppress(OSError), connection:
                answer(connection, number)

        def accept() -> None:
            with contextlib.suppress(OSError):  # the listener is shut down
                while True:
                    accepted.append(listener.accept()[0])
                    threads.append(threading.Thread(target=serve, args=(accepted[-1], len(accepted))))
                    threads[-1].start()

        threads.append(threading.Thread(target=accept))
        threads[-1].start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in accepted:
                with contextlib.suppress(OSError):  # closed already
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
