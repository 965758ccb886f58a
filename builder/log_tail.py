"""Logs that are passed to commands: one that remembers its last lines, and one that keeps none."""

from collections import deque

from builder.spec import Log

REMEMBERED = 200


class LogTail:
    """Passes every line on to `log`; `lines` are the last ones, oldest first.

    Each text in `secrets` is replaced by `***`.
    """

    def __init__(self, log: Log, secrets: tuple[str, ...] = ()) -> None:
        self._log = log
        self._secrets = secrets
        self._lines: deque[str] = deque(maxlen=REMEMBERED)

    @property
    def lines(self) -> list[str]:
        return list(self._lines)

    def write(self, line: str) -> None:
        for secret in self._secrets:
            line = line.replace(secret, "***")
        self._lines.append(line)
        self._log.write(line)


class NullLog:
    """Discards every line."""

    def write(self, line: str) -> None: ...
