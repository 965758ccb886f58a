"""The gateway's bare git repository of one project's snapshots, and how git is called.

Git obeys the configuration of the folder it runs in: hooks, filters, a file system monitor, an
ignore file in a home folder. So git runs only on this store, with an environment made from scratch
(gotcha G1 of the builder), and never in a project. It gets files of a project as objects
(`objects.py`) or as copies (`ignore_rules.py`).

All of this blocks; callers run it in a thread.
"""

import errno
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING

from builder.bounded_cache import BoundedCache
from builder.errors import SnapshotFailed
from builder.files.fsync import sync_file_system, sync_folder

if TYPE_CHECKING:
    from git import Git

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_LOCK = "predictd.lock"
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
    """Return the complete environment of a git process: no setting of the gateway's account, of the
    user or of the system, but `more`."""
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
    """Return the absolute path of git. Raises SnapshotFailed."""
    found = shutil.which("git")
    if found is None:
        raise SnapshotFailed("git is not installed", "Install git 2.31 or newer.")
    return found


def git_version() -> tuple[int, ...]:
    """Return the release of git, such as (2, 39). Blocking. Raises SnapshotFailed."""
    command = [git_executable(), "version"]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


# A commit never changes. Each git process takes 5 ms, and a build reads its commit five times. In
# bytes, and in entries, which take some 300 bytes each.
_commits: BoundedCache[tuple[Path, str], bytes] = BoundedCache(1024 * 1024)
_listings: BoundedCache[tuple[Path, str], Sequence[tuple[str, str, bytes]]] = BoundedCache(50_000)


class GitStore:
    """The repository at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_checked = False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the store, and create it if it is missing. Raises OSError, SnapshotFailed.

        Objects are written before a reference names them, so pruning must not run during a
        snapshot. Reading a snapshot that has its reference needs no lock.
        """
        if not self.path.exists():
            self._make()
        # O_NONBLOCK: a pipe in its place does not wait for a reader.
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        lock = os.open(self.path / _LOCK, flags, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _make(self) -> None:
        """Create the repository under another name, and rename it after it has reached the disk:
        git never repairs one without a HEAD (gotcha G10 of the builder)."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=self.path.parent, prefix="new-", ignore_cleanup_errors=True
        ) as fresh:
            GitStore(Path(fresh)).run("init", "--quiet", "--bare", "--template=", fresh)
            sync_file_system(Path(fresh))
            try:
                os.rename(fresh, self.path)
            except OSError as error:
                # Another process made it first, and that repository may already have snapshots.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        sync_folder(self.path.parent)

    def set_reference(self, reference: str, commit: str) -> None:
        """Set a reference to a commit, which keeps the commit alive."""
        self.run("update-ref", reference, commit)

    def read_commit(self, commit: str) -> bytes:
        """Return a commit: lines that begin with that of its tree, and its message."""
        key = self.path, commit
        if (text := _commits.get(key)) is None:
            self._refuse_pipes()
            text = self.run("cat-file", "commit", commit)
            _commits.put(key, text, len(text))
        return text

    def tree_of(self, commit: str) -> str:
        """Return the name of a commit's tree."""
        return self.read_commit(commit).partition(b"\n")[0].decode().removeprefix("tree ")

    def delete_reference(self, reference: str) -> None:
        """Delete a reference and all objects that no reference needs."""
        self.run("update-ref", "-d", reference)
        self.run("prune", "--expire=now")

    def list_entries(self, commit: str) -> Sequence[tuple[str, str, bytes]]:
        """Return (mode, object, path) of all folders and files, each folder before its content."""
        key = self.path, commit
        if (known := _listings.get(key)) is not None:
            return known
        self._refuse_pipes()
        output = self.run("ls-tree", "-r", "-t", "-z", "--full-tree", commit)
        entries = []
        for line in output.split(b"\0")[:-1]:
            facts, path = line.split(b"\t", 1)
            mode, _, name = facts.decode().split(" ")
            entries.append((mode, name, path))
        _listings.put(key, entries, 1 + len(entries))
        return entries

    def run(self, *arguments: str) -> bytes:
        """Run one git command on this store and return its output. Raises SnapshotFailed with git's
        message."""
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
        """Read blobs through one git process."""
        self._refuse_pipes()
        command = self._command(("cat-file", "--batch"))
        process = self._git().execute(command, istream=subprocess.PIPE, as_process=True)
        try:
            yield BlobReader(process.stdin, process.stdout)
        finally:
            # It may still be writing a blob that is no longer needed.
            process.kill()
            process.communicate()

    def _refuse_pipes(self) -> None:
        """Raise SnapshotFailed if a file of the store was replaced by a pipe, at whose opening git
        would wait forever. A store with 50,000 objects is looked through in some 50 ms."""
        folders = [] if self._is_checked else [str(self.path)]
        while folders:
            # Pruning may remove a folder meanwhile, and git says that the store is missing.
            with suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif not (entry.is_symlink() or entry.is_file() or entry.name == _LOCK):
                        raise SnapshotFailed(f"the stored file {entry.name} is no file any more")
        self._is_checked = True

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        environment = clean_environment() | {"GIT_DIR": str(self.path)}
        pairs = [f"{name}={value}" for name, value in environment.items()]
        # GitPython can only add to the environment of this process: gotcha G1 of the builder.
        return ["/usr/bin/env", "-i", *pairs, git_executable(), *arguments]

    def _git(self) -> "Git":
        # GitPython cannot be imported on a machine without git; the gateway has to start there.
        from git import Git

        return Git(self.path)


class BlobReader:
    """Reads one blob after the other from `git cat-file --batch`."""

    CHUNK = 1 << 20

    def __init__(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        self._questions = questions
        self._answers = answers

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Copy the blob `name` into `target`."""
        left = self._ask(name)
        while left:
            chunk = self._answers.read(min(left, self.CHUNK))
            if not chunk:
                raise SnapshotFailed(f"the stored object {name} is damaged")
            target.write(chunk)
            left -= len(chunk)
        self._answers.read(1)  # git ends each blob with a line break

    def beginning(self, name: str, most: int) -> bytes:
        """Return the first bytes of a blob, at most `most`. Nothing can be read after a longer
        one."""
        size = self._ask(name)
        content = self._answers.read(min(size, most))
        self._answers.read(1)
        return content

    def _ask(self, name: str) -> int:
        """Return the size of the blob, which follows."""
        try:
            self._questions.write(name.encode() + b"\n")
            self._questions.flush()
        except BrokenPipeError as error:
            raise SnapshotFailed(f"git ended before the stored object {name} was read") from error
        header = self._answers.readline().split()
        if len(header) != 3:
            raise SnapshotFailed(f"the stored object {name} is missing or damaged")
        return int(header[2])
