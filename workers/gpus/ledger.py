"""The ledger: which process tree holds which GPU, on disk before the tree starts.

A tree is named by its mark, which all its processes have in their environment. So after a `kill -9`
of the gateway the next one knows what a process that it could not kill still holds.

A record that is missing, or that cannot be read or written, says nothing of what is held. Then
processes that an earlier gateway left are taken to hold all GPUs. All of it blocks.
"""

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

logger = logging.getLogger(__name__)

# The most to read of the record: some 200 bytes for each GPU.
_RECORD_BYTES = 256 * 1024


class Holder(msgspec.Struct, frozen=True):
    """The tree that holds a GPU: its mark, and the name of what runs in it."""

    mark: str
    name: str


class Ledger:
    """`holders` by the UUIDs of what they hold. `marked` finds the living processes whose mark
    begins with a text."""

    def __init__(self, path: Path, marked: Callable[[str], list[int]]) -> None:
        self.holders: dict[str, Holder] = {}
        self._path = path
        self._marked = marked
        # Marks of trees that have ended, and of which a process may live.
        self._ended: set[str] = set()
        # Processes of an earlier gateway, where it is not known what they hold; their mark.
        self._survivors: set[int] = set()
        self._prefix = ""

    def recover(self, prefix: str) -> None:
        """Reads what the last gateway wrote. Call it after its processes, whose marks begin with
        `prefix`, were killed: only what could not be killed still holds a GPU."""
        try:
            self.holders = self._read()
            self._ended = {each.mark for each in self.holders.values()}
        except (OSError, msgspec.DecodeError) as error:
            self._prefix, self._survivors = prefix, set(self._marked(prefix))
            if not isinstance(error, FileNotFoundError):
                logger.warning("gpu_ledger.not_read path=%r: %s", str(self._path), error)
        self.forget_dead()

    def is_unknown(self) -> bool:
        """Whether processes live that may hold any GPU."""
        if self._survivors:
            self._survivors &= set(self._marked(self._prefix))
        return bool(self._survivors)

    def assign(self, uuids: Iterable[str], holder: Holder) -> None:
        """These are held from now on."""
        self.holders |= dict.fromkeys(uuids, holder)
        self._write()

    def end(self, mark: str) -> None:
        """The tree of this mark has ended, so that what it holds is free once no process of it
        lives. A tree that has not started yet has no process either (gotcha G2)."""
        if any(each.mark == mark for each in self.holders.values()):
            self._ended.add(mark)

    def forget_dead(self) -> None:
        """Frees what ended trees hold of which no process lives."""
        dead = {mark for mark in self._ended if not self._marked(mark)}
        if dead:
            self._ended -= dead
            self.holders = {u: h for u, h in self.holders.items() if h.mark not in dead}
            self._write()

    def is_ended(self, uuid: str) -> bool:
        """Whether a GPU is held by what is left of a tree that has ended."""
        return uuid in self.holders and self.holders[uuid].mark in self._ended

    def _read(self) -> dict[str, Holder]:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            text = os.read(descriptor, _RECORD_BYTES)
        finally:
            os.close(descriptor)
        return msgspec.json.decode(text, type=dict[str, Holder])

    def _write(self) -> None:
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            with open(fresh, "wb") as file:
                file.write(msgspec.json.encode(self.holders))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            logger.warning("gpu_ledger.not_written path=%r: %s", str(self._path), error)
            # A record that is wrong is worse than none.
            for path in (fresh, self._path):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
