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
    if not _run("rm", "-rf", "--", str(folder)):
        return
    # A script may have taken away our right to change its folders.
    _run("chmod", "-R", "u+rwx", "--", str(folder))
    if problem := _run("rm", "-rf", "--", str(folder)):
        raise OSError(problem)


def _run(*command: str) -> str:
    """What it complains about; nothing where it did its work."""
    done = subprocess.run(
        command, env=_ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.stderr.decode(errors="replace").strip() if done.returncode else ""
