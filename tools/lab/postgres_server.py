"""Real PostgreSQL servers: requests are SQL, made with psql."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from lab.servers import RefusedError, Server

NOBODY = 65534  # PostgreSQL does not run as root
PASSWORD = "superuser-password"


class PostgresServer(Server):
    """One server with the superuser `postgres`; everybody has to log in by password. It lasts as long as its `with` block."""

    def __init__(self, program: Path) -> None:
        """Choose the port, and make a folder that the server's user may look into."""
        super().__init__(program, Path(tempfile.mkdtemp(prefix="disco-postgres-")), ports=1)

    def __exit__(self, *_exception: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def query(self, sql: str, database: str = "postgres") -> str:
        """Return what a statement gives, columns separated by `|`; raise RefusedError with the server's words if it refuses."""
        place = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database]
        argv = [str(self._program.with_name("psql")), "-X", "-At", "-v", "ON_ERROR_STOP=1", *place, "-c", sql]
        done = subprocess.run(
            argv, env={"PGPASSWORD": PASSWORD}, capture_output=True, text=True, timeout=self.patience, check=False
        )
        if done.returncode:
            raise RefusedError(done.stderr)
        return done.stdout.strip()

    def add_database(self, name: str, password: str) -> Self:
        """Make a database and its owner of the same name."""
        self.query(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        self.query(f"CREATE DATABASE {name} OWNER {name}")
        return self

    def kill(self) -> None:
        """End it without its usual checkpoint, as `pg_ctl stop -m immediate` does: SIGKILL would leave its shared memory."""
        if self.process:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
            self.process = None

    def _prepare(self) -> list[str]:
        data, password = self.folder / "data", self.folder / "password"
        if not data.exists():
            data.mkdir(mode=0o700)
            password.write_text(PASSWORD)
            for path in (data, password) if os.geteuid() == 0 else ():
                os.chown(path, NOBODY, NOBODY)
            self.folder.chmod(0o755)
            subprocess.run(
                [*_as_user(), str(self._program.with_name("initdb")), "-D", str(data), "-U", "postgres", "-A", "scram-sha-256",
                 f"--pwfile={password}", "--no-locale", "-E", "UTF8", "--no-sync"],
                cwd="/", check=True, capture_output=True, timeout=60,
            )  # fmt: skip
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*_as_user(), str(self._program), "-D", str(data), *words]

    def _is_ready(self) -> bool:
        return self.query("SELECT 1") == "1"


def _as_user() -> list[str]:
    """Return what runs a program as another user than root, if we are root."""
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
