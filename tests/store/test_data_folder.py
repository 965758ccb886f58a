"""One process to a data folder, and clear words for a folder that cannot be used."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from store import DataFolderBusy, DataFolderUnusable, lock_data_folder

HOLDER = """
import sys
from pathlib import Path
from store import lock_data_folder
with lock_data_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_the_second_process_is_refused(tmp_path: Path) -> None:
    """A folder held by another process is refused with the pid of its holder."""
    with held_by_another_process(tmp_path) as holder:
        with (
            pytest.raises(DataFolderBusy, match=str(holder.pid)) as caught,
            lock_data_folder(tmp_path),
        ):
            pytest.fail("both hold it")
        assert (caught.value.path, caught.value.pid) == (tmp_path, holder.pid)


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    """A lock left by a killed process is free again, and signed by its new holder."""
    with held_by_another_process(tmp_path) as holder:
        holder.kill()
        holder.wait()
        (tmp_path / "lock").write_text("a longer signature than a pid\n")
        with lock_data_folder(tmp_path):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_holder_that_ends_lets_go(tmp_path: Path) -> None:
    """The lock ends with its block, even when that raises."""
    with pytest.raises(LookupError), lock_data_folder(tmp_path):
        raise LookupError
    with lock_data_folder(tmp_path), pytest.raises(DataFolderBusy), lock_data_folder(tmp_path):
        pytest.fail("held twice")


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    """A process that the holder started and left behind does not keep the folder locked."""
    with lock_data_folder(tmp_path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with lock_data_folder(tmp_path):
            assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_a_busy_folder_without_a_pid(tmp_path: Path) -> None:
    """A holder that has not signed yet is refused for all the same, unnamed."""
    with lock_data_folder(tmp_path):
        (tmp_path / "lock").write_text("")
        with (
            pytest.raises(DataFolderBusy, match="another process") as caught,
            lock_data_folder(tmp_path),
        ):
            pytest.fail("both hold it")
    assert caught.value.pid is None


def test_the_folder_is_made(tmp_path: Path) -> None:
    """A folder that is not there yet is made, with those above it, for its owner alone."""
    folder = tmp_path / "var" / "predictd"
    with lock_data_folder(folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "lock").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A path that leads through a file is refused with the system's reason."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataFolderUnusable, match="Not a directory") as caught,
        lock_data_folder(tmp_path / "file" / "data"),
    ):
        pytest.fail("it was made")
    assert caught.value.path == tmp_path / "file" / "data"
    with (
        pytest.raises(DataFolderUnusable, match="File exists"),
        lock_data_folder(tmp_path / "file"),
    ):
        pytest.fail("it was used")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Give up root's right to write everywhere, where the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("locked_before", [False, True])
def test_a_read_only_folder(locked_before: bool) -> None:
    """A folder that we may not write is refused, even when its lock file is open to us."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        if locked_before:
            (folder / "lock").touch()
            (folder / "lock").chmod(0o666)
        folder.chmod(0o555)
        with unprivileged(), pytest.raises(DataFolderUnusable, match="Permission denied"):
            lock_data_folder(folder).__enter__()
        folder.chmod(0o700)
