"""Says which line of `.gitignore` keeps one file of a project out of its snapshots."""

from pathlib import Path, PurePosixPath

import trio

from builder.files.safe_open import Folder, NotAFile
from builder.snapshot import ignore_rules
from builder.snapshot.ignore_rules import IgnoreRules
from builder.spec import Run, SnapshotLimits


async def hiding_line(
    project: Path, path: str, above: Path, run: Run, limits: SnapshotLimits | None = None
) -> str:
    """Return the line that excludes the file at `path`, in words; "" if none does. `above` is a
    folder for the copies of the ignore files. Raises SnapshotFailed, OSError."""
    rules = IgnoreRules(above, run, limits or SnapshotLimits())
    folders = [str(each) for each in reversed(PurePosixPath(path).parents)]
    asked = [each.encode() for each in (*folders[1:], path)]
    try:
        await trio.to_thread.run_sync(_add_rules, project, folders, rules)
        found = await rules.ignored(asked[:-1], asked[-1:])
        return next((str(found[each]) for each in asked if each in found), "")
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(rules.close)


def _add_rules(project: Path, folders: list[str], rules: IgnoreRules) -> None:
    with Folder.root(project) as root:
        for each in folders:
            names = [] if each == "." else each.split("/")
            try:
                with root.folder(names) as folder, folder.open(ignore_rules.NAME) as file:
                    rules.read("/".join(names).encode(), file)
            except (FileNotFoundError, NotADirectoryError, NotAFile):
                continue
