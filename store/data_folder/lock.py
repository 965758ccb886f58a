"""One gateway per data folder, and a data folder that only its own account can read.

The lock is `flock` on a file that is never removed. The kernel releases it when its process ends,
however that ends, so there is no stale lock to clean up. The PID in the file is only for the
message to a process that is refused (gotcha G5).

The folder has keys, code and the database in it. So it belongs to the gateway's account and has
mode 0700, regardless of the umask; a folder that others could only read is given that mode. Refused
is a folder that predictd cannot correct: one of another account, one that is not empty and that
others could write into, and one beneath a folder in which others could replace it.
"""

import errno
import fcntl
import grp
import logging
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from store.errors import DataFolderBusy, DataFolderUnusable
from store.fsync import make_folder

logger = logging.getLogger(__name__)

_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@contextmanager
def lock_data_folder(path: Path) -> Iterator[None]:
    """Create the folder if it is missing, and lock it for this process. `path` has no links in it.

    Raises DataFolderBusy when another process has locked it; DataFolderUnusable when it cannot be
    created or written, or other accounts could read or change it.
    """
    with ExitStack() as held:
        with _named_failures(path):
            folder = _open_folder(path)
            held.callback(os.close, folder)
            file = held.enter_context(_open_lock(folder))
            _take(file, path)
            _sign(file)
        yield


@contextmanager
def _named_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataFolderUnusable(path, error.strerror or str(error)) from error


def _open_folder(path: Path) -> int:
    """Open the folder, created and private. Raises OSError, DataFolderUnusable."""
    make_folder(path, mode=0o700)
    _refuse_replaceable(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _close_to_others(path, descriptor)
        # An existing lock file can be writable in a folder that is not.
        if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_replaceable(path: Path) -> None:
    """Refuse a folder that another user could replace, by writing into one of its parents."""
    for folder in path.parents:
        facts = folder.stat()
        if facts.st_uid not in (0, os.geteuid()):
            raise DataFolderUnusable(
                path,
                f"{folder} belongs to {_user(facts.st_uid)}, who could replace the data folder; "
                "choose a data folder whose parents belong to root or to you",
            )
        if _others_write(facts) and not facts.st_mode & stat.S_ISVTX:
            raise DataFolderUnusable(
                path,
                f"others can write into {folder} (mode {stat.S_IMODE(facts.st_mode):04o}) and so "
                f"replace the data folder; run `chmod go-w {folder}`, or choose another folder",
            )


def _others_write(facts: os.stat_result) -> bool:
    if facts.st_mode & stat.S_IWOTH:
        return True
    return bool(facts.st_mode & stat.S_IWGRP) and not _is_private(facts.st_gid)


def _is_private(gid: int) -> bool:
    """Whether this account is the only member of a group. Some systems give each user such a group
    and make folders writable for it."""
    if gid == 0:
        return True
    try:
        account, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return (
        gid == account.pw_gid
        and group.gr_name == account.pw_name
        and set(group.gr_mem) <= {account.pw_name}
    )


def _close_to_others(path: Path, descriptor: int) -> None:
    facts = os.fstat(descriptor)
    if facts.st_uid != os.geteuid():
        raise DataFolderUnusable(
            path,
            f"it belongs to {_user(facts.st_uid)} and predictd runs as {_user(os.geteuid())}; run "
            f"predictd as that account, `chown -R` the folder, or choose another folder",
        )
    if not facts.st_mode & _OF_OTHERS:
        return
    mode = f"{stat.S_IMODE(facts.st_mode):04o}"
    if _others_write(facts) and os.listdir(descriptor):
        raise DataFolderUnusable(
            path,
            f"others could write into it (mode {mode}), so its files may be theirs; check them, "
            f"then run `chmod 700 {path}`",
        )
    os.fchmod(descriptor, facts.st_mode & stat.S_IRWXU)
    if os.fstat(descriptor).st_mode & _OF_OTHERS:
        raise DataFolderUnusable(
            path, f"its file system leaves it open to others (mode {mode}); choose another folder"
        )
    logger.warning("data_folder.made_private path=%r old_mode=%s", str(path), mode)


def _user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name!r}"
    except KeyError:
        return f"user {uid}"


def _open_lock(folder: int) -> IO[str]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open("lock", flags, 0o600, dir_fd=folder)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "r+")


def _take(file: IO[str], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = file.read().strip()
        raise DataFolderBusy(path, int(text) if text.isdecimal() else None) from None


def _sign(file: IO[str]) -> None:
    # Not through the file's buffer, which would retry at its closing and fail with another error.
    os.ftruncate(file.fileno(), 0)
    os.pwrite(file.fileno(), f"{os.getpid()}\n".encode(), 0)
