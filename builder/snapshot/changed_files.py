"""Which files differ between two snapshots, by comparing their trees in the git store."""

import os
from typing import Literal

import trio
from msgspec import Struct

from builder.git.git_store import GitStore
from builder.spec import Snapshot

FileChange = Literal["added", "removed", "changed"]
_KINDS: dict[str, FileChange] = {"A": "added", "D": "removed"}


class ChangedFile(Struct, frozen=True, kw_only=True):
    """A file that differs; `path` is relative to the project's root."""

    path: str
    kind: FileChange


async def changed_files(before: Snapshot, after: Snapshot) -> list[ChangedFile]:
    """Return the files that differ between two snapshots of one project, sorted by path. Raises
    SnapshotFailed."""
    return await trio.to_thread.run_sync(_changed_files, before, after)


def _changed_files(before: Snapshot, after: Snapshot) -> list[ChangedFile]:
    assert before.store == after.store
    output = GitStore(before.store).run(
        *("diff-tree", "-r", "-z", "--no-renames", "--name-status"), before.commit, after.commit
    )
    fields = [os.fsdecode(field) for field in output.split(b"\0")[:-1]]
    return [
        ChangedFile(path=_printable(path), kind=_KINDS.get(status, "changed"))
        for status, path in zip(fields[::2], fields[1::2], strict=True)
    ]


def _printable(path: str) -> str:
    """Return a path that is valid text."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
