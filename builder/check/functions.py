"""Lists the functions of a project's files, from which a user picks the one to serve.

The folder is read as it is, within bounds. An interpreter of the machine parses the sources,
confined like the project's code: `source.py` says why. What it finds is an offer, not a check.
"""

import os
from collections.abc import Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec
import trio
from msgspec import Struct

from builder.check.source import ask_interpreter
from builder.files.safe_open import Folder, NotAFile
from builder.interpreters import Interpreter
from builder.snapshot.project_files import CACHES
from builder.spec import Run

SUFFIXES = (".py", ".R", ".r")
MOST_FILES, MOST_ENTRIES, DEEPEST = 200, 5_000, 5
MOST_BYTES = 2 * 1024 * 1024  # of all sources
# Files and functions of all projects that are remembered: some 10 MB.
MOST_CACHED = 50_000
_PROGRAM = Path(__file__).with_name("find_functions.py")
_PASSED = {os.fsdecode(name) for name in CACHES}


class FoundFunction(Struct, frozen=True):
    """A function of a file; `summary` is the first line of its documentation."""

    name: str
    signature: str
    summary: str
    line: int


class SourceFile(Struct, frozen=True):
    """A file and its functions; `problem` says why it cannot be read, or is ""."""

    path: str
    functions: list[FoundFunction] = []
    problem: str = ""


class _Found(Struct):
    problem: str
    functions: list[FoundFunction]


class _KeyedSource(NamedTuple):
    """`key` is the same for equal contents, languages and interpreters in one project."""

    content: bytes
    key: str


class FunctionCache:
    """What was found in sources, so that an unchanged file is not parsed again. Of each project for
    itself: an answer is believed only about the project that it comes from."""

    def __init__(self, most: int = MOST_CACHED) -> None:
        """`most` bounds the functions of all files together, and the files."""
        self._most = most
        self._found: dict[str, _Found] = {}
        self._weight = 0

    def get(self, key: str) -> _Found | None:
        found = self._found.pop(key, None)
        if found is not None:
            self._found[key] = found  # the last one that is dropped
        return found

    def put(self, key: str, found: _Found) -> None:
        if key in self._found:
            return
        self._found[key] = found
        self._weight += 1 + len(found.functions)
        while self._weight > self._most:
            oldest = self._found.pop(next(iter(self._found)))
            self._weight -= 1 + len(oldest.functions)


async def list_functions(
    project: Path, *, interpreter: Interpreter, run: Run, above: Path, cache: FunctionCache
) -> list[SourceFile]:
    """List the Python and R files of a folder with their functions. Meanwhile copies of those that
    are not in the cache are in a folder beneath `above`. Raises OSError."""
    sources = await trio.to_thread.run_sync(_keyed_sources, project, interpreter)
    found = {path: cache.get(source.key) for path, source in sources.items()}
    if new := {path: sources[path] for path, known in found.items() if known is None}:
        for path, each in (await _parsed(new, interpreter, run, above)).items():
            found[path] = each
            cache.put(new[path].key, each)
    unread = _Found("Python cannot read it", [])
    pairs = [(path, each or unread) for path, each in found.items()]
    return [SourceFile(path, each.functions, each.problem) for path, each in pairs]


async def _parsed(
    sources: Mapping[str, _KeyedSource], interpreter: Interpreter, run: Run, above: Path
) -> dict[str, _Found]:
    """What the interpreter finds in sources; nothing where it cannot be told."""
    shown = {f"{n}{PurePosixPath(path).suffix}": path for n, path in enumerate(sources)}
    files = {name: sources[path].content for name, path in shown.items()}
    asked = partial(ask_interpreter, interpreter=interpreter, run=run, above=above)
    _, answer = await asked(_PROGRAM.read_text(), files, lambda folder: [str(folder)])
    try:
        found = msgspec.json.decode(answer, type=dict[str, _Found])
    except ValueError:
        return {}
    return {shown[name]: each for name, each in found.items() if name in shown}


def _keyed_sources(project: Path, interpreter: Interpreter) -> dict[str, _KeyedSource]:
    """Blocking."""
    found = {}
    for path, content in _sources(project).items():
        about = f"{project}\0{interpreter.path}\0{interpreter.version}\0{path.endswith('.py')}\0"
        digest = blake2b(about.encode("utf-8", "surrogateescape") + content, digest_size=16)
        found[path] = _KeyedSource(content, digest.hexdigest())
    return found


def _sources(project: Path) -> dict[str, bytes]:
    """The sources by path, those at the top first. Blocking."""
    found: dict[str, bytes] = {}
    left, entries = MOST_BYTES, MOST_ENTRIES
    level: list[tuple[str, ...]] = [()]
    with Folder.root(project) as root:
        for _ in range(DEEPEST):
            below: list[tuple[str, ...]] = []
            for names in level:
                if entries <= 0 or len(found) >= MOST_FILES:
                    return found
                try:
                    with root.folder(names) as folder:
                        listed = folder.entries(entries)[:entries]
                        entries -= len(listed)
                        if any(each.name == "pyvenv.cfg" for each in listed):
                            continue
                        for each in listed:
                            path = (*names, each.name)
                            if each.name.startswith(".") or each.name in _PASSED:
                                continue
                            if each.is_dir(follow_symlinks=False):
                                below.append(path)
                            elif each.name.endswith(SUFFIXES) and len(found) < MOST_FILES:
                                with folder.open(each.name) as file:
                                    content = file.read(left + 1)
                                if len(content) <= left and "/".join(path).isprintable():
                                    left -= len(content)
                                    found["/".join(path)] = content
                except (NotAFile, FileNotFoundError, NotADirectoryError, PermissionError):
                    continue  # changed meanwhile, or a link
            level = below
    return found
