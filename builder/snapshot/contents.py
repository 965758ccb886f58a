"""What a snapshot has, and what of the project is not in it: counted, named, with the reasons.

It is stored in the message of the snapshot's commit. So it exists as long as the snapshot, is in
its backups, and does not change the tree: equal files still give an equal tree.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from builder.git.git_store import GitStore
from builder.spec import Snapshot

# Ignored entries that are stored, those of the upper folders first.
MOST_STORED = 1000
_NAMED = 5  # entries that a line names
_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


class Ignored(Struct, frozen=True):
    """An entry that a .gitignore excludes. The path of a folder ends in `/`, and its size is not
    known. `rule` names the line, such as "line 3 of .gitignore (`*.joblib`)"."""

    path: str
    size: int | None
    rule: str


class Contents(Struct, frozen=True):
    """`files` and `size` (bytes) of a snapshot; `rebuilt` are the environments and caches that it
    does not have. `more_ignored` counts the ignored entries that are not listed."""

    files: int = 0
    size: int = 0
    ignored: tuple[Ignored, ...] = ()
    more_ignored: int = 0
    rebuilt: tuple[str, ...] = ()

    def rule_for(self, path: str) -> str:
        """Return the line of the .gitignore that excludes `path` or a folder above it, or ""."""
        for each in self.ignored:
            if path == each.path.rstrip("/") or (
                each.path.endswith("/") and path.startswith(each.path)
            ):
                return each.rule
        return ""

    def summary(self) -> str:
        """Return one line: `5 files, 9.1 MB; left out by .gitignore: model.joblib (9.1 MB)`."""
        parts = [f"{self.files:,} file{'' if self.files == 1 else 's'}, {size_text(self.size)}"]
        if self.ignored:
            largest = sorted(self.ignored, key=lambda each: -(each.size or 0))
            names = [
                each.path if each.size is None else f"{each.path} ({size_text(each.size)})"
                for each in largest
            ]
            parts.append(f"left out by .gitignore: {_listed(names, self.more_ignored)}")
        if self.rebuilt:
            parts.append(f"left out, since each build has its own: {_listed(self.rebuilt, 0)}")
        return "; ".join(parts)


def contents_of(snapshot: Snapshot) -> Contents:
    """Return what was stored with a snapshot. Blocking. Raises SnapshotFailed."""
    commit = GitStore(snapshot.store).read_commit(snapshot.commit)
    text = commit.partition(b"\n\n")[2].partition(b"\n\n")[2]
    return msgspec.json.decode(text, type=Contents) if text.strip() else Contents()


def commit_message(subject: str, contents: Contents) -> str:
    """Return the message of a snapshot's commit."""
    return f"{subject}\n\n{msgspec.json.encode(contents).decode()}"


def size_text(size: int) -> str:
    """Return a number of bytes in decimal units, as `ls` and file managers show it."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"


def _listed(names: Iterable[str], more: int) -> str:
    names = [
        each.encode("unicode_escape").decode() if not each.isprintable() else each for each in names
    ]
    more += max(0, len(names) - _NAMED)
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more else "")
