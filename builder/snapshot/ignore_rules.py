"""Asks git which names the `.gitignore` files of a project exclude.

Ignore files can keep git busy for minutes, and git follows links that are swapped in while it
reads. So predictd reads the ignore files itself, within limits, and runs git on copies of them, in
a skeleton of the project that has only its folders and ignore files. Git is confined like a build
script, in its own process with a deadline. Other projects do not wait for it.
"""

import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO, NamedTuple

import trio

from builder.errors import SnapshotFailed
from builder.files.remove_tree import remove_tree
from builder.files.safe_open import Folder, NotAFile
from builder.git.git_store import clean_environment, git_executable
from builder.log_tail import LogTail, NullLog
from builder.spec import Run, SandboxPaths, SnapshotLimits

NAME = b".gitignore"
_ADVICE = "Use patterns for folders and kinds of files (`data/`, `*.csv`) instead of single files."
_SCRIPT = 'cd "$1" && exec "$2" check-ignore --no-index -v -z --stdin <"$3" >"$HOME/ignored"'
_OUTPUT = "ignored"
_MOST_OUTPUT = 256 * 1024 * 1024


class IgnoreLine(NamedTuple):
    """A line of an ignore file, in the bytes of git's answer. `file` is relative to the project."""

    file: bytes
    number: bytes
    pattern: bytes

    def __str__(self) -> str:
        file, number, pattern = (part.decode("utf-8", "backslashreplace") for part in self)
        return f"line {number} of {file} (`{pattern}`)"


class IgnoreRules:
    """The ignore files of one project, level by level. Their copies are in a folder beneath `above`
    until `close`."""

    def __init__(self, above: Path, run: Run, limits: SnapshotLimits) -> None:
        self._above = above
        self._run = run
        self._limits = limits
        self._scratch = above / f"ignoring-{uuid.uuid4().hex}"
        self._shown = self._scratch / "shown"
        self._tree = self._shown / "tree"
        self._files = 0
        self._bytes = 0
        self._deadline = trio.current_time() + limits.ignore_seconds

    def add(self, folder: bytes, content: bytes) -> None:
        """Add the ignore file of a folder. Blocking. Raises SnapshotFailed."""
        path = os.fsdecode(os.path.join(folder, NAME))
        self._files += 1
        self._bytes += len(content)
        most, in_all, files = (
            self._limits.ignore_file_bytes,
            self._limits.ignore_total_bytes,
            self._limits.ignore_files,
        )
        if len(content) > most:
            raise SnapshotFailed(f"{path} has more than {most:,} bytes", _ADVICE)
        if self._bytes > in_all:
            text = f"the .gitignore files have more than {in_all:,} bytes together"
            raise SnapshotFailed(f"{text}, with {path}", _ADVICE)
        if self._files > files:
            raise SnapshotFailed(f"there are more than {files:,} .gitignore files", _ADVICE)
        if self._files == 1:
            self._begin()
        _make(self._place(folder))
        copy = self._place(folder) / os.fsdecode(NAME)
        copy.write_bytes(content)
        copy.chmod(0o644)

    def read(self, folder: bytes, file: BinaryIO) -> None:
        """Add the ignore file of a folder, and read no more of it than the limit allows."""
        self.add(folder, file.read(self._limits.ignore_file_bytes + 1))

    async def ignored(
        self, folders: Sequence[bytes], others: Sequence[bytes]
    ) -> dict[bytes, IgnoreLine]:
        """Return the paths that are excluded, each with the line that excludes it. Raises
        SnapshotFailed."""
        if not self._files or not (folders or others):
            return {}
        paths = await trio.to_thread.run_sync(self._lay_out, folders, [*folders, *others])
        tail = LogTail(NullLog())
        try:
            status = await self._run(
                ["sh", "-c", _SCRIPT, "sh", str(self._tree), git_executable(), str(self._paths)],
                cwd=paths.home,
                paths=paths,
                variables=self._variables(),
                log=tail,
                time_limit=self._deadline - trio.current_time(),
            )
        except TimeoutError:
            seconds = self._limits.ignore_seconds
            text = f"git needs more than {seconds:g} seconds for the .gitignore files"
            raise SnapshotFailed(text, _ADVICE) from None
        if status not in (0, 1):  # 1: no path is excluded
            problem = "\n".join(tail.lines[-3:]) or f"git check-ignore ended with {status}"
            raise SnapshotFailed(f"cannot apply the .gitignore files: {problem}")
        return await trio.to_thread.run_sync(_answer, paths.home)

    def close(self) -> None:
        """Remove the copies. Blocking."""
        if self._files:
            remove_tree(self._scratch)

    def _begin(self) -> None:
        """Create an empty repository, which git needs to answer."""
        self._above.mkdir(parents=True, exist_ok=True)
        for folder in ("git/objects", "git/refs", "tree"):
            _make(self._shown / folder)
        head = self._shown / "git" / "HEAD"
        head.write_text("ref: refs/heads/main\n")
        head.chmod(0o644)

    def _lay_out(self, folders: Iterable[bytes], paths: Iterable[bytes]) -> SandboxPaths:
        """Create the files that git sees for one question."""
        for folder in folders:  # a pattern may match folders only
            _make(self._place(folder))
        # A name may look like a pathspec: gotcha G3 of the builder.
        self._paths.write_bytes(b"".join(b"./" + path + b"\0" for path in paths))
        self._paths.chmod(0o644)
        # New ones for each question: a git that an attacker controls could have left links in them.
        home, tmp = (Path(mkdtemp(dir=self._scratch)) for _ in range(2))
        return SandboxPaths(home=home, tmp=tmp, read=(self._shown,))

    @property
    def _paths(self) -> Path:
        return self._shown / "paths"

    def _place(self, path: bytes) -> Path:
        return self._tree / os.fsdecode(path)

    def _variables(self) -> dict[str, str]:
        git = {"GIT_DIR": str(self._shown / "git"), "GIT_WORK_TREE": str(self._tree)}
        clean = {key: value for key, value in clean_environment().items() if key != "HOME"}
        return clean | git


def _make(folder: Path) -> None:
    """Create a folder and its parents, readable for all users, since git runs as another user."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir()
        each.chmod(0o755)


def _answer(home: Path) -> dict[bytes, IgnoreLine]:
    try:
        with Folder.root(home) as folder, folder.open(_OUTPUT) as file:
            output = file.read(_MOST_OUTPUT)
    except (FileNotFoundError, NotAFile):
        raise SnapshotFailed("git gave no answer about the .gitignore files") from None
    fields = output.split(b"\0")[:-1]
    records = zip(fields[0::4], fields[1::4], fields[2::4], fields[3::4], strict=False)
    return {
        path.removeprefix(b"./"): IgnoreLine(file, number, pattern)
        for file, number, pattern, path in records
        if not pattern.startswith(b"!")  # it includes what an earlier line excludes
    }
