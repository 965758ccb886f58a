"""Which lines of one file differ between two snapshots, as git compares them.

Both versions are in the store of snapshots, which git reads as bytes: it runs no filter and no
program that a project names.
"""

import os
import re
from typing import Literal

import trio
from msgspec import Struct

from builder.git.git_store import GitStore
from builder.snapshot.changed_files import FileChange
from builder.spec import Snapshot

# A longer version of a file is not compared; of a difference only so many lines are returned.
MOST_BYTES = 512 * 1024
MOST_LINES = 2000
_LONGEST_LINE = 2000
# A path of git is a pattern otherwise.
_LITERAL = ":(top,literal)"
_HUNK = re.compile(rb"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")

LineChange = Literal["same", "added", "removed"]
_SIGNS: dict[bytes, LineChange] = {b" ": "same", b"+": "added", b"-": "removed"}


class DifferingLine(Struct, frozen=True, kw_only=True):
    """A line with its numbers in both versions; None where the version has no such line."""

    kind: LineChange
    text: str
    before: int | None
    after: int | None


class FileDifference(Struct, frozen=True, kw_only=True):
    """What differs in a file. `omitted` says why its lines are not shown. Not all lines are there
    if it is not `complete`."""

    kind: FileChange
    omitted: Literal["", "binary", "large"] = ""
    lines: list[DifferingLine] = []
    complete: bool = True


async def file_difference(before: Snapshot, after: Snapshot, path: str) -> FileDifference | None:
    """Return the lines of a file that differ, with three lines around each; None for a file that
    does not differ. Raises SnapshotFailed."""
    return await trio.to_thread.run_sync(_difference, before, after, path)


def _difference(before: Snapshot, after: Snapshot, path: str) -> FileDifference | None:
    assert before.store == after.store
    if "\0" in path:
        return None
    store = GitStore(before.store)
    old, new = (_size_of(store, each.commit, path) for each in (before, after))
    if old is None and new is None:
        return None
    kind: FileChange = "added" if old is None else "removed" if new is None else "changed"
    if max(old or 0, new or 0) > MOST_BYTES:
        return FileDifference(kind=kind, omitted="large")
    output = store.run(
        *("diff-tree", "-p", "-U3", "--no-renames", "--no-ext-diff", "--no-textconv"),
        *("--no-color", before.commit, after.commit, "--", _LITERAL + path),
    )
    if not output:
        return None
    return _parsed(output, kind)


def _size_of(store: GitStore, commit: str, path: str) -> int | None:
    """The size of a file in a snapshot; None if there is none."""
    output = store.run("ls-tree", "-z", "-l", "--full-tree", commit, "--", _LITERAL + path)
    for line in output.split(b"\0")[:-1]:
        facts, name = line.split(b"\t", 1)
        _, kind, _, size = facts.split()
        if name == os.fsencode(path) and kind == b"blob":
            return int(size)
    return None


def _parsed(output: bytes, kind: FileChange) -> FileDifference:
    lines: list[DifferingLine] = []
    before = after = 0
    for line in output.split(b"\n"):
        if hunk := _HUNK.match(line):
            before, after = int(hunk[1]), int(hunk[2])
        elif not before and not after:
            if line.startswith(b"Binary files"):
                return FileDifference(kind=kind, omitted="binary")
        elif change := _SIGNS.get(line[:1]):
            if len(lines) == MOST_LINES:
                return FileDifference(kind=kind, lines=lines, complete=False)
            lines.append(
                DifferingLine(
                    kind=change,
                    text=line[1 : _LONGEST_LINE + 1].decode(errors="replace").rstrip("\r"),
                    before=None if change == "added" else before,
                    after=None if change == "removed" else after,
                )
            )
            before += change != "added"
            after += change != "removed"
    return FileDifference(kind=kind, lines=lines)
