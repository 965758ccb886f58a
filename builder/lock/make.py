"""Makes the lock of an environment after its script has run.

uv's cache has what the index said to the script about the packages that uv installed. The index is
asked only where the cache does not have all.

What virtualenv itself puts into an environment (`pip`, and `setuptools` for older Pythons) is not
in the lock, unless the script has installed another version of it. Packages of R are locked without
hashes: a repository has none for older versions.
"""

from pathlib import Path

import trio
from msgspec.structs import replace

from builder.environment.pip.fingerprint import OFFLINE
from builder.environment.pip.question import question_folder
from builder.environment.pip.requests import read_requests
from builder.environment.pip.wrappers import script_variables, uv_program, uv_script_variables
from builder.environment.r.library import library_of
from builder.environment.r.packages import read_library
from builder.files.remove_tree import remove_tree
from builder.interpreters import Interpreter
from builder.lock.index_options import CONSTRAINTS, index_options
from builder.lock.installed import (
    Installed,
    TooManyPackages,
    is_archive,
    package_of,
    read_installed,
    site_packages,
)
from builder.lock.pylock import MOST_BYTES, Lock, LockText, write_lock
from builder.lock.resolve import FAILED, MOST_TRIES, Found, resolve
from builder.log_tail import LogTail, NullLog
from builder.spec import BuildSpec, Log, Run, SandboxPaths

# Seconds for all questions to the index about one environment.
TIME_LIMIT = 30.0
NOT_OF_INDEX = "they were not installed from an index"
# Fails sooner than an installation: without an answer the lock has no hashes, and says so.
_UV = {"UV_HTTP_RETRIES": "1", "UV_HTTP_TIMEOUT": "10"}


async def read_environment(spec: BuildSpec, interpreter: Interpreter) -> list[Installed]:
    """Return the packages in the environment of a build. Raises OSError, TooManyPackages."""
    folder = site_packages(spec.virtualenv, interpreter.version)
    return await trio.to_thread.run_sync(_read, folder)


async def make_lock(
    spec: BuildSpec,
    interpreter: Interpreter,
    before: list[Installed],
    *,
    r: str,
    run: Run,
    log: Log,
    time_left: float,
) -> LockText | None:
    """Return the lock; None, and a line in the log, where there is too much for a lock.
    `interpreter` is the Python, and `before` are its packages before the script. `r` is the version
    of R, "" without. Raises OSError."""
    try:
        installed = [
            each for each in await read_environment(spec, interpreter) if each not in before
        ]
    except TooManyPackages as error:
        log.write(f"The environment is not locked: {error}")
        return None
    found = await _find(spec, interpreter, installed, run, min(TIME_LIMIT, time_left))
    of_r = await trio.to_thread.run_sync(read_library, library_of(spec.virtualenv))
    lock = replace(_lock_of(installed, found, interpreter, str(spec.home)), r=r, r_packages=of_r)
    unhashed = [each.name for each in lock.packages if each.is_unhashed]
    if unhashed:
        log.write(f"Locked without hashes: {_shown(unhashed)} ({lock.unhashed_because})")
    text = write_lock(lock)
    if len(text.text.encode()) > MOST_BYTES:
        log.write(f"The environment is not locked: its lock has more than {MOST_BYTES:,} bytes")
        return None
    return text


async def _find(
    spec: BuildSpec, interpreter: Interpreter, installed: list[Installed], run: Run, limit: float
) -> Found:
    """Ask the indexes of the script's requests for the files that the environment does not tell."""
    home = str(spec.home)
    asked = [
        each
        for each in installed
        if (each.direct is None or is_archive(each)) and package_of(each, home).is_unhashed
    ]
    requests = await trio.to_thread.run_sync(read_requests, spec, script_variables(spec))
    deadline = trio.current_time() + limit
    every = index_options(spec, requests)
    # Not each requirements file can be used as constraints.
    without_files = [each for each in every if not each.startswith(CONSTRAINTS)]
    folder = _folder(spec)
    found = Found(packages={})
    ways = [(every, OFFLINE), (every, {})]
    if without_files != every:
        ways.append((without_files, {}))
    try:
        for options, more in ways:
            found = await resolve(
                asked,
                folder=folder,
                python=spec.virtualenv / "bin/python",
                home=home,
                run_uv=_Uv(spec, interpreter, run, options, _UV | more, deadline),
                most_tries=1 if more else MOST_TRIES,
            )
            if not found.missing_because or (not more and found.missing_because != FAILED):
                break
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(remove_tree, folder)
    return found


def _folder(spec: BuildSpec) -> Path:
    return question_folder(spec, "lock")


def _read(folder: Path) -> list[Installed]:
    try:
        return read_installed(folder)
    except FileNotFoundError:
        return []  # the script has removed it


def _lock_of(installed: list[Installed], found: Found, interpreter: Interpreter, home: str) -> Lock:
    packages = []
    for each in installed:
        package = package_of(each, home)
        if package.is_unhashed:
            of_index = found.packages.get(each.name, package)
            # An index may have another package under this name, without this version.
            package = of_index if of_index.version == each.version else package
        packages.append(package)
    unhashed = any(each.is_unhashed for each in packages)
    because = (found.missing_because or NOT_OF_INDEX) if unhashed else ""
    return Lock(python=interpreter.version, packages=packages, unhashed_because=because)


def _shown(names: list[str], most: int = 5) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


class _Uv:
    """uv with the paths, variables and indexes of the build script, until a deadline."""

    def __init__(
        self,
        spec: BuildSpec,
        interpreter: Interpreter,
        run: Run,
        options: list[str],
        variables: dict[str, str],
        deadline: float,
    ) -> None:
        self._spec = spec
        self._interpreter = interpreter
        self._run = run
        self._options = options
        self._variables = variables
        self._deadline = deadline

    async def __call__(self, *arguments: str) -> tuple[int, str]:
        spec = self._spec
        tail = LogTail(NullLog())
        given = uv_script_variables(spec, self._variables)
        status = await self._run(
            [str(uv_program()), *arguments, *self._options],
            cwd=spec.code,
            paths=SandboxPaths(
                home=spec.code,
                tmp=spec.tmp,
                read=(uv_program(), spec.virtualenv),
                write=(spec.pip_cache, _folder(spec)),
                prefix=self._interpreter.prefix,
            ),
            variables=given,
            log=tail,
            time_limit=max(0.0, self._deadline - trio.current_time()),
        )
        return status, "\n".join(tail.lines)
