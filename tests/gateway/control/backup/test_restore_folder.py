"""A restore is complete, or a start refuses its folder, whenever it is killed."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.control.backup.restore import restore
from gateway.control.backup.restore_folder import RestoreRefused, filling
from gateway.data_folder import DataFolder
from gateway.data_folder_check import open_data
from store import DataFolderBusy, DataFolderUnusable
from tests.faults.matrix import fault
from tests.gateway.control.backup.test_restore import ID, a_folder, database, file, link, made
from tests.support.gateway import ROOT

__all__ = ["database"]  # a fixture


@pytest.fixture
def backup(tmp_path: Path, database: bytes) -> Path:
    """One with something of each kind in it."""
    adds = [
        a_folder(f"projects/{ID}"),
        file(f"projects/{ID}/model.py"),
        link(f"projects/{ID}/link", "model.py"),
        file(f"logs/builds/{ID}.log"),
        file(f"snapshots/{ID}.git/HEAD"),
    ]
    return made(tmp_path / "backup.tar", database, *adds)


def restores(backup: Path, folder: Path) -> list[dict[str, Any]]:
    """What came of a restore that was killed at each of its steps; the last one was not."""
    command = [sys.executable, "-m", "tests.gateway.killed_restores", str(backup), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@fault(
    "a restore that is killed",
    injection="ended without any clean-up before each of its changes of the disk in turn",
    bound="a start takes all of it or is refused; the restore can be repeated",
)
def test_killed_at_each_step(backup: Path, tmp_path: Path) -> None:
    """A start takes all of it or nothing: where something was left of it, it is refused and says to
    repeat the restore. That can be done."""
    (tmp_path / "targets").mkdir()
    *killed, whole = restores(backup, tmp_path / "targets")
    assert whole["start"] == "taken"
    # From nothing at all to all of it, and each kind of step between.
    starts = [each["start"] for each in killed]
    assert starts[0] == "empty"
    assert len(starts) > 20
    for each in killed:
        if each["start"] == "taken":
            assert {*each["files"]} - {"restoring"} == {*whole["files"]}
        elif each["start"] == "empty":
            assert {*each["files"]} <= {"lock", "restoring.new"}
        else:
            assert "repeat it with `predictd restore FILE" in each["start"]


async def test_an_unfinished_restore_is_removed_first(backup: Path, tmp_path: Path) -> None:
    """Nothing that it left is in the next one, which says that there was something."""
    target = tmp_path / "target"
    (target / "projects" / "stale").mkdir(parents=True)
    (target / "restoring").touch()
    with pytest.raises(DataFolderUnusable, match="repeat it"):
        open_data(DataFolder(target))
    restored = await restore(backup, target)
    assert restored.unfinished
    assert [each.name for each in (target / "projects").iterdir()] == [ID]
    assert not (target / "restoring").exists()
    assert open_data(DataFolder(target)) == "ab" * 32
    with pytest.raises(RestoreRefused, match="is not empty"):
        await restore(backup, target)


async def test_a_marker_beside_a_database_says_nothing(backup: Path, tmp_path: Path) -> None:
    """It is of a restore that was killed in its last moment, and no reason to remove anything: the
    next start takes it away."""
    target = tmp_path / "target"
    assert not (await restore(backup, target)).unfinished
    (target / "restoring").touch()
    with pytest.raises(RestoreRefused, match="is not empty"):
        await restore(backup, target)
    open_data(DataFolder(target))
    assert not (target / "restoring").exists()


def test_two_restores_at_once(tmp_path: Path) -> None:
    """The second one is refused, and the first one keeps what it has written."""
    data = DataFolder(tmp_path / "target")
    with filling(data):
        (data.root / "file").touch()
        with pytest.raises(DataFolderBusy), filling(data):
            pytest.fail("it went on")
        assert (data.root / "file").exists()


def test_one_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Neither files nor the folder, if that was not there before."""
    for there in (False, True):
        data = DataFolder(tmp_path / str(there))
        if there:
            data.root.mkdir()
        with suppress(FileExistsError), filling(data):
            (data.root / "folder" / "in it").mkdir(parents=True)
            (data.root / "folder").mkdir()
            pytest.fail("it was made twice")
        assert not data.restoring.exists()
        assert not (data.root / "folder").exists()
        assert data.root.exists() == there
