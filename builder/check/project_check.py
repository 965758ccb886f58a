"""Looks at a snapshot before an environment is made for it: what would certainly fail, and what a
reader should know.

Each problem is certain: a project that may work passes. The build script may make or change the
model's file (decision 6 in README). So a file that is missing is a note where there is a script,
and a problem in its text is a note where the script names the file. All problems are told together,
after some 0.1 s.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import trio
from msgspec import Struct

from builder.check.requirements import (
    MOST_PYPROJECT,
    python_note,
    requirement_problem,
    unused_r_requirements,
    unused_requirements,
)
from builder.check.source import (
    KnownSources,
    SourceFacts,
    inspect_source,
    known_sources,
    read_here,
)
from builder.environment.build_script import MOST_BYTES, script_problem, windows_marks
from builder.environment.implicit_script import requirement_files
from builder.errors import BuilderError
from builder.git.git_store import BlobReader, GitStore
from builder.interpreters import Interpreter, Language
from builder.safe_paths import is_notebook, refuse_other_language
from builder.snapshot.contents import Contents, contents_of
from builder.spec import DEFAULT_SCRIPT, Run, Snapshot

_MOST_SOURCE = 4 * 1024 * 1024  # bytes of a file that is inspected
Field = Literal["", "file_path", "function_name", "build_script_path"]
_FILE: Field = "file_path"
_FUNCTION: Field = "function_name"
_SCRIPT: Field = "build_script_path"
_ENDINGS = (".py", ".R", ".r")
_PYPROJECT = "pyproject.toml"
_LINK, _FOLDER = "120000", "040000"


class CheckRequest(Struct, frozen=True, kw_only=True):
    """What is to be built. `script` is relative to the project's root, `file` to `model_root`."""

    file: str
    function: str
    model_root: str = ""
    script: str = DEFAULT_SCRIPT

    @property
    def path(self) -> str:
        """The path of the file from the project's root."""
        return str(PurePosixPath(self.model_root, self.file))


class Defect(Struct, frozen=True):
    """What would fail, what to do about it, and the field of a request that it is about, or ""."""

    problem: str
    advice: str
    field: Field = ""


class CheckReport(Struct, frozen=True, kw_only=True):
    """What was found. `contents` is what the snapshot has; a build fails if there are problems.
    `installs` is the build script, or the file of requirements that is installed without one."""

    contents: Contents
    problems: tuple[Defect, ...] = ()
    notes: tuple[str, ...] = ()
    installs: str = ""

    def raise_problems(self) -> None:
        """Raise CheckFailed with all problems, if there are any."""
        if self.problems:
            raise CheckFailed(self.problems)


class CheckFailed(BuilderError):
    """The build would certainly fail."""

    def __init__(self, problems: tuple[Defect, ...]) -> None:
        self.problems = problems
        text = problems[0].problem
        if len(problems) > 1:
            text = "\n".join(f"{n}. {each.problem}" for n, each in enumerate(problems, 1))
        advice = " ".join(dict.fromkeys(each.advice for each in problems))
        super().__init__("The project cannot be built", text, advice)


class ProjectTree(NamedTuple):
    """The entries of a snapshot by their paths, as (mode, object). `script`, `source` (the model's
    file) and `pyproject` are None where there is no such file."""

    entries: dict[str, tuple[str, str]]
    contents: Contents
    script: bytes | None
    source: bytes | None
    pyproject: bytes | None

    def has_link_in(self, path: str) -> bool:
        """Whether a part of the path is a link, so that it may lead to another entry."""
        pure = PurePosixPath(path)
        return any(self.entries.get(str(each), ("",))[0] == _LINK for each in (pure, *pure.parents))

    def mode(self, path: str) -> str:
        """The mode of an entry, "" where there is none."""
        return self.entries.get(path, ("", ""))[0]


