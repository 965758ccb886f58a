"""Restores a backup again and again, killed at each of its steps in turn; tells what was left.

    python -m tests.gateway.killed_restores BACKUP FOLDER

A step is an audit event of Python's that comes right before a change of the disk. Each restore runs
in a child, which ends there without any clean-up. A line of JSON for each: the step, what a start
and a second restore came to.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import trio

from gateway.control.backup.restore import restore
from gateway.data_folder import DataFolder
from gateway.data_folder_check import open_data
from store import DataFolderUnusable

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "sqlite3.connect"}


def main(backup: Path, folder: Path) -> None:
    instant, ended = 0, False
    while not ended:
        instant += 1
        target = folder / str(instant)
        ended = killed(backup, target, instant) == 0
        print(json.dumps({"ended": ended, **looked_at(target)}))
        if not ended and not (target / "predictd.db").exists():
            trio.run(restore, backup, target)
            assert (target / "predictd.db").exists()
        shutil.rmtree(target)


def killed(backup: Path, target: Path, instant: int) -> int:
    """Restores in a child that ends at its n-th step; returns how that ended."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = instant

    def count(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if event not in STEPS or (event == "open" and not writes(args)):
            return
        if str(target) in str(args[0]) or event != "open":
            left -= 1
        if not left:
            os._exit(9)

    sys.addaudithook(count)
    trio.run(restore, backup, target)
    os._exit(0)


def writes(args: tuple[object, ...]) -> bool:
    return isinstance(args[2], int) and bool(args[2] & os.O_CREAT)


def looked_at(target: Path) -> dict[str, object]:
    """What a start makes of a copy of the folder."""
    files = sorted(str(each.relative_to(target)) for each in target.rglob("*") if each.is_file())
    if not target.exists():
        return {"start": "empty", "files": []}
    copy = target.with_name(f"{target.name}-copy")
    shutil.copytree(target, copy, symlinks=True)
    try:
        open_data(DataFolder(copy))
        start = "taken" if (copy / "predictd.db").exists() else "empty"
    except DataFolderUnusable as error:
        start = str(error)
    finally:
        shutil.rmtree(copy)
    return {"start": start, "files": files}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
