"""Which folder of an interpreter a process may see that runs in an environment made from it.

The gateway recorded the interpreter when it made the environment. It does not trust the environment
itself (`pyvenv.cfg`, the target of `bin/python`): a build script can write anything there.
"""

import errno
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

_HOMES = Path("/home")


def shown(prefix: Path, hidden: Path) -> tuple[Path, ...]:
    """What a view must show of `prefix` beside the system: nothing, or its real path.

    `hidden` is the data folder's real path. Raises OSError for a folder that would show too much:
    one in the data folder, or one that has a home in it.
    """
    real = prefix.resolve()
    if real.is_relative_to("/usr"):
        return ()
    if real.is_relative_to(hidden):
        raise _refused(real, "lies in the data folder")
    if real.parent == _HOMES or any(home.is_relative_to(real) for home in _homes()):
        raise _refused(real, "is a user's home, or has one in it")
    return (real,)


def _homes() -> Iterator[Path]:
    """Not the homes of all users: in a large network their list takes seconds."""
    yield from (_HOMES, Path("/root"))
    try:
        yield Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:  # a user without a name
        return


def _refused(prefix: Path, why: str) -> OSError:
    text = f"the interpreter's folder {why} and is not shown to models: use another Python"
    return OSError(errno.EPERM, text, str(prefix))
