"""Makes a build once more with the packages of its lock.

The script runs with the versions of the lock as constraints, which uv and pip obey, also where the
index has newer ones. R's `install.packages` takes them from the archive of its repository
(`environment/r/inside/locked_packages.R`). A version that the index no longer has fails the build,
by name. Afterwards the new lock is compared with the old one. Another version, another commit of a
repository, or other bytes of a file fail the build: a rebuild that serves something else is a new
build, which only the author may ask for. A package more or less is only told: another processor may
need other packages.

Names that only the lock has are no requirements, so constraints cannot install too much.
"""

import re
from pathlib import Path

import trio

from builder.environment.constraints import constraints_path, r_lock_path
from builder.errors import LockBroken
from builder.lock.difference import Change, compare
from builder.lock.pylock import Lock, LockText, Package, UnreadableLock, read_lock
from builder.spec import BuildSpec, Log

# As PEP 440 has them: one other version makes all constraints unreadable.
_VERSION = re.compile(
    r"(\d+!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9]+([._-][a-z0-9]+)*)?",
    re.IGNORECASE,
)
_MOST_SHOWN = 5
_BREAKS = ("version", "source", "files")


async def write_constraints(spec: BuildSpec, log: Log) -> None:
    """Write the versions of `spec.lock` to where the script finds them. Raises LockBroken."""
    count = await trio.to_thread.run_sync(_write, spec)
    log.write(f"Installing the versions of the build's lock ({count} packages)")


async def check_obeyed(lock: str, made: LockText | None, log: Log) -> None:
    """Raise LockBroken where the new lock of an environment has other packages than `lock`."""
    if made is None:
        return
    changes = await trio.to_thread.run_sync(_changes, lock, made.text)
    for each in changes:
        if each.kind not in _BREAKS:
            log.write(f"Differs from the lock: {_shown(each)}")
    if broken := [_shown(each) for each in changes if each.kind in _BREAKS]:
        more = len(broken) - _MOST_SHOWN
        named = ", ".join(broken[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")
        raise LockBroken(f"the script has installed other packages than the lock has: {named}")


def _write(spec: BuildSpec) -> int:
    lock = _read(spec.lock)
    pinned = [each for each in lock.packages if _is_pinned(each)]
    of_r = [each for each in lock.r_packages if not each.is_elsewhere]
    _write_lines(constraints_path(spec), [f"{each.name}=={each.version}" for each in pinned])
    _write_lines(
        r_lock_path(spec), [f"{each.name}\t{each.version}\t{each.repository}" for each in of_r]
    )
    return len(pinned) + len(of_r)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{each}\n" for each in lines))
    path.chmod(0o644)  # the script may run as another user


def _is_pinned(package: Package) -> bool:
    """Whether a version can be chosen: not of a folder or a repository."""
    from_index = package.vcs is None and package.directory is None
    return from_index and _VERSION.fullmatch(package.version) is not None


def _read(lock: str) -> Lock:
    try:
        return read_lock(lock)
    except UnreadableLock as error:
        raise LockBroken(str(error)) from error


def _changes(lock: str, made: str) -> list[Change]:
    return compare(read_lock(lock), read_lock(made))


def _shown(change: Change) -> str:
    if change.kind == "files":
        return f"{change.name} {change.after} (other bytes under the same name)"
    return f"{change.name} {change.before or 'not installed'} -> {change.after or 'not installed'}"
