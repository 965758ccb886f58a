"""The lines of a function that is tried, while it is tried.

The script of the form invents a name for its try, sends it with the form, and follows the lines of
this name at `/events?try=NAME`. Either may come first. A name belongs to its user: others find
nothing by it. After the try its lines are in the reply to the form.
"""

import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager

import msgspec
import trio

# Tries at once, and lines of one: further ones are in the reply only.
_MOST_TRIES, _MOST_LINES = 200, 2000
_PATIENCE = 10.0  # seconds until a try begins
_NAME = re.compile("[0-9a-f]{16,64}")
_END = b"event: end\ndata: {}\n\n"


class _PrintedLines:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.has_begun = self.is_ended = False
        self.changed = trio.Event()

    def add(self, line: str) -> None:
        if len(self.lines) < _MOST_LINES:
            self.lines.append(line)
            self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


class TryLines:
    """The lines of all tries that run."""

    def __init__(self) -> None:
        self._tries: dict[tuple[str, str], _PrintedLines] = {}

    @contextmanager
    def printing(self, user: str, name: str) -> Iterator[Callable[[str], None]]:
        """A function that takes the lines of a try, until the end of the block."""
        lines = self._find(user, name)
        lines.has_begun = True
        lines.wake()
        try:
            yield lines.add
        finally:
            lines.is_ended = True
            lines.wake()
            self._tries.pop((user, name), None)

    async def follow(self, user: str, name: str) -> AsyncGenerator[bytes, None]:
        """Server-sent events: `line` for each line of a try, then `end`."""
        lines = self._find(user, name)
        try:
            yield b": \n\n"
            with trio.move_on_after(_PATIENCE):
                while not (lines.has_begun or lines.is_ended):
                    await lines.changed.wait()
            sent = 0
            while lines.has_begun and not (lines.is_ended and sent == len(lines.lines)):
                if sent == len(lines.lines):
                    await lines.changed.wait()
                new = lines.lines[sent:]
                sent += len(new)
                if new:
                    yield b"".join(map(_event, new))
        finally:
            if not lines.has_begun and self._tries.get((user, name)) is lines:
                del self._tries[user, name]
        yield _END

    def _find(self, user: str, name: str) -> _PrintedLines:
        """The lines with a name; lines apart where there is no space for more."""
        if not _NAME.fullmatch(name) or len(self._tries) >= _MOST_TRIES:
            return self._tries.get((user, name), _PrintedLines())
        return self._tries.setdefault((user, name), _PrintedLines())


def _event(line: str) -> bytes:
    return b"event: line\ndata: %b\n\n" % msgspec.json.encode(line)
