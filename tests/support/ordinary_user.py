"""A command run as an ordinary user, for tests that root runs.

What the command needs may lie in folders that only root may enter, such as an interpreter in
root's home. So it gets a mount namespace in which those folders are empty but for that.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.skipping import not_here

# Unused: not in the list of users.
USER = 54321
_ASIDE = Path("/mnt")


def as_ordinary_user(home: Path, needed: Sequence[Path]) -> list[str]:
    """What is put before a command to run it as a user who sees `needed`, and whose is `home`."""
    if os.geteuid():
        not_here("only root can run something as another user")
    home.mkdir(parents=True, exist_ok=True)
    os.chown(home, USER, USER)
    paths = [path.absolute() for path in (home, *needed)]
    shut = sorted({folder for path in paths if (folder := _shut_above(path)) is not None})
    inside = [path for path in paths if _shut_above(path) is not None]
    lines = ["set -e", f"mount -t tmpfs none {_ASIDE}"]
    for number, path in enumerate(inside):
        lines += [f"mkdir {_ASIDE}/{number}", f"mount --rbind {_q(path)} {_ASIDE}/{number}"]
    lines += [f"mount -t tmpfs -o mode=755 none {_q(folder)}" for folder in shut]
    for number, path in enumerate(inside):
        lines += [f"mkdir -p {_q(path)}", f"mount --rbind {_ASIDE}/{number} {_q(path)}"]
    lines += [f"umount --recursive --lazy {_ASIDE}", 'exec "$@"']
    command = [
        *("unshare", "--mount", "sh", "-c", "\n".join(lines), "sh"),
        *("setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"),
        *("env", f"HOME={home}"),
    ]
    if not shutil.which("setpriv") or not shutil.which("unshare"):
        not_here("setpriv and unshare are missing")
    tried = subprocess.run([*command, "test", "-w", home], capture_output=True, text=True)
    if tried.returncode:
        not_here(f"users cannot mount here: {tried.stderr.strip()}")
    return command


def _shut_above(path: Path) -> Path | None:
    """The uppermost folder above a path that others may not enter."""
    above = reversed(path.parents)
    return next((folder for folder in above if not folder.stat().st_mode & 0o001), None)


def _q(path: Path) -> str:
    return shlex.quote(str(path))
