"""Asks the build's interpreter about a model's file, confined and with a deadline.

A parser that crashes, hangs or needs too much memory has met a file that no model can be started
from, so that is the project's error. The answer comes from a process that has read the file: it is
read within bounds, and believed only about this project.
"""

import json
import uuid
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias

import msgspec
import trio
from msgspec import Struct

from builder.bounded_cache import BoundedCache
from builder.check.inspect_source import inspect
from builder.files.remove_tree import remove_tree
from builder.files.safe_open import Folder, NotAFile
from builder.git.git_store import SYSTEM_PATH
from builder.interpreters import Interpreter, Language
from builder.log_tail import NullLog
from builder.spec import Run, SandboxPaths

TIME_LIMIT = 15.0  # seconds
_ANSWER = "answer"
_MOST_ANSWER = 256 * 1024
# With which each runs a program without looking at files of a project or a user.
_OPTIONS: dict[Language, tuple[str, ...]] = {"python": ("-I", "-S"), "r": ("--vanilla",)}
_RUN = "program"
_SIGNALLED = 128  # what a shell adds to the number of a signal
_PROGRAMS: dict[Language, str] = {"python": "inspect_source.py", "r": "inspect_source.R"}


class SourceFacts(Struct, frozen=True, kw_only=True):
    """What can be told of a file: a `syntax` error; whether the function is `missing`, or why it is
    `unfit`; the `functions` of the file. "" and False where there is no problem, or it cannot be
    told."""

    syntax: str = ""
    missing: bool = False
    unfit: str = ""
    functions: list[str] = []


# What was told of sources, by a hash of each with its project.
KnownSources: TypeAlias = BoundedCache[bytes, SourceFacts]
_MOST_KNOWN = 4 * 1024 * 1024  # bytes


def known_sources() -> KnownSources:
    """For one gateway: an interpreter is asked once about an unchanged source."""
    return BoundedCache(_MOST_KNOWN)


async def inspect_source(
    source: bytes,
    file: str,
    function: str,
    *,
    interpreter: Interpreter,
    run: Run,
    project: Path,
    known: KnownSources,
) -> SourceFacts:
    """Inspect `source`, the content of `file`, unless it is `known`. Meanwhile a copy is in a
    folder beside `project`, the snapshots of a project."""
    asked = [str(project), str(interpreter.path), interpreter.version, file, function]
    about = json.dumps(asked).encode() + b"\n"
    key = blake2b(about + source, digest_size=16).digest()
    if (facts := known.get(key)) is not None:
        return facts
    try:
        status, answer = await ask_interpreter(
            *(_program(_PROGRAMS[interpreter.language]), {"source": source}),
            lambda folder: [str(folder / "source"), file, function],
            interpreter=interpreter,
            run=run,
            above=project.parent,
        )
    except TimeoutError:
        return SourceFacts(syntax=f"{interpreter.name} needs more than {TIME_LIMIT:g} s to read it")
    if status < 0 or status > _SIGNALLED:
        return SourceFacts(
            syntax=f"{interpreter.name} crashes when it reads the file (status {status})"
        )
    try:
        facts = msgspec.json.decode(answer, type=SourceFacts)
    except ValueError:
        return SourceFacts()  # it cannot be told
    known.put(key, facts, len(answer))
    return facts


def read_here(source: bytes, file: str, function: str) -> SourceFacts:
    """As `inspect_source`, in this process and as this Python parses it: for a user's own file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as an invalid escape sequence
        return SourceFacts(**inspect(source, file, function))


async def ask_interpreter(
    program: str,
    sources: Mapping[str, bytes],
    arguments: Callable[[Path], list[str]],
    *,
    interpreter: Interpreter,
    run: Run,
    above: Path,
) -> tuple[int, bytes]:
    """Run a program on sources, confined. It gets `arguments` of their folder and the file for its
    answer. Return its status and the answer, b"" without one. Raises TimeoutError, OSError."""
    scratch = above / f"checking-{uuid.uuid4().hex}"
    try:
        paths = await trio.to_thread.run_sync(_lay_out, scratch, sources, program)
        status = await run(
            [
                *(str(interpreter.path), *_OPTIONS[interpreter.language], str(scratch / _RUN)),
                *(*arguments(scratch / "shown"), _ANSWER),
            ],
            cwd=paths.home,
            paths=_with_prefix(paths, interpreter),
            variables={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"},
            log=NullLog(),
            time_limit=TIME_LIMIT,
        )
        return status, await trio.to_thread.run_sync(_answer, paths.home)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(partial(remove_tree, scratch))


def _program(name: str) -> str:
    return Path(__file__).with_name(name).read_text()


def _lay_out(scratch: Path, sources: Mapping[str, bytes], program: str) -> SandboxPaths:
    scratch.mkdir(parents=True)
    scratch.chmod(0o755)  # the process may run as another user
    shown, home, tmp = (scratch / name for name in ("shown", "home", "tmp"))
    for folder in (shown, home, tmp):
        folder.mkdir()
    shown.chmod(0o755)
    files = {shown / name: source for name, source in sources.items()}
    files[scratch / _RUN] = program.encode()
    for file, content in files.items():
        file.write_bytes(content)
        file.chmod(0o644)
    return SandboxPaths(home=home, tmp=tmp, read=(shown, scratch / _RUN))


def _with_prefix(paths: SandboxPaths, interpreter: Interpreter) -> SandboxPaths:
    return msgspec.structs.replace(paths, prefix=interpreter.prefix)


def _answer(home: Path) -> bytes:
    try:
        with Folder.root(home) as folder, folder.open(_ANSWER) as file:
            return file.read(_MOST_ANSWER)
    except (OSError, NotAFile):
        return b""
