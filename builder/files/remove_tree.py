"""Removes folders that scripts and other untrusted programs made.

It runs the system's `rm`: folders may be nested by the thousand, which a recursion (rmtree) does
not survive. The workers remove trees by descriptors instead, within a time limit
(`workers/untrusted_tree.py`); the packages do not import each other.
"""

import subprocess
from pathlib import Path

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def remove_tree(folder: Path) -> None:
    """Remove a folder and its content, regardless of permissions and depth, and no target of a
    link.

    A missing folder is fine. Blocking. Raises OSError where something is left.
    """
    _remove(str(folder), None)


def remove_below(above: int, name: str) -> None:
    """Remove a folder by its name in an open folder, so that no swapped link can redirect it.
    Raises OSError."""
    _remove(f"./{name}", f"/proc/self/fd/{above}")


def _remove(folder: str, cwd: str | None) -> None:
    if not _run(cwd, "rm", "-rf", "--", folder):
        return
    # A script may have removed the permission to change its folders.
    _run(cwd, "chmod", "-R", "u+rwx", "--", folder)
    if problem := _run(cwd, "rm", "-rf", "--", folder):
        raise OSError(problem)


def _run(cwd: str | None, *command: str) -> str:
    """Return its error output, or "" on success."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return done.stderr.decode(errors="replace").strip() if done.returncode else ""
