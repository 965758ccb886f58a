"""Removes what scripts and strangers made.

By the system's `rm`: folders may be nested by the thousand, which rmtree, a recursion, does not
survive.
"""

import subprocess
from pathlib import Path

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def remove_tree(folder: Path) -> None:
    """Removes a folder with all that is in it, whatever its permissions and depth, and nothing that
    its links lead to. No matter if it is gone. Blocking. Raises OSError where something stays."""
    _remove(str(folder), None)


def remove_below(above: int, name: str) -> None:
    """The same for a folder in an open one; what is swapped for a link above that does not lead
    elsewhere. Raises OSError."""
    _remove(f"./{name}", f"/proc/self/fd/{above}")


def _remove(folder: str, cwd: str | None) -> None:
    if not _run(cwd, "rm", "-rf", "--", folder):
        return
    # A script may have taken away our right to change its folders.
    _run(cwd, "chmod", "-R", "u+rwx", "--", folder)
    if problem := _run(cwd, "rm", "-rf", "--", folder):
        raise OSError(problem)


def _run(cwd: str | None, *command: str) -> str:
    """What it complains about; nothing where it did its work."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return done.stderr.decode(errors="replace").strip() if done.returncode else ""
