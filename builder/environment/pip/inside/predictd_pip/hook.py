"""Leads `python -m pip`, and the pip of the environment's `bin`, to the build's `pip`.

`import pip` is not touched, so tools that use pip as a library still can. An upgrade of pip
replaces its files, so the hook is set again after each request (gotcha G4).
"""

import os
import sys
from typing import Iterator, Tuple

# Set for the real pip and what it starts.
REAL = "PREDICTD_PIP_RUNS"
MARK = "# predictd: this is the `pip` of the build, which asks uv where it can.\n"
MODULE = (
    MARK
    + f"""import os as _os, sys as _sys
_own = _os.path.join(_os.path.dirname(__file__), *[_os.pardir] * 4, "predictd-bin", "pip")
if __name__ == "__main__" and {REAL!r} not in _os.environ and _os.access(_own, _os.X_OK):
    _os.execv(_own, [_own, *_sys.argv[1:]])
"""
)
PROGRAM = "#!/bin/sh\n" + MARK + 'exec "${0%/*}/../predictd-bin/pip" "$@"\n'


def set_hook(environment: str, release: Tuple[int, int] = sys.version_info[:2]) -> None:
    """Sets the hook where it is missing. Files are replaced: others may share their content."""
    try:
        for path, text, keep in _places(environment, release):
            with open(path, encoding="utf-8") as file:
                before = file.read()
            if MARK not in before:
                _replace(path, text + before if keep else text)
    except (OSError, UnicodeDecodeError):
        pass  # there is no pip, or it may not be changed: then it is used as it is


def _places(environment: str, release: Tuple[int, int]) -> Iterator[Tuple[str, str, bool]]:
    major, minor = release
    module = f"{environment}/lib/python{major}.{minor}/site-packages/pip/__main__.py"
    yield module, MODULE, True
    for name in ("pip", f"pip{major}", f"pip{major}.{minor}", f"pip-{major}.{minor}"):
        path = f"{environment}/bin/{name}"
        if os.path.isfile(path):
            yield path, PROGRAM, False


def _replace(path: str, text: str) -> None:
    mode = os.stat(path).st_mode & 0o777
    temporary = f"{path}.predictd"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(temporary, mode)
    os.replace(temporary, path)
