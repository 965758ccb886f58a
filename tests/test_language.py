"""The language of the project: log events, plain words, and one class for one name.

Words that have to be decoded are not used where people read: in docstrings, comments, strings and
documents. The style is described in the top README, under "Working on it".
"""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRODUCTION = ("gateway", "workers", "builder", "store")
FOLDERS = (*PRODUCTION, "benchmarks", "tests")

# `noun.verb_past key=value ...: free text`
EVENT = re.compile(r"[a-z_]+\.[a-z_]+( [a-z_]+=%\S+)*(: %s)?")
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}

BANNED = re.compile(
    r"\b(house|nobody|whoever|somebody|anybody|whatever|anew|of late|it is none|in vain|lets in"
    r"|let in|speaks? of|tells? of|as good as|takes away|at hand|comes to|goes on)\b",
    re.IGNORECASE,
)
# The Unix user: as a constant, in quotes or by kind.
ALLOWED = re.compile(r"\bNOBODY\b|`nobody`|[\"']nobody[\"']|\buser nobody\b")

# Names of two classes in the production packages, and why.
SAME_NAME = {
    **dict.fromkeys(
        ("Builds", "Deployments", "Experiments", "Keys", "Models", "Projects", "Runtimes"),
        "the table in store, and what control does with its rows",
    ),
    **dict.fromkeys(("IllegalTransition", "Log"), "of two packages that do not import each other"),
    **dict.fromkeys(("Raised", "Refused"), "the message on the wire, and the outcome it becomes"),
}


def files(suffix: str, *folders: str) -> list[Path]:
    """Without what tests serve as projects: it is written in the language of other people."""
    found = sorted(path for folder in folders for path in (ROOT / folder).rglob(f"*{suffix}"))
    return [path for path in found if "tests/projects/" not in path.as_posix()]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


PYTHON = files(".py", *FOLDERS)
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *files(".md", *FOLDERS)]


def by_folder(paths: list[Path]) -> list[tuple[str, list[Path]]]:
    folders = defaultdict(list)
    for path in paths:
        folders[path.parent.relative_to(ROOT).as_posix()].append(path)
    return sorted(folders.items())


def ids(each: object) -> str:
    return each if isinstance(each, str) else ""


def logged(tree: ast.AST) -> Iterator[tuple[int, ast.expr]]:
    """The line and the message of each call of a logger."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "logger":
            if node.func.attr in LOG_METHODS:
                yield node.lineno, node.args[0]
            elif node.func.attr == "log":
                yield node.lineno, node.args[1]


@pytest.mark.parametrize(("folder", "paths"), by_folder(files(".py", *PRODUCTION)), ids=ids)
def test_log_line_is_an_event_with_fields(folder: str, paths: list[Path]) -> None:
    """A log line is `noun.verb_past key=value ...: free text`, so that programs can read it."""
    wrong = [
        f"{name_of(path)}:{line}"
        for path in paths
        for line, message in logged(ast.parse(path.read_text()))
        if not (isinstance(message, ast.Constant) and EVENT.fullmatch(str(message.value)))
    ]
    assert not wrong


def read_by_people(path: Path) -> Iterator[tuple[int, str]]:
    """Lines and texts: a document, or the comments and strings of a source file."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        yield from enumerate(text.splitlines(), 1)
        return
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            yield from enumerate(token.string.splitlines(), token.start[0])


@pytest.mark.parametrize(("folder", "paths"), by_folder([*PYTHON, *DOCUMENTS]), ids=ids)
def test_words_are_plain(folder: str, paths: list[Path]) -> None:
    """No text uses a word that has to be decoded."""
    found = [
        f"{name_of(path)}:{line}: {match[0]}"
        for path in paths
        if path != Path(__file__)
        for line, text in read_by_people(path)
        for match in BANNED.finditer(ALLOWED.sub("", text))
    ]
    assert not found


def test_class_name_is_used_once() -> None:
    """No two classes of the production packages have one name."""
    where = defaultdict(list)
    for path in files(".py", *PRODUCTION):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(name_of(path))
    twice = {name: paths for name, paths in where.items() if len(paths) > 1}
    assert {name: twice[name] for name in twice if name not in SAME_NAME} == {}
    assert set(SAME_NAME) <= set(twice)
