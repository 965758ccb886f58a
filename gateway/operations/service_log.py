"""The gateway's own log, on stderr. Nothing waits until it is written.

stderr may be a pipe that is not read or a terminal that is held by Ctrl-S. A write to it then lasts
until it is read again, and on the loop's thread it would stop all predictions. So a thread of its
own writes. The laws:

- What waits for that thread is bounded. What is over that is left out; the log says how much was.
- A stderr that is closed or whose reader has gone loses the log and ends nothing.
- The end of the process waits `LAST_SECONDS` for the thread and no longer. The thread writes to the
  descriptor, since Python waits at its end for a thread that is inside of `sys.stderr`.
"""

import logging
import os
import queue
import threading
from types import TracebackType

MOST = 10_000  # lines that wait
LAST_SECONDS = 1.0
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class ServiceLog(logging.Handler):
    """Takes all that is logged while the block runs and writes it to a descriptor by a thread."""

    def __init__(self, descriptor: int = 2, most: int = MOST) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(_FORMAT))
        self._descriptor = descriptor
        self._lines: queue.Queue[str | None] = queue.Queue(most)
        self._left_out = 0
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
        """Called by `logging`, with the handler's lock held."""
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
            return
        if self._left_out:
            line = f"({self._left_out} lines are left out here: they were not taken)\n{line}"
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._left_out += 1
        else:
            self._left_out = 0

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            left = f"{line}\n".encode(errors="backslashreplace")
            try:
                while left:
                    left = left[os.write(self._descriptor, left) :]
            except OSError:  # nobody reads it any more, or the disk is full: the next may be taken
                continue