async def check_project(
    request: CheckRequest,
    snapshot: Snapshot,
    *,
    interpreter: Interpreter,
    run: Run,
    known: KnownSources | None = None,
) -> CheckReport:
    """Check a snapshot for one model. A file that is `known` is not looked at again. Raises
    SnapshotFailed, OSError."""
    tree = await trio.to_thread.run_sync(_read_tree, request, snapshot)
    facts = SourceFacts()
    if tree.source and len(tree.source) < _MOST_SOURCE and _is_of(request.file, interpreter):
        facts = await inspect_source(
            *(tree.source, request.path, request.function),
            interpreter=interpreter,
            run=run,
            project=snapshot.store.absolute(),
            known=known_sources() if known is None else known,
        )
    return report_of(request, tree, facts, interpreter)


def report_of(
    request: CheckRequest, tree: ProjectTree, facts: SourceFacts, interpreter: Interpreter
) -> CheckReport:
    """Decide what is a problem and what is a note."""
    problems: list[Defect] = []
    notes: list[str] = []
    problems += _script_problems(request, tree)
    found, uncertain = _model_problems(request, tree, facts, interpreter)
    if uncertain:
        notes += [f"{each.problem}: {uncertain}" for each in found]
    else:
        problems += found
    if tree.script is not None and (odd := windows_marks(tree.script)):
        notes.append(f"{request.script} has {odd}, which the build leaves out")
    if interpreter.language == "python":
        notes += python_note(tree.pyproject, interpreter.version)
    if request.script == DEFAULT_SCRIPT or tree.script is not None:
        stated = tree.entries, request.script, tree.script
        of_r = interpreter.language == "r"
        notes += unused_r_requirements(*stated) if of_r else unused_requirements(*stated)
        if not of_r and (refused := requirement_problem(tree.entries, tree.script)):
            problems.append(Defect(*refused))
    installs = request.script
    if tree.script is None:
        installs = _requirements(request, tree, interpreter.language)
    return CheckReport(
        contents=tree.contents,
        problems=tuple(problems),
        notes=tuple(notes),
        installs=installs,
    )


def _is_of(file: str, interpreter: Interpreter) -> bool:
    """Whether the name is that of a file of the interpreter's language."""
    try:
        refuse_other_language(file, interpreter.language)
    except BuilderError:
        return False
    return True


def _requirements(request: CheckRequest, tree: ProjectTree, language: Language) -> str:
    """The file that a build without a script installs, or ""."""
    for root in ("", request.model_root):
        paths = [str(PurePosixPath(root, name)) for name in requirement_files(language)]
        if stated := next((path for path in paths if tree.mode(path)), ""):
            return stated
    return ""


def _script_problems(request: CheckRequest, tree: ProjectTree) -> list[Defect]:
    path = str(PurePosixPath(request.script))
    if tree.has_link_in(path) or (request.script == DEFAULT_SCRIPT and not tree.mode(path)):
        return []
    if tree.script is None:
        rule = tree.contents.rule_for(path)
        because = f": {rule} excludes it" if rule else ""
        advice = "Remove or narrow that line." if rule else "Check the name of the build script."
        return [Defect(f"{request.script} is not a file of the project{because}", advice, _SCRIPT)]
    found = script_problem(request.script, tree.script)
    return [Defect(*found, _SCRIPT)] if found else []


def _model_problems(
    request: CheckRequest, tree: ProjectTree, facts: SourceFacts, interpreter: Interpreter
) -> tuple[list[Defect], str]:
    """The problems of the model's file, and why they are not certain, or ""."""
    path = request.path
    if tree.has_link_in(path):
        return [], ""
    try:
        refuse_other_language(request.file, interpreter.language)
    except BuilderError as error:
        is_right = is_notebook(path) or (tree.mode(path) and path.endswith(_ENDINGS))
        similar = "" if is_right else _did_you_mean(path, tree.entries)
        return [Defect(error.problem, similar or error.advice, _FILE)], ""
    if not tree.mode(path):
        rule = tree.contents.rule_for(path)
        if rule:
            problem = f"{path!r} is in the project, but not in the build: {rule} excludes it"
            advice = "Remove or narrow that line."
        else:
            problem = f"{path!r} is not a file of the project"
            similar = _did_you_mean(path, tree.entries)
            advice = similar or "Name a file by its path from the model's root."
        made = f"{request.script} has to make it" if tree.script is not None else ""
        return [Defect(problem, advice, _FILE)], made
    if tree.mode(path) == _FOLDER:
        advice = "Name the file in it that has the function."
        return [Defect(f"{path!r} is a folder", advice, _FILE)], ""
    changed = ""
    if _names(tree.script, path):
        changed = f"{request.script} names the file, and may correct it"
    found = _source_problem(request, facts, interpreter)
    return ([found] if found else []), changed


