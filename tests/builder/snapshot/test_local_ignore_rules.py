"""The ignore rules without git agree with git."""

import random
from pathlib import Path

import pytest
import trio

from builder.errors import SnapshotFailed
from builder.files.safe_open import Folder
from builder.snapshot.ignore_rules import IgnoreRules
from builder.snapshot.local_ignore_rules import LocalIgnoreRules
from builder.snapshot.project_files import Ignores, ProjectListing, Reachable, list_project
from builder.spec import SnapshotLimits
from tests.support.builder import run

TREES = 40
NAMES = (
    *("a", "b", "ab", "foo", "foobar", "x.py", "b.txt", "é", "[a]", "a b", "a ", "#a", "!a"),
    *("\\a", "*", "a*b", ".a", "A", "node_modules"),
)
PIECES = (
    *("a", "b", "ab", "foo", "foobar", "*", "**", "?", "*.py", "x.py", "[ab]", "[!a]*", "[^b]"),
    *("[a-c]", "[[:alpha:]]", "[[:digit:]]", "[[:none:]]", "\\*", "\\#a", "\\!a", "é", ".*", "*b"),
    *("a*", "f?o", "[]a]", "[a", "a\\ ", "[é]", "\\", "a]", "{a,b}", "***", "a**", "**b", "[-a]"),
    *("[a-]", "[\\]]", "[z-a]"),
)
WHOLE = ("", "#a", "/", "//", "!", "!/", "*", "**", "/**", "a//", "\\", "\ufeffa", "a\0b")


def line(chosen: random.Random) -> str:
    if chosen.random() < 0.05:
        return chosen.choice(WHOLE)
    text = "/".join(chosen.choice(PIECES) for _ in range(chosen.choice([1, 1, 1, 2, 2, 3])))
    text = "/" + text if chosen.random() < 0.2 else text
    text = text + "/" if chosen.random() < 0.25 else text
    text = "!" + text if chosen.random() < 0.35 else text
    return text + chosen.choice([" ", "  ", "\t", "\r", "\\ "]) if chosen.random() < 0.1 else text


def grow(folder: Path, chosen: random.Random) -> None:
    """Makes a random tree with ignore files."""
    folder.mkdir()
    for _ in range(12):
        path = folder.joinpath(
            *(chosen.choice(NAMES) for _ in range(chosen.choice([1, 2, 2, 3, 4])))
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if chosen.random() < 0.3:
                path.mkdir()
            else:
                path.touch()
        except (FileExistsError, NotADirectoryError):
            pass  # another file is in the way
    for each in [folder, *(path for path in sorted(folder.rglob("*")) if path.is_dir())]:
        if each == folder or chosen.random() < 0.25:
            lines = [line(chosen) for _ in range(chosen.randint(1, 4))]
            (each / ".gitignore").write_text("\n".join(lines) + chosen.choice(["", "\n"]))


async def listed(project: Path, ignores: Ignores) -> ProjectListing:
    with Folder.root(project) as root:
        threads = trio.CapacityLimiter(1)
        return await list_project(root, ignores, threads, Reachable(project), 10_000)


async def test_rules_without_git_agree_with_git(tmp_path: Path) -> None:
    """On random trees with random patterns, both list the same files, and exclude the others by the
    same lines."""
    for seed in range(TREES):
        project = tmp_path / f"project-{seed}"
        grow(project, random.Random(seed))
        by_git = IgnoreRules(tmp_path / "ignoring", run, SnapshotLimits())
        theirs = await listed(project, by_git)
        by_git.close()
        assert await listed(project, LocalIgnoreRules(64 * 1024)) == theirs, f"seed {seed}"


async def test_big_local_ignore_file_is_refused(tmp_path: Path) -> None:
    """The limit is that of the gateway, so a folder fails before it is uploaded."""
    (tmp_path / ".gitignore").write_text("x" * 101)
    with pytest.raises(SnapshotFailed, match=r"\.gitignore has more than 100 bytes"):
        await listed(tmp_path, LocalIgnoreRules(100))
