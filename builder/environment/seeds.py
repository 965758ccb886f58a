"""Ready seeds: for each interpreter one empty virtual environment, which environments are copied
from.

virtualenv takes 0.5 to 2 s for an environment, a copy of a ready one 0.05 s. A seed is made by
virtualenv before its interpreter is used, or else the first time that it is, and it never changes.
On disk it is complete or absent: it gets its name last, when its files have reached the disk. Its
name is a hash of what it is made from, so another interpreter at the same path, or another
virtualenv, has another seed.

An environment may stand at any path. In a seed, scripts find their interpreter beside themselves,
and `pyvenv.cfg` says so to uv, which then writes such scripts too. Only `bin/activate` has a path,
which the copy corrects.

No process of a project sees a seed. A seed's files are copied, not linked: they belong to the build
until it is sealed.
"""

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec
import trio

from builder.errors import EnvironmentFailed
from builder.files.copy_tree import copy_tree
from builder.files.fsync import sync_file_system, sync_folder
from builder.files.remove_tree import remove_tree
from builder.git.git_store import SYSTEM_PATH
from builder.interpreters import Interpreter
from builder.log_tail import LogTail, NullLog
from builder.sealed_folders import take_ownership
from builder.spec import Log, Run, SandboxPaths

# Stands for the path of an environment in `bin/activate` of a seed.
_PATH = "/predictd-seed"
# The folder of the build script's `pip`, written by `pip/wrappers.py`.
# The packages that virtualenv installs.
SEEDED = ("pip", "setuptools", "wheel")
WRAPPERS = "predictd-bin"
_ACTIVATE = Path("bin/activate")
_SETTINGS = "pyvenv.cfg"
_VARIABLES = {
    "PATH": SYSTEM_PATH,
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "VIRTUALENV_CONFIG_FILE": "/dev/null",
}
# The form that uv and pip know: for sh a command, for Python a text.
_RELOCATABLE = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
"""
# How many lines of a script name its interpreter; the second form is for long paths and blanks.
_SHEBANG_LINES = {b"#!/bin/sh\n": 3}
_UNFINISHED = ".new-"
# What runs a program below all others in priority, but not far: a build may wait for it.
_BELOW_OTHERS = ("nice", "-n", "5")
# The most bytes that the first line of a script may have.
_LONGEST_LINE = 4096
# In seconds.
_HOUR, _MONTH = 3600.0, 30 * 24 * 3600.0


class Seeds:
    """The seeds beneath `folder`. `run` runs virtualenv, as a program that no project has."""

    def __init__(self, folder: Path, run: Run) -> None:
        self._folder = folder
        self._run = run
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()

    async def make_environment(
        self,
        virtualenv: Path,
        interpreter: Interpreter,
        log: Log,
        time_limit: float,
        base: Path | None = None,
    ) -> None:
        """Make an environment at `virtualenv`, which must not exist, with pip: a copy of `base`, or
        of the interpreter's seed. `base` is a sealed environment of the same interpreter. Raises
        EnvironmentFailed, TimeoutError, OSError."""
        if base is not None:
            await trio.to_thread.run_sync(_copy_base, base, virtualenv)
            return
        seed = await self._seed(interpreter, log, time_limit)
        await trio.to_thread.run_sync(_copy, seed, virtualenv)

    async def prepare(self, interpreter: Interpreter, time_limit: float) -> None:
        """Make the seed of an interpreter, unless it is there. An environment that is made
        meanwhile waits for it. Raises EnvironmentFailed, TimeoutError, OSError."""
        await self._seed(interpreter, NullLog(), time_limit, _BELOW_OTHERS)

    async def _seed(
        self, interpreter: Interpreter, log: Log, time_limit: float, runner: Sequence[str] = ()
    ) -> Path:
        """The seed of an interpreter, made by commands that `runner` begins if it is missing."""
        seed = self._folder / await trio.to_thread.run_sync(_name, interpreter)
        async with self._locks.setdefault(seed.name, trio.Lock()):
            if not await trio.to_thread.run_sync(seed.is_dir):
                log.write(f"Preparing Python {interpreter.version} for its first environment")
                await self._make(seed, interpreter, log, time_limit, runner)
        return seed

    async def _make(
        self,
        seed: Path,
        interpreter: Interpreter,
        log: Log,
        time_limit: float,
        runner: Sequence[str],
    ) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self._folder))
        try:
            made = workshop / "environment"
            for name in ("home", "tmp", made.name):
                (workshop / name).mkdir()
            await self._run_virtualenv(workshop, made, interpreter, log, time_limit, runner)
            await trio.to_thread.run_sync(_finish, made, seed)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(remove_tree, workshop)

    async def _run_virtualenv(
        self,
        workshop: Path,
        made: Path,
        interpreter: Interpreter,
        log: Log,
        time_limit: float,
        runner: Sequence[str],
    ) -> None:
        tail = LogTail(log)
        paths = SandboxPaths(
            home=workshop / "home",
            tmp=workshop / "tmp",
            read=(Path(sys.prefix), Path(sys.base_prefix)),
            write=(made,),
            prefix=interpreter.prefix,
        )
        for command in _commands(interpreter, str(made), str(workshop / "tmp")):
            status = await self._run(
                [*runner, *command],
                cwd=workshop / "home",
                paths=paths,
                variables=_VARIABLES,
                log=tail,
                time_limit=time_limit,
            )
            if status != 0:
                last = next((line for line in reversed(tail.lines) if line.strip()), "")
                raise EnvironmentFailed(last or f"{command[0]} ended with {status}")


def unused_seeds(folder: Path) -> list[Path]:
    """Return the seeds that no build has used for a month, and what killed gateways have left.
    Blocking."""
    now = time.time()
    return [
        path
        for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if path.lstat().st_mtime < now - (_HOUR if path.name.startswith(_UNFINISHED) else _MONTH)
    ]


def _name(interpreter: Interpreter) -> str:
    """The name of an interpreter's seed: what it is made from. Blocking."""
    program = interpreter.path.resolve()
    facts = program.stat()
    parts = [
        str(program),
        interpreter.version,
        [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns],
        _virtualenv_version(),
        list(_commands(interpreter, "", "")),
    ]
    digest = sha256(msgspec.json.encode(parts)).hexdigest()
    return f"{interpreter.identifier}-{digest[:24]}"


