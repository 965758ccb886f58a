"""What an open page is made from, so that it is not made again from the same.

The handler of an open page runs again and again (`live.py`). While it runs, all that can change its
page is noted: each reply of the admin API, what its user may do, the time where it shows how long
something has taken. Where all of it is as it was when the page was rendered last, the page would be
the same, and is not rendered. A handler whose next step is dear asks before it, too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b


class Unchanged(Exception):
    """The page is as it was when it was rendered last."""


class PageInputs:
    """Of one open page. `noted` is a digest of what its handler has read in this run."""

    def __init__(self) -> None:
        self._noted = blake2b(digest_size=16)
        # At each check of this run, and of the run in which the page was rendered last.
        self._checks: list[bytes] = []
        self._rendered: list[bytes] = []

    def note(self, what: str, found: bytes) -> None:
        """The answer to one question. The lengths keep two answers apart from one."""
        self._noted.update(b"%d %d %b" % (len(what), len(found), what.encode()))
        self._noted.update(found)

    def check(self) -> None:
        """Raises Unchanged where all that was read so far is as it was. Each run of a handler
        checks at the same points."""
        place = len(self._checks)
        self._checks.append(self._noted.digest())
        if self._rendered[place : place + 1] == self._checks[-1:]:
            raise Unchanged

    @contextmanager
    def run(self) -> Iterator[None]:
        """One run of the handler. Its page was rendered unless it raises."""
        self._noted, self._checks = blake2b(digest_size=16), []
        try:
            yield
        except Unchanged:
            self._rendered[: len(self._checks)] = self._checks
            raise
        self._rendered = self._checks
