"""The build's own Python: a virtual environment.

The environment is made where it stays, without network access and without files of a home folder.
Variables of the gateway's own process are not passed on.
"""

import sys
from pathlib import Path

from builder.environment.pip.wrappers import write_wrappers
from builder.errors import EnvironmentFailed
from builder.git.git_store import SYSTEM_PATH
from builder.interpreters import Interpreter
from builder.log_tail import LogTail
from builder.spec import BuildSpec, Log, Run, SandboxPaths

_BASE = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"}


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
    write_wrappers(spec, interpreter)


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
