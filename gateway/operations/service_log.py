"""The gateway's own log, on stderr. No caller waits for a write.

stderr may be a pipe that is not read, or a terminal that is stopped by Ctrl-S. A write then blocks,
and on the loop's thread it would stop all predictions. So a separate thread writes. The laws:

- The queue of that thread is bounded. Lines beyond the bound are dropped; the log counts them.
- If stderr is closed or its reader has gone, the log is lost and nothing else happens.
- At its end the process waits for the thread for at most `LAST_SECONDS`. The thread writes to the
  descriptor, since Python waits at exit for a thread that is inside `sys.stderr`.
"""

import logging
import os
import queue
import threading
from types import TracebackType

QUEUE_LIMIT = 10_000  # lines
LAST_SECONDS = 1.0
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class ServiceLog(logging.Handler):
    """Writes all log records of the block to a descriptor, in a thread."""

    def __init__(self, descriptor: int = 2, queue_limit: int = QUEUE_LIMIT) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(_FORMAT))
        self._descriptor = descriptor
        self._lines: queue.Queue[str | None] = queue.Queue(queue_limit)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write_all, name="service log", daemon=True)

    def __enter__(self) -> "ServiceLog":
        self._thread.start()
        root = logging.getLogger()
        root.addHandler(self)
        root.setLevel(logging.INFO)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        logging.getLogger().removeHandler(self)
        try:
            self._lines.put(None, timeout=LAST_SECONDS)
        except queue.Full:
            return
        self._thread.join(LAST_SECONDS)

    def emit(self, record: logging.LogRecord) -> None:
        """`logging` calls this with the handler's lock acquired."""
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
            return
        if self._dropped:
            line = f"(stderr was not read: {self._dropped} lines are dropped here)\n{line}"
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1
        else:
            self._dropped = 0

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            left = f"{line}\n".encode(errors="backslashreplace")
            try:
                while left:
                    left = left[os.write(self._descriptor, left) :]
            except OSError:  # the reader has gone, or the disk is full: the next write may succeed
                continue
