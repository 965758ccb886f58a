"""One process to a data folder, and clear words for a folder that cannot be used."""

import grp
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from store import DataFolderBusy, DataFolderUnusable, lock_data_folder
from tests.support.skipping import not_here

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
        cwd=Path(__file__).parents[3],
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_second_process_on_a_data_folder_is_refused(tmp_path: Path) -> None:
    """A folder that another process has locked is refused with the pid of that process."""
    with held_by_another_process(tmp_path) as holder:
        with (
            pytest.raises(DataFolderBusy, match=str(holder.pid)) as caught,
            lock_data_folder(tmp_path),
        ):
            pytest.fail("both hold it")
        assert (caught.value.path, caught.value.pid) == (tmp_path, holder.pid)


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """The lock of a killed process is free again, and has the pid of its new holder."""
    with held_by_another_process(tmp_path) as holder:
        holder.kill()
        holder.wait()
        (tmp_path / "lock").write_text("a longer signature than a pid\n")
        with lock_data_folder(tmp_path):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_lock_ends_with_its_block(tmp_path: Path) -> None:
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


def test_locked_folder_without_a_pid_is_refused(tmp_path: Path) -> None:
    """A folder whose holder has not written its pid yet is refused without a pid."""
    with lock_data_folder(tmp_path):
        (tmp_path / "lock").write_text("")
        with (
            pytest.raises(DataFolderBusy, match="another process") as caught,
            lock_data_folder(tmp_path),
        ):
            pytest.fail("both hold it")
    assert caught.value.pid is None


def test_missing_data_folder_is_made(tmp_path: Path) -> None:
    """A missing folder is made, with its parents, for its owner alone."""
    folder = tmp_path / "var" / "predictd"
    with lock_data_folder(folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "lock").stat().st_mode & 0o777 == 0o600


def test_data_folder_through_a_file_is_refused(tmp_path: Path) -> None:
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


_UNPRIVILEGED = 65534


@contextmanager
def unprivileged() -> Iterator[None]:
    """Give up root's right to write everywhere, where the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(_UNPRIVILEGED)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("locked_before", [False, True])
def test_read_only_data_folder_is_refused(locked_before: bool) -> None:
    """A folder that we may not write is refused, even when we may open its lock file."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        os.chown(folder, _UNPRIVILEGED if os.geteuid() == 0 else -1, -1)
        if locked_before:
            (folder / "lock").touch()
            (folder / "lock").chmod(0o666)
        folder.chmod(0o555)
        with unprivileged(), pytest.raises(DataFolderUnusable, match="Permission denied"):
            lock_data_folder(folder).__enter__()
        folder.chmod(0o700)


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711, 0o701])
def test_readable_data_folder_is_made_private(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder of ours with another mode is made private, and the log says so."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lock").touch()
    (tmp_path / "data" / "lock").chmod(0o666)
    (tmp_path / "data").chmod(mode)
    with lock_data_folder(tmp_path / "data"):
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "data" / "lock").stat().st_mode) == 0o600
    assert f"{mode:04o}" in caplog.text


def refused(path: Path) -> str:
    with pytest.raises(DataFolderUnusable) as caught, lock_data_folder(path):
        pytest.fail("it was used")
    return caught.value.reason


def test_data_folder_writable_by_others_is_refused(tmp_path: Path) -> None:
    """Its content may be theirs, so it is refused with what to do; an empty one is made private."""
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "secret.key").write_text("theirs")
    assert f"chmod 700 {folder}" in refused(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777
    assert not (folder / "lock").exists()
    (folder / "secret.key").unlink()
    with lock_data_folder(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_data_folder_that_others_could_replace_is_refused(tmp_path: Path) -> None:
    """A folder below one that others may write is refused; where only owners may rename, as in
    /tmp, it is accepted."""
    folder = tmp_path / "above" / "between" / "data"
    folder.mkdir(parents=True)
    above = tmp_path / "above"
    above.chmod(0o777)
    assert f"chmod go-w {above}" in refused(folder)
    above.chmod(0o1777)
    with lock_data_folder(folder):
        pass


def test_data_folder_of_another_account_is_refused(tmp_path: Path) -> None:
    """It is refused with what to do, and so is one below a folder of another account."""
    if os.geteuid():
        not_here("only root can give folders away")
    (tmp_path / "theirs" / "data").mkdir(parents=True)
    os.chown(tmp_path / "theirs", 54321, -1)
    assert "chown -R" in refused(tmp_path / "theirs")
    assert "user 54321" in refused(tmp_path / "theirs" / "data")


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
def test_umask_does_not_change_the_modes(tmp_path: Path, mask: int) -> None:
    """The folder and its parents have the same modes with any umask."""
    folder = tmp_path / "var" / "predictd"
    before = os.umask(mask)
    try:
        with lock_data_folder(folder):
            modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder)]
            assert modes == [0o755, 0o700]
            assert stat.S_IMODE((folder / "lock").stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_parent_writable_for_the_users_own_group_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each user has a group of that name, parents may be writable for it."""
    folder = tmp_path / "above" / "data"
    folder.mkdir(parents=True)
    group = os.getgid() or 54321
    if os.geteuid() == 0:
        os.chown(folder.parent, -1, group)
    folder.parent.chmod(0o775)
    account = SimpleNamespace(pw_name="ada", pw_gid=group)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: account)
    for members, named, fits in (
        ([], "ada", True),
        (["ada"], "ada", True),
        (["ada", "bob"], "ada", False),
        ([], "users", False),
    ):
        known = SimpleNamespace(gr_name=named, gr_mem=members)
        monkeypatch.setattr(grp, "getgrgid", lambda _, known=known: known)
        if fits:
            with lock_data_folder(folder):
                pass
        else:
            assert "chmod go-w" in refused(folder)
