"""The entries of a folder on the user's own machine that belong to a snapshot of it.

The client uploads them. The walk is that of a project (`project_files.py`), with ignore rules that
need no git, so the gateway later finds the same entries among the uploaded ones. Absolute links are
listed: the gateway knows which folders its models may read.
"""

from pathlib import Path

import trio
from msgspec import Struct

from builder.files.safe_open import Folder
from builder.snapshot.contents import Contents
from builder.snapshot.local_ignore_rules import LocalIgnoreRules
from builder.snapshot.project_files import ProjectFile, Reachable, list_project, reading
from builder.spec import SnapshotLimits

_EVERYWHERE = (Path("/"),)


class FolderListing(Struct, frozen=True):
    """The entries, and what is left out; `special` are pipes, sockets and devices."""

    entries: list[ProjectFile]
    contents: Contents
    special: list[str]


def list_folder(folder: Path) -> FolderListing:
    """List a folder, whose path has no links. Blocking. Raises SnapshotFailed."""
    with reading(b""), Folder.root(folder) as root:
        return trio.run(_list, root, folder)


async def _list(root: Folder, folder: Path) -> FolderListing:
    limits = SnapshotLimits()
    rules = LocalIgnoreRules(limits.ignore_file_bytes)
    reachable = Reachable(folder, _EVERYWHERE)
    listing = await list_project(root, rules, trio.CapacityLimiter(1), reachable, limits.entries)
    entries = [entry for level in listing.levels for entry in level]
    return FolderListing(entries, listing.contents, listing.left_out)
