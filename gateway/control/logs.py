"""The logs of a model's replicas, which outlive them: found, and not too many."""

from contextlib import suppress
from pathlib import Path

# A log is at most two files of 8 MiB.
MOST_LOGS = 20


def logs_of(folder: Path) -> list[Path]:
    """The logs in a model's folder, oldest first. Blocking."""
    found = []
    for path in folder.glob("*.log"):
        with suppress(FileNotFoundError):  # a rotation renames a log for a moment
            found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found)]


def keep_latest(folder: Path, most: int = MOST_LOGS) -> None:
    """Removes all logs but the latest `most`. Blocking."""
    for path in logs_of(folder)[:-most]:
        path.unlink(missing_ok=True)
        path.with_name(path.name + ".1").unlink(missing_ok=True)
