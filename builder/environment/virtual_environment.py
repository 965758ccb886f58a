"""The build's own Python: a virtual environment, and the variables of its commands.

The environment is made where it stays, without network access and without files of a home folder.
Variables of the gateway's own process are not passed on: every set of variables starts empty.
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
    """Create `spec.virtualenv` for an interpreter, with pip. Raises EnvironmentFailed."""
    tail = LogTail(log)
    spec.virtualenv.mkdir()
    paths = SandboxPaths(
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
            paths=paths,
            variables=_BASE | {"VIRTUALENV_CONFIG_FILE": "/dev/null"},
            log=tail,
            time_limit=time_limit,
        )
        if status != 0:
            last = next((line for line in reversed(tail.lines) if line.strip()), "")
            raise EnvironmentFailed(last or f"{command[0]} ended with {status}")
    _write_wrappers(spec, interpreter)


def script_variables(spec: BuildSpec) -> dict[str, str]:
    """Return the variables of the build script, without HOME and TMPDIR.

    Variables of the project win, except that the build's folders come first on PATH: the script's
    `pip` and `python` are always the build's.
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
    # Its real path: a build that refers to a link would need the folder of the link, too.
    create += ["--python", str(interpreter.path.resolve())]
    if interpreter.has_bundled_pip:
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
    _wrappers(spec).chmod(0o755)  # the script may run as another user
    major, minor, *_ = interpreter.release
    for name in ("pip", f"pip{major}", f"pip{major}.{minor}"):
        wrapper = _wrappers(spec) / name
        wrapper.write_text(text)
        wrapper.chmod(0o755)