def _source_problem(
    request: CheckRequest, facts: SourceFacts, interpreter: Interpreter
) -> Defect | None:
    if facts.syntax:
        return Defect(
            f"{request.path} is not valid for {interpreter.name} {interpreter.version}, "
            f"{facts.syntax}",
            f"Correct that line, or choose another {interpreter.name} with `--kernel`.",
            _FILE,
        )
    return _function_problem(request, facts)


def problem_here(request: CheckRequest, source: bytes, script: bytes | None) -> Defect | None:
    """What would certainly be refused of a function, told in this process before anything is sent:
    for a user's own file. Its syntax is left to the interpreter of the build, which may be newer.
    """
    is_python = request.file.endswith(".py") and len(source) < _MOST_SOURCE
    if not is_python or _names(script, request.path):
        return None
    return _function_problem(request, read_here(source, request.path, request.function))


def _function_problem(request: CheckRequest, facts: SourceFacts) -> Defect | None:
    if facts.unfit:
        return Defect(f"{request.path}: {facts.unfit}", "Correct the function.", _FUNCTION)
    if facts.missing:
        close = get_close_matches(request.function, facts.functions, 1)
        advice = f"Did you mean {close[0]!r}?" if close else "Name a function as FILE:FUNCTION."
        defined = ", ".join(facts.functions) or "none"
        text = f"{request.path} defines no {request.function!r}; its functions are: {defined}"
        return Defect(text, advice, _FUNCTION)
    return None


def _names(script: bytes | None, path: str) -> bool:
    """Whether a build script names a file, which it then may make or change."""
    return script is not None and PurePosixPath(path).name.encode() in script


def _did_you_mean(path: str, entries: dict[str, tuple[str, str]]) -> str:
    """A question that names the file that was probably meant, or ""."""
    files = [each for each, (mode, _) in entries.items() if each.endswith(_ENDINGS)]
    for ending in _ENDINGS:
        if f"{path}{ending}" in files:
            return f"Did you mean '{path}{ending}'?"
    close = get_close_matches(path, files, 1)
    by_name = [each for each in files if PurePosixPath(each).name == PurePosixPath(path).name]
    found = (by_name or close)[:1]
    return f"Did you mean {found[0]!r}?" if found else ""


def _read_tree(request: CheckRequest, snapshot: Snapshot) -> ProjectTree:
    """Read what is decided on from the snapshot. Blocking."""
    store = GitStore(snapshot.store)
    entries = {
        path.decode("utf-8", "surrogateescape"): (mode, name)
        for mode, name, path in store.list_entries(snapshot.commit)
    }
    script, source, pyproject = _beginnings(
        *(store, entries),
        [
            (request.script, MOST_BYTES + 1),
            (request.path, _MOST_SOURCE),
            (_PYPROJECT, MOST_PYPROJECT),
        ],
    )
    return ProjectTree(entries, contents_of(snapshot), script, source, pyproject)


def _beginnings(
    store: GitStore, entries: dict[str, tuple[str, str]], wanted: Sequence[tuple[str, int]]
) -> list[bytes | None]:
    """The first bytes of these files, at most so many of each; None where there is no file. By one
    process, unless a file is longer."""
    found: list[bytes | None] = []
    with ExitStack() as reading:
        blobs: BlobReader | None = None
        for path, most in wanted:
            mode, name = entries.get(str(PurePosixPath(path)), ("", ""))
            if mode in ("", _FOLDER, _LINK):
                found.append(None)
                continue
            blobs = blobs or reading.enter_context(store.blobs())
            found.append(content := blobs.beginning(name, most))
            if len(content) == most:
                blobs = None
    return found
