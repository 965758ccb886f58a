"""Makes the lock of an environment after its script has run.

What virtualenv itself puts into an environment (`pip`, and `setuptools` for older Pythons) is not
in the lock, unless the script has installed another version of it.
"""

import sys
from functools import partial
from pathlib import Path

import trio

from builder.environment.pip.wrappers import script_variables
from builder.interpreters import Interpreter
from builder.lock.installed import (
    Installed,
    TooManyPackages,
    package_of,
    read_installed,
    site_packages,
)
from builder.lock.pylock import MOST_BYTES, Lock, LockText, write_lock
from builder.lock.resolve import Found, resolve
from builder.log_tail import LogTail, NullLog
from builder.spec import BuildSpec, Log, Run, SandboxPaths

# Seconds for all questions to the index about one environment.
TIME_LIMIT = 30.0
NOT_OF_INDEX = "they were not installed from an index"
# Fails sooner than an installation: without an answer the lock has no hashes, and says so.
_UV = {
    "UV_HTTP_RETRIES": "1",
    "UV_HTTP_TIMEOUT": "10",
    "UV_INDEX_STRATEGY": "unsafe-best-match",
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_SYSTEM_CERTS": "1",
}
_TRUE = ("1", "true", "yes", "on")
_OF_PIP = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_TRUSTED_HOST": "UV_INSECURE_HOST",
}


async def read_environment(spec: BuildSpec, interpreter: Interpreter) -> list[Installed]:
    """Return the packages in the environment of a build. Raises OSError, TooManyPackages."""
    folder = site_packages(spec.virtualenv, interpreter.version)
    return await trio.to_thread.run_sync(_read, folder)


async def make_lock(
    spec: BuildSpec,
    interpreter: Interpreter,
    before: list[Installed],
    *,
    run: Run,
    log: Log,
    time_left: float,
) -> LockText | None:
    """Return the lock; None, and a line in the log, where there is too much for a lock.
    `before` are the packages before the script. Raises OSError."""
    try:
        installed = [
            each for each in await read_environment(spec, interpreter) if each not in before
        ]
    except TooManyPackages as error:
        log.write(f"The environment is not locked: {error}")
        return None
    found = await resolve(
        [each for each in installed if each.direct is None],
        folder=_folder(spec),
        python=spec.virtualenv / "bin/python",
        home=str(spec.home),
        run_uv=partial(
            _run_uv, spec, interpreter, run, trio.current_time() + min(TIME_LIMIT, time_left)
        ),
    )
    lock = _lock_of(installed, found, interpreter, str(spec.home))
    unhashed = [each.name for each in lock.packages if each.is_unhashed]
    if unhashed:
        log.write(f"Locked without hashes: {_shown(unhashed)} ({lock.unhashed_because})")
    text = write_lock(lock)
    if len(text.text.encode()) > MOST_BYTES:
        log.write(f"The environment is not locked: its lock has more than {MOST_BYTES:,} bytes")
        return None
    return text


def _folder(spec: BuildSpec) -> Path:
    """The folder of the questions to uv. The jail shows it at this path."""
    return spec.tmp / "lock"


def _read(folder: Path) -> list[Installed]:
    try:
        return read_installed(folder)
    except FileNotFoundError:
        return []  # the script has removed it


def _lock_of(installed: list[Installed], found: Found, interpreter: Interpreter, home: str) -> Lock:
    packages = []
    for each in installed:
        package = package_of(each, home)
        if each.direct is None:
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


async def _run_uv(
    spec: BuildSpec, interpreter: Interpreter, run: Run, deadline: float, *arguments: str
) -> tuple[int, str]:
    """Run uv with the paths and variables of the build script."""
    tail = LogTail(NullLog())
    uv = Path(sys.prefix) / "bin/uv"
    no_index = ["--no-index"] if spec.variables.get("PIP_NO_INDEX", "") in _TRUE else []
    status = await run(
        [str(uv), *arguments, *no_index],
        cwd=spec.code,
        paths=SandboxPaths(
            home=spec.code,
            tmp=spec.tmp,
            read=(Path(sys.prefix), Path(sys.base_prefix), spec.virtualenv),
            write=(spec.pip_cache, _folder(spec)),
            prefix=interpreter.prefix,
        ),
        variables=_variables(spec),
        log=tail,
        time_limit=max(0.0, deadline - trio.current_time()),
    )
    return status, "\n".join(tail.lines)


def _variables(spec: BuildSpec) -> dict[str, str]:
    """Return the variables of the build script, with those of pip that name an index as uv's."""
    given = script_variables(spec)
    translated = {_OF_PIP[name]: value for name, value in given.items() if name in _OF_PIP}
    return given | translated | _UV | {"UV_CACHE_DIR": str(spec.pip_cache / "uv")}
