"""The `pip` of a build script, and the script's variables.

The program lies in a folder of the environment that comes first on PATH: a copy of
`inside/predictd_pip`, since the script's Python sees no files of ours. Variables of the gateway's
own process are not passed on: every set of variables starts empty.
"""

import fcntl
import json
import shutil
from pathlib import Path
from tempfile import TemporaryFile

from uv import find_uv_bin

from builder.environment.constraints import constraint_variables
from builder.environment.pip.inside.predictd_pip.decision import BEST_MATCH, STRATEGY, uv_variables
from builder.environment.pip.inside.predictd_pip.hook import set_hook
from builder.environment.pip.requests import record_path
from builder.environment.r.library import r_variables
from builder.environment.seeds import WRAPPERS
from builder.git.git_store import SYSTEM_PATH
from builder.interpreters import Interpreter
from builder.spec import BuildSpec

PROGRAM = """#!/bin/sh
here=${0%/*}
exec "$here/../bin/python" -IS -c 'import sys
sys.path.insert(0, sys.argv.pop(1))
from predictd_pip.command import main
main()' "$here" "$@"
"""
_SOURCE = Path(__file__).parent / "inside" / "predictd_pip"
_FICLONE = 0x40049409  # of linux/fs.h


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
    own |= spec.variables | {"PATH": f"{_folder(spec)}:{spec.virtualenv / 'bin'}:{path}"}
    return own | r_variables(spec) | constraint_variables(spec, own)


def uv_script_variables(spec: BuildSpec, own: dict[str, str]) -> dict[str, str]:
    """Return the variables of uv for the indexes of the script, and our `own`."""
    own = {STRATEGY: BEST_MATCH, **own}
    return uv_variables(script_variables(spec), own, str(uv_cache(spec)), "copy")


def uv_program() -> Path:
    """The program `uv`, which is shown to the script."""
    return Path(find_uv_bin()).resolve()


def uv_cache(spec: BuildSpec) -> Path:
    """uv's cache, which the builds of one project share."""
    return spec.pip_cache / "uv"


def link_mode(spec: BuildSpec) -> str:
    """How uv puts files of its cache into the environment: never by hard link, since a later build
    could then change this one: gotcha G1 in README."""
    with TemporaryFile(dir=spec.pip_cache) as cached, TemporaryFile(dir=spec.virtualenv) as file:
        cached.write(b"cloned")
        cached.flush()
        try:
            fcntl.ioctl(file, _FICLONE, cached.fileno())
        except OSError:
            return "copy"
    return "clone"


def write_wrappers(spec: BuildSpec, interpreter: Interpreter) -> None:
    """Write `pip`, `pip3` and `pip3.N` into an environment, and lead its own pip to them.
    Blocking."""
    folder = _folder(spec)
    folder.mkdir()
    shutil.copytree(_SOURCE, folder / _SOURCE.name, ignore=shutil.ignore_patterns("__pycache__"))
    settings = {
        "uv": str(uv_program()),
        "cache": str(uv_cache(spec)),
        "link_mode": link_mode(spec),
        "requests": str(record_path(spec)),
        "bytecode": str(spec.bytecode or ""),
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    major, minor, *_ = interpreter.release
    for name in ("pip", f"pip{major}", f"pip{major}.{minor}"):
        (folder / name).write_text(PROGRAM)
    set_hook(str(spec.virtualenv), (major, minor))
    for path in (folder, *folder.rglob("*")):  # the script may run as another user
        path.chmod(0o644 if path.suffix in (".py", ".json") else 0o755)


def _folder(spec: BuildSpec) -> Path:
    return spec.virtualenv / WRAPPERS
