"""Our own bare git repository of one project's snapshots, and how git is called.

Git obeys the configuration of wherever it finds itself: hooks, filters, a file system
monitor, an ignore file in somebody's home. So git is only ever run on our store, with an
environment made from nothing (gotcha G1 in README), and never in a project: what it needs of one it
is given as objects (`objects.py`) or as copies (`ignore_rules.py`).

All of this blocks; callers run it in a thread.
"""

import errno
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING

from builder.errors import SnapshotFailed
from builder.files.fsync import sync_file_system, sync_folder

if TYPE_CHECKING:
    from git import Git

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.excludesFile": "",
    "core.attributesFile": "/dev/null",
    # Gotcha G8 in README: a torn object would count as stored.
    "core.fsync": "all",
    "gc.auto": "0",
}


def clean_environment(more: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """The whole environment of a git process: nothing of ours, of the user's or of the system's,
    but `more` settings."""
    settings = SETTINGS | dict(more)
    environment = {
        "PATH": SYSTEM_PATH,
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_COUNT": str(len(settings)),
        "GIT_TERMINAL_PROMPT": "0",
    }
    for number, (key, value) in enumerate(settings.items()):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment


def git_executable() -> str:
    """The absolute path of git; SnapshotFailed when there is none."""
    found = shutil.which("git")
    if found is None:
        raise SnapshotFailed("git is not installed", "Install git (any release since 2.31).")
    return found


def git_version() -> tuple[int, ...]:
    """The release of git, such as (2, 39). Blocking; raises SnapshotFailed when there is none."""
    command = [git_executable(), "version"]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


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
        # Without waiting for a reader, if a pipe should be in its place.
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        lock = os.open(self.path / "predictd.lock", flags, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

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

    def refer(self, reference: str, commit: str) -> None:
        """Let a reference name a commit, which so stays."""
        self.run("update-ref", reference, commit)

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

    def run(self, *arguments: str) -> bytes:
        """Run one git command on this store; its output, or SnapshotFailed in git's words."""
        status, output, complaint = self._git().execute(
            self._command(arguments),
            istream=subprocess.DEVNULL,
            with_extended_output=True,
            with_exceptions=False,
            stdout_as_string=False,
            strip_newline_in_stdout=False,
        )
        if status != 0:
            raise SnapshotFailed(
                str(complaint).strip() or f"git {arguments[0]} ended with {status}"
            )
        assert isinstance(output, bytes)
        return output

    @contextmanager
    def blobs(self) -> Iterator["BlobReader"]:
        """Read blobs, all by one git process."""
        command = self._command(("cat-file", "--batch"))
        process = self._git().execute(command, istream=subprocess.PIPE, as_process=True)
        try:
            yield BlobReader(process.stdin, process.stdout)
        finally:
            # It may be in the middle of a blob that nobody wants any more.
            process.kill()
            process.communicate()

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        environment = clean_environment() | {"GIT_DIR": str(self.path)}
        pairs = [f"{name}={value}" for name, value in environment.items()]
        # GitPython adds to our own environment and can take nothing away: gotcha G1 in README.
        return ["/usr/bin/env", "-i", *pairs, git_executable(), *arguments]

    def _git(self) -> "Git":
        # GitPython refuses to be imported on a machine without git; the gateway must not.
        from git import Git

        return Git(self.path)


class BlobReader:
    """Asks a `git cat-file --batch` for one blob after the other."""

    CHUNK = 1 << 20

    def __init__(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        self._questions = questions
        self._answers = answers

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Write the bytes of the blob `name` into `target`."""
        try:
            self._questions.write(name.encode() + b"\n")
            self._questions.flush()
        except BrokenPipeError as error:
            raise SnapshotFailed(f"git ended before the stored object {name} was read") from error
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