@cache
def _virtualenv_version() -> str:
    return version("virtualenv")


def _commands(interpreter: Interpreter, made: str, tmp: str) -> Iterator[list[str]]:
    create = [sys.executable, "-I", "-m", "virtualenv", "--quiet"]
    create += ["--no-download", "--no-periodic-update", "--no-vcs-ignore"]
    create += ["--app-data", f"{tmp}/virtualenv", "--activators", "bash"]
    # Its real path: a build that refers to a link would need the folder of the link, too.
    create += ["--python", str(interpreter.path.resolve())]
    if interpreter.has_bundled_pip:
        yield [*create, made]
    else:  # gotcha G5 in README
        yield [*create, "--no-seed", made]
        yield [f"{made}/bin/python", "-I", "-m", "ensurepip", "--default-pip"]


def _finish(made: Path, seed: Path) -> None:
    """Make a seed of the environment that virtualenv has made, and give it its name."""
    take_ownership(made)
    made.chmod(0o755)
    _replace(made / _ACTIVATE, shlex.quote(str(made)), _PATH)
    settings = (made / _SETTINGS).read_bytes().splitlines(keepends=True)
    kept = [line for line in settings if not line.startswith(b"command ")]
    (made / _SETTINGS).write_bytes(b"".join([*kept, b"relocatable = true\n"]))
    for script in (made / "bin").iterdir():
        if not script.is_symlink():
            _make_relocatable(script)
    sync_file_system(made)
    try:
        made.rename(seed)
    except OSError:
        if not seed.is_dir():  # another gateway of the same folder of seeds was quicker
            raise
    sync_folder(seed.parent)


def _make_relocatable(script: Path) -> None:
    content = script.read_bytes()
    if content.startswith(b"#!"):
        script.write_bytes(relocatable(content))


def relocatable(script: bytes) -> bytes:
    """Return a script of Python that finds its interpreter beside itself."""
    lines = script.splitlines(keepends=True)
    return _RELOCATABLE + b"".join(lines[_SHEBANG_LINES.get(lines[0], 1) :])


def _copy(seed: Path, virtualenv: Path) -> None:
    os.utime(seed)  # unused ones are garbage
    copy_tree(seed, virtualenv)
    _replace(virtualenv / _ACTIVATE, _PATH, shlex.quote(str(virtualenv)))


def _copy_base(base: Path, virtualenv: Path) -> None:
    copy_tree(base, virtualenv)
    _replace(virtualenv / _ACTIVATE, shlex.quote(str(base)), shlex.quote(str(virtualenv)))
    remove_tree(virtualenv / WRAPPERS)
    for script in (virtualenv / "bin").iterdir():
        if script.is_symlink() or not script.is_file():
            continue
        with script.open("rb") as file:
            first = file.readline(_LONGEST_LINE)
        # What pip itself has installed names its interpreter by its path.
        if first.startswith(b"#!") and os.fsencode(base) in first:
            _make_relocatable(script)


def _replace(file: Path, old: str, new: str) -> None:
    file.write_bytes(file.read_bytes().replace(os.fsencode(old), os.fsencode(new)))
