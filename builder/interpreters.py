"""The interpreters of this machine that models can be built for, and their names.

A candidate is used when it runs, and is a CPython 3.8 or newer that can make a virtual environment,
or an R (`r_interpreters.py`). It is asked itself, isolated (`-I`), without its packages (`-S`) and
with an empty environment. What it should have is looked for, not imported: that took twice as long.
Among several with the same minor version the newest patch is used, unless one of them is the
default. The default is a Python; of the Rs the newest is meant by `r`.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from builder.bounded_cache import BoundedCache
from builder.errors import InterpreterUnusable, RMissing, UnknownKernel
from builder.interpreter_question import ask, dotted
from builder.r_interpreters import PROGRAM as RSCRIPT
from builder.r_interpreters import ask_r

OLDEST = (3, 8)
# virtualenv 21 bundles no pip for older ones: gotcha G5 in README.
OLDEST_SEEDED = (3, 9)
Language = Literal["python", "r"]
_MOST_KNOWN = 64
NAME = re.compile(rf"python3(\.\d+)?|{RSCRIPT}")
QUESTION = """
import _ssl, json, sys, zlib
from importlib.machinery import PathFinder
for name in ("platform", "ssl", "sysconfig", "zipfile"):
    if PathFinder.find_spec(name) is None:
        sys.exit("ModuleNotFoundError: No module named " + repr(name))
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": list(sys.version_info[:3]),
    "path": getattr(sys, "_base_executable", None) or sys.executable,
    "ensurepip": PathFinder.find_spec("ensurepip") is not None,
}))
"""


class Interpreter(Struct, frozen=True, kw_only=True):
    """One interpreter: `identifier` and `kernel` are its names, `version` has the patch. `path` is
    its program; of R that is Rscript. `root` is the folder of an R that is not that of its
    program."""

    identifier: str
    kernel: str
    version: str
    path: Path
    default: bool = False
    language: Language = "python"
    root: Path | None = None

    @property
    def name(self) -> str:
        """The name of its language."""
        return "R" if self.language == "r" else "Python"

    @property
    def release(self) -> tuple[int, ...]:
        return release_of(self.version)

    @property
    def prefix(self) -> Path:
        """The folder of its program and its library."""
        return self.root or self.path.resolve().parent.parent

    @property
    def has_bundled_pip(self) -> bool:
        """Whether virtualenv bundles a pip for it."""
        return self.release >= OLDEST_SEEDED


def language_of_file(file: str) -> Language:
    """Return the language of a source file, by the ending of its name."""
    return "r" if file.lower().endswith(".r") else "python"


def of_language(language: Language, interpreters: Sequence[Interpreter]) -> Interpreter:
    """Return the interpreter that files of a language get by default. Raises RMissing."""
    if language == "python":
        return match("", interpreters)
    return match("r", interpreters)


def release_of(version: str) -> tuple[int, ...]:
    """Return a version as numbers, which compare as versions do."""
    return tuple(map(int, version.split(".")))


async def discover(default: Path | None = None, downloads: Path | None = None) -> list[Interpreter]:
    """Return all usable interpreters, oldest first, Pythons before Rs; exactly one is the default.

    The default is the one at `default`, else the one that runs predictd. Those in `downloads` are
    found beside those of the machine. Raises InterpreterUnusable when the default does not work.
    """
    chosen = replace(await inspect(default or Path(sys.executable)), default=True)
    best = {chosen.identifier: chosen}
    # A thread for each, so that a gateway that stops meanwhile waits for one of them only.
    for path in await trio.to_thread.run_sync(_unseen, chosen.path, downloads):
        try:
            found = await inspect(path)
        except InterpreterUnusable:
            continue
        known = best.setdefault(found.identifier, found)
        if found.release > known.release and not known.default:
            best[found.identifier] = found
    return sorted(best.values(), key=lambda each: (each.language, each.release))


async def inspect(path: Path) -> Interpreter:
    """Return the version and features of one interpreter, which is asked once until its program
    changes. Raises InterpreterUnusable."""
    return await trio.to_thread.run_sync(_inspect_once, path)


def match(kernel: str, interpreters: Sequence[Interpreter]) -> Interpreter:
    """Return the interpreter that a kernel name means, such as `python3`, `Python 3.11`, `3.11`,
    "", `r` or `R 4.2`. Case and blanks are ignored. Raises UnknownKernel, which lists the available
    ones, and RMissing."""
    wanted = "".join(kernel.split()).lower()
    rs = [each for each in interpreters if each.language == "r"]
    if wanted == "r":
        if not rs:
            raise RMissing
        return rs[-1]
    for interpreter in interpreters:
        if wanted in (interpreter.identifier, interpreter.identifier.removeprefix("python")) or (
            interpreter.default and wanted in ("", "python", "python3")
        ):
            return interpreter
    raise UnknownKernel(kernel, [interpreter.kernel for interpreter in interpreters])


def _candidates(downloads: Path | None) -> Iterator[Path]:
    found = sorted(downloads.glob("*/bin")) if downloads else []
    for folder in (*_folders(), *found):
        # A shim starts the version that its tool selects, slowly.
        if folder.name != "shims" and os.access(folder, os.R_OK | os.X_OK):
            names = (*folder.glob("python3*"), folder / RSCRIPT)
            yield from sorted(path for path in names if _runs(path))


def _folders() -> Iterator[Path]:
    yield from (Path(folder) for folder in os.get_exec_path() if os.path.isabs(folder))
    yield from (Path("/usr/bin"), Path("/usr/local/bin"))
    home = Path(os.path.expanduser("~"))
    for parent, pattern in (
        (Path("/opt"), "*/bin"),
        (Path("/opt"), "*/*/bin"),
        (home / ".pyenv/versions", "*/bin"),
        (home / ".local/share/uv/python", "*/bin"),
    ):
        yield from sorted(parent.glob(pattern))


def _runs(path: Path) -> bool:
    return NAME.fullmatch(path.name) is not None and os.access(path, os.X_OK)


def _unseen(chosen: Path, downloads: Path | None) -> list[Path]:
    """Return each program once, but not the chosen one."""
    seen, unseen = {os.path.realpath(chosen)}, []
    for path in _candidates(downloads):
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            unseen.append(path)
    return unseen


def _inspect_once(path: Path) -> Interpreter:
    before = _program(path)
    key = path, before
    if (known := _known.get(key)) is not None:
        return known
    found = _inspect(path)
    # A script may start another one next time. What R can do depends on its packages, and an old
    # Python on its modules.
    is_itself = os.path.realpath(found.path) == os.path.realpath(path)
    is_fixed = found.language == "python" and found.has_bundled_pip
    if is_itself and is_fixed and before is not None and _program(path) == before:
        _known.put(key, found)
    return found


def _program(path: Path) -> tuple[str, int, int, int, int, int] | None:
    """What changes with a program; None if it cannot be told."""
    try:
        real = os.path.realpath(path)
        facts = os.stat(real)
    except OSError:
        return None
    changed = facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
    return real, facts.st_dev, facts.st_ino, *changed


def _inspect(path: Path) -> Interpreter:
    if path.name == RSCRIPT:
        version, root = ask_r(path)
        minor = dotted(release_of(version)[:2])
        return Interpreter(
            identifier=f"r{minor}",
            kernel=f"R {minor}",
            version=version,
            path=path,
            language="r",
            root=root,
        )
    facts = _ask(path)
    version_info = facts.version
    if facts.implementation.lower() != "cpython":
        raise InterpreterUnusable(path, f"it is {facts.implementation}, not CPython")
    if version_info < OLDEST:
        raise InterpreterUnusable(path, f"it is Python {dotted(version_info)}, older than 3.8")
    minor = dotted(version_info[:2])
    interpreter = Interpreter(
        identifier=f"python{minor}",
        kernel=f"Python {minor}",
        version=dotted(version_info),
        path=Path(facts.path),
    )
    if not interpreter.has_bundled_pip and not facts.ensurepip:
        raise InterpreterUnusable(path, "it has no ensurepip module")
    return interpreter


_known: BoundedCache[object, Interpreter] = BoundedCache(_MOST_KNOWN)


class _Facts(Struct):
    """The answer to `QUESTION`."""

    implementation: str
    version: tuple[int, int, int]
    path: str
    ensurepip: bool


def _ask(path: Path) -> _Facts:
    answer = ask(path, "-I", "-S", "-c", QUESTION)
    try:
        return msgspec.json.decode(answer, type=_Facts)
    except ValueError as error:
        raise InterpreterUnusable(path, "its answer is not that of Python") from error
