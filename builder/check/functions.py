"""Lists the functions of a project's files, from which a user picks the one to serve.

The folder is read as it is, within bounds. An interpreter of the machine parses the sources,
confined like the project's code: `source.py` says why. What it finds is an offer, not a check.
"""

import os
from functools import partial
from pathlib import Path, PurePosixPath

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


async def list_functions(
    project: Path, *, interpreter: Interpreter, run: Run, above: Path
) -> list[SourceFile]:
    """List the Python and R files of a folder with their functions. Meanwhile copies are in a
    folder beneath `above`. Raises OSError."""
    sources = await trio.to_thread.run_sync(_sources, project)
    shown = {f"{n}{PurePosixPath(path).suffix}": path for n, path in enumerate(sources)}
    files = {name: sources[path] for name, path in shown.items()}
    asked = partial(ask_interpreter, interpreter=interpreter, run=run, above=above)
    _, answer = await asked(_PROGRAM.read_text(), files, lambda folder: [str(folder)])
    try:
        found = msgspec.json.decode(answer, type=dict[str, _Found])
    except ValueError:
        found = {}  # it cannot be told
    unread = _Found("Python cannot read it", [])
    pairs = [(path, found.get(name, unread)) for name, path in shown.items()]
    return [SourceFile(path, each.functions, each.problem) for path, each in pairs]


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
