"""The log handler of a child: writes records to the child's own pipe.

multiprocessing-logging's handler is the base; its queue (one lock for all writers: a child killed while it writes would silence
all the others) and its thread (a fork beside a thread is unsafe) are never made.
"""

from __future__ import annotations

import logging

from multiprocessing_logging import MultiProcessingHandler

from disco.wire import records


class PipeHandler(MultiProcessingHandler):  # type: ignore[misc]  # the package has no types
    """Writes each record to a descriptor; what does not fit now is dropped, and the number of dropped records is logged."""

    def __init__(self, pipe: int) -> None:
        """Write to this descriptor."""
        logging.Handler.__init__(self)  # the base's own would make its queue and its thread
        self._pipe = pipe
        self._dropped = 0

    def _send(self, record: logging.LogRecord) -> None:
        if self._dropped and self._write(logging.WARNING, f"{self._dropped} log lines were dropped", {}):
            self._dropped = 0
        if not self._write(record.levelno, record.getMessage(), getattr(record, "fields", {})):
            self._dropped += 1

    def _write(self, level: int, text: str, fields: records.Fields) -> bool:
        return records.write_if_ready(self._pipe, records.encode(level, text, fields))

    def close(self) -> None:
        """Close this handler; there is no queue to empty."""
        logging.Handler.close(self)
