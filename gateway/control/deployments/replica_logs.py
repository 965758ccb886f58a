"""The logs of a model's replicas: found, and the oldest deleted. Logs outlive their replicas.

Logs are ordered by the number of the deployment in their names, since a clock may be set back, and
those of one deployment by time.
"""

import re
from contextlib import suppress
from pathlib import Path

from gateway.set_aside import REMOVE, SetAside

# A log is at most two files of 8 MiB.
MOST_LOGS = 20
# As `PoolSpecs` names replicas: model, its number, the deployment's, the build's id; and a slot.
_NAME = re.compile(r".*-(\d+)-[0-9a-f]{10}-[a-z0-9]{5}")


def logs_of(folder: Path) -> list[Path]:
    """The logs in a model's folder, oldest first. Blocking."""
    found = []
    for path in folder.glob("*.log"):
        with suppress(FileNotFoundError):  # a rotation renames a log for a moment
            found.append((_deployment_of(path), path.lstat().st_mtime, path))
    return [path for _, _, path in sorted(found)]


def _deployment_of(path: Path) -> int:
    name = _NAME.fullmatch(path.stem)
    return int(name[1]) if name else 0


def prune_logs(folder: Path, set_aside: SetAside, most: int = MOST_LOGS) -> None:
    """Deletes all logs but the latest `most`. Blocking."""
    for log in logs_of(folder)[:-most]:
        for path in (log, log.with_name(log.name + ".1")):
            with set_aside.item("an old log", path, REMOVE):
                path.unlink(missing_ok=True)
