"""Our own bare git repository of one project's snapshots, and how git is called.

Git obeys the configuration of wherever it finds itself: hooks, filters, a file system
monitor, an ignore file in somebody's home. So git is only ever run on our store, with an
environment made from nothing (gotcha G1 in README), and only with plumbing that looks at
neither attributes nor an index. The user's own `.git` is no part of it.

All of this blocks; callers run it in a thread.
"""

import errno
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from builder.errors import SnapshotFailed
from builder.lasting import sync_file_system, sync_folder

if TYPE_CHECKING:
    from git import Git

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.excludesFile": "",
    "core.attributesFile": "/dev/null",
    "core.looseCompression": "1",
    # Gotcha G8 in README: a torn object would count as stored.
    "core.fsync": "all",
    "gc.auto": "0",
}
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "predictd"), ("EMAIL", "predictd@localhost"))
}


HERE = b"./"


def clean_environment() -> dict[str, str]:
    """The whole environment of a git process: nothing of ours, of the user's or of the system's."""
    environment = {
        "PATH": SYSTEM_PATH,
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_COUNT": str(len(SETTINGS)),
        "GIT_TERMINAL_PROMPT": "0",
    }
    for number, (key, value) in enumerate(SETTINGS.items()):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment


def git_executable() -> str:
    """The absolute path of git; SnapshotFailed when there is none."""
    found = shutil.which("git")
    if found is None:
        raise SnapshotFailed("git is not installed", "Install git (any release since 2.31).")
    return found


class GitStore:
    """The repository at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store alone, making it if need be. Raises OSError, or SnapshotFailed.

        Objects are written before anything refers to them, so pruning must never run beside
        the taking of a snapshot. Reading a snapshot that has its reference needs no lock.
        """
        if not self.path.exists():
            self._make()
        with (self.path / "predictd.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _make(self) -> None:
        """Make the repository elsewhere, and give it its name once it is on the disk: one without
        its HEAD would be none to git, and never be mended (gotcha G10 in README)."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=self.path.parent, prefix="new-", ignore_cleanup_errors=True
        ) as fresh:
            GitStore(Path(fresh)).run("init", "--quiet", "--bare", "--template=", fresh)
            sync_file_system(Path(fresh))
            try:
                os.rename(fresh, self.path)
            except OSError as error:
                # Somebody else was quicker, and it may hold snapshots already.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        sync_folder(self.path.parent)

    def ignored(self, project: Path, paths: Sequence[bytes]) -> set[bytes]:
        """Those of `paths` (relative to `project`) that its `.gitignore` files exclude."""
        output = self.run(
            *("check-ignore", "--no-index", "-z", "--stdin"),
            stdin=b"".join(_plain(path) + b"\0" for path in paths),
            work_tree=project,
            accept=(0, 1),  # 1: none of them
        )
        return {path.removeprefix(HERE) for path in output.split(b"\0")[:-1]}

    def store_files(self, project: Path, paths: Sequence[bytes]) -> list[str]:
        """Store the bytes of each file as they are; the name of each blob, in order.

        Paths are relative to `project`, or absolute.
        """
        listed = b"".join(_plain(path) + b"\n" for path in paths)
        arguments = ("hash-object", "-w", "--no-filters", "--stdin-paths")
        return self.run(*arguments, stdin=listed, work_tree=project).decode().split()

    def store_trees(self, trees: Sequence[Sequence[bytes]]) -> list[str]:
        """Store each tree, given as lines like `100644 blob <name>TAB<file>`; their names."""
        listed = b"".join(b"".join(line + b"\0" for line in tree) + b"\0" for tree in trees)
        return self.run("mktree", "-z", "--batch", stdin=listed).decode().split()

    def commit(self, tree: str, reference: str) -> str:
        """Commit a tree under a reference; the name of the commit."""
        commit = self.run("commit-tree", tree, stdin=reference.encode()).decode().strip()
        self.run("update-ref", reference, commit)
        return commit

    def tree_of(self, commit: str) -> str:
        """The name of a commit's tree."""
        return self.run("rev-parse", "--verify", f"{commit}^{{tree}}").decode().strip()

    def forget(self, reference: str) -> None:
        """Drop a reference and every object that nothing refers to any more."""
        self.run("update-ref", "-d", reference)
        self.run("prune", "--expire=now")

    def listing(self, commit: str) -> list[tuple[str, str, bytes]]:
        """(mode, object, path) of all folders and files, each folder before what it holds."""
        output = self.run("ls-tree", "-r", "-t", "-z", "--full-tree", commit)
        entries = []
        for line in output.split(b"\0")[:-1]:
            facts, path = line.split(b"\t", 1)
            mode, _, name = facts.decode().split(" ")
            entries.append((mode, name, path))
        return entries

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        work_tree: Path | None = None,
        accept: tuple[int, ...] = (0,),
    ) -> bytes:
        """Run one git command on this store; its output, or SnapshotFailed in git's words."""
        command = self._command(arguments, work_tree)
        with tempfile.TemporaryFile() as file:
            file.write(stdin)
            file.seek(0)
            status, output, complaint = self._git(work_tree).execute(
                command,
                istream=file,
                with_extended_output=True,
                with_exceptions=False,
                stdout_as_string=False,
                strip_newline_in_stdout=False,
            )
        if status not in accept:
            raise SnapshotFailed(
                str(complaint).strip() or f"git {arguments[0]} ended with {status}"
            )
        assert isinstance(output, bytes)
        return output

    @contextmanager
    def blobs(self) -> Iterator["BlobReader"]:
        """Read blobs, all by one git process."""
        command = self._command(("cat-file", "--batch"), None)
        process = self._git(None).execute(command, istream=subprocess.PIPE, as_process=True)
        try:
            yield BlobReader(process.stdin, process.stdout)
        finally:
            # It may be in the middle of a blob that nobody wants any more.
            process.kill()
            process.communicate()

    def _command(self, arguments: tuple[str, ...], work_tree: Path | None) -> list[str]:
        environment = clean_environment() | IDENTITY | {"GIT_DIR": str(self.path)}
        if work_tree is not None:
            environment["GIT_WORK_TREE"] = str(work_tree)
        pairs = [f"{name}={value}" for name, value in environment.items()]
        # GitPython adds to our own environment and can take nothing away: gotcha G1 in README.
        return ["/usr/bin/env", "-i", *pairs, git_executable(), *arguments]

    def _git(self, work_tree: Path | None) -> "Git":
        # GitPython refuses to be imported on a machine without git; the gateway must not.
        from git import Git

        return Git(work_tree or self.path)


def _plain(path: bytes) -> bytes:
    """A path in which git sees neither magic nor quotes: gotcha G3 in README."""
    return path if path.startswith(b"/") else HERE + path


class BlobReader:
    """Asks a `git cat-file --batch` for one blob after the other."""

    CHUNK = 1 << 20

    def __init__(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        self._questions = questions
        self._answers = answers

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Write the bytes of the blob `name` into `target`."""
        self._questions.write(name.encode() + b"\n")
        self._questions.flush()
        header = self._answers.readline().split()
        if len(header) != 3:
            raise SnapshotFailed(f"the stored object {name} is missing or damaged")
        left = int(header[2])
        while left:
            chunk = self._answers.read(min(left, self.CHUNK))
            if not chunk:
                raise SnapshotFailed(f"the stored object {name} is damaged")
            target.write(chunk)
            left -= len(chunk)
        self._answers.read(1)  # git ends each blob with a line break of its own
