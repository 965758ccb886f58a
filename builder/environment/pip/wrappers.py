"""The `pip` of a build script, and the script's variables.

The wrappers lie in a folder of the environment that comes first on PATH. Variables of the gateway's
own process are not passed on: every set of variables starts empty.
"""

import shlex
from pathlib import Path

from builder.git.git_store import SYSTEM_PATH
from builder.interpreters import Interpreter
from builder.spec import BuildSpec

# Drops `--user`: gotcha G6 in README.
PIP = """#!/bin/sh
for argument do
    shift
    [ "$argument" = --user ] || set -- "$@" "$argument"
done
exec {python} -m pip "$@"
"""


def script_variables(spec: BuildSpec) -> dict[str, str]:
    """Return the variables of the build script, without HOME and TMPDIR.

    Variables of the project win, except that the build's folders come first on PATH: the script's
    `pip` and `python` are always the build's.
    """
    own = {
        "PATH": SYSTEM_PATH,
        "LANG": "C.UTF-8",
        "VIRTUAL_ENV": str(spec.virtualenv),
        "PIP_CACHE_DIR": str(spec.pip_cache),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PYTHONUNBUFFERED": "1",
    }
    path = spec.variables.get("PATH", SYSTEM_PATH)
    wrappers = _wrappers(spec)
    return own | spec.variables | {"PATH": f"{wrappers}:{spec.virtualenv / 'bin'}:{path}"}


def write_wrappers(spec: BuildSpec, interpreter: Interpreter) -> None:
    """Write `pip`, `pip3` and `pip3.N` into an environment."""
    text = PIP.format(python=shlex.quote(str(spec.virtualenv / "bin/python")))
    _wrappers(spec).mkdir()
    _wrappers(spec).chmod(0o755)  # the script may run as another user
    major, minor, *_ = interpreter.release
    for name in ("pip", f"pip{major}", f"pip{major}.{minor}"):
        wrapper = _wrappers(spec) / name
        wrapper.write_text(text)
        wrapper.chmod(0o755)


def _wrappers(spec: BuildSpec) -> Path:
    return spec.virtualenv / "predictd-bin"
