"""The build's own Python: a virtual environment, and the variables its commands see.

It is made where it stays, without network and without a look into anybody's home. What the
process that runs us has in its environment goes nowhere: every set of variables starts from
nothing.
"""

import shlex
import sys
from pathlib import Path

from builder.errors import EnvironmentFailed
from builder.git.git_store import SYSTEM_PATH
from builder.interpreters import Interpreter
from builder.log_tail import LogTail
from builder.spec import BuildSpec, Log, Run, SandboxPaths

_BASE = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"}
# Drops `--user`: gotcha G6 in README.
PIP = """#!/bin/sh
for argument do
    shift
    [ "$argument" = --user ] || set -- "$@" "$argument"
done
exec {python} -m pip "$@"
"""


async def make_environment(
    spec: BuildSpec, interpreter: Interpreter, run: Run, log: Log, time_limit: float
) -> None:
    """Make `spec.virtualenv` for an interpreter, with pip in it; raises EnvironmentFailed."""
    tail = LogTail(log)
    spec.virtualenv.mkdir()
    place = SandboxPaths(
        home=spec.code,
        tmp=spec.tmp,
        read=(Path(sys.prefix), Path(sys.base_prefix)),
        write=(spec.virtualenv, spec.tmp),
        prefix=interpreter.prefix,
    )
    for command in _commands(spec, interpreter):
        status = await run(
            command,
            cwd=spec.code,
            place=place,
            variables=_BASE | {"VIRTUALENV_CONFIG_FILE": "/dev/null"},
            log=tail,
            time_limit=time_limit,
        )
        if status != 0:
            last = next((line for line in reversed(tail.lines) if line.strip()), "")
            raise EnvironmentFailed(last or f"{command[0]} ended with {status}")
    _write_wrappers(spec, interpreter)


def script_variables(spec: BuildSpec) -> dict[str, str]:
    """The environment of the build script, but for HOME and TMPDIR.

    What the project sets wins, but for the place of the build's own folders on PATH: the
    script's `pip` and `python` are always the build's.
    """
    own = _BASE | {
        "VIRTUAL_ENV": str(spec.virtualenv),
        "PIP_CACHE_DIR": str(spec.pip_cache),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PYTHONUNBUFFERED": "1",
    }
    path = spec.variables.get("PATH", SYSTEM_PATH)
    wrappers = _wrappers(spec)
    return own | spec.variables | {"PATH": f"{wrappers}:{spec.virtualenv / 'bin'}:{path}"}


def _commands(spec: BuildSpec, interpreter: Interpreter) -> list[list[str]]:
    create = [sys.executable, "-I", "-m", "virtualenv", "--quiet"]
    create += ["--no-download", "--no-periodic-update", "--no-vcs-ignore"]
    create += ["--app-data", str(spec.tmp / "virtualenv"), "--activators", "bash"]
    # Its real path: a build that names a link needs the folder of that, too.
    create += ["--python", str(interpreter.path.resolve())]
    if interpreter.seeded:
        return [[*create, str(spec.virtualenv)]]
    python = str(spec.virtualenv / "bin/python")
    return [
        [*create, "--no-seed", str(spec.virtualenv)],
        [python, "-I", "-m", "ensurepip", "--default-pip"],
    ]


def _wrappers(spec: BuildSpec) -> Path:
    return spec.virtualenv / "predictd-bin"


def _write_wrappers(spec: BuildSpec, interpreter: Interpreter) -> None:
    text = PIP.format(python=shlex.quote(str(spec.virtualenv / "bin/python")))
    _wrappers(spec).mkdir()
    _wrappers(spec).chmod(0o755)  # whoever runs the script may be somebody else than we are
    major, minor, *_ = interpreter.release
    for name in ("pip", f"pip{major}", f"pip{major}.{minor}"):
        wrapper = _wrappers(spec) / name
        wrapper.write_text(text)
        wrapper.chmod(0o755)
