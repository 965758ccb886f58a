"""The logs of a model's replicas: the newest stay."""

import os
from pathlib import Path

from gateway.control.deployments.replica_logs import logs_of, prune_logs
from gateway.data_folder import DataFolder
from gateway.set_aside import SetAside


def set_aside(folder: Path) -> SetAside:
    return SetAside(DataFolder(folder))


def test_newest_logs_are_kept(tmp_path: Path) -> None:
    """The newest logs are kept, each with its older half; the others are deleted with theirs."""
    for age, name in enumerate(("d", "a", "c", "b", "e")):
        for path in (tmp_path / f"{name}.log", tmp_path / f"{name}.log.1"):
            path.touch()
            os.utime(path, (1000 - age, 1000 - age))
    prune_logs(tmp_path, set_aside(tmp_path), 2)
    assert [path.name for path in logs_of(tmp_path)] == ["a.log", "d.log"]
    assert sorted(os.listdir(tmp_path)) == ["a.log", "a.log.1", "d.log", "d.log.1"]


def test_log_of_a_later_deployment_is_newer(tmp_path: Path) -> None:
    """The logs of the latest deployment are kept although the clock was set back."""
    names = ["a-7-1-9-0123456789-bcdfg", "a-7-1-10-0123456789-zzzzz", "a-7-1-10-0123456789-aaaaa"]
    for age, name in enumerate(names):
        (tmp_path / f"{name}.log").touch()
        os.utime(tmp_path / f"{name}.log", (1000 - age, 1000 - age))
    prune_logs(tmp_path, set_aside(tmp_path), 2)
    assert [path.stem for path in logs_of(tmp_path)] == [names[2], names[1]]


def test_few_logs_are_kept(tmp_path: Path) -> None:
    """Nothing is deleted below the limit, or without a folder."""
    (tmp_path / "a.log").touch()
    prune_logs(tmp_path, set_aside(tmp_path), 2)
    prune_logs(tmp_path / "nowhere", set_aside(tmp_path), 2)
    assert os.listdir(tmp_path) == ["a.log"]


def test_log_that_cannot_be_deleted_is_reported(tmp_path: Path) -> None:
    """It is recorded, and the others are deleted."""
    found, logs = set_aside(tmp_path), tmp_path / "logs"
    for age, name in enumerate(("a", "b", "c", "d")):
        logs.mkdir(exist_ok=True)
        (Path.mkdir if name == "c" else Path.touch)(logs / f"{name}.log")
        os.utime(logs / f"{name}.log", (1000 - age, 1000 - age))
    prune_logs(logs, found, 1)
    prune_logs(logs, found, 1)
    assert sorted(os.listdir(logs)) == ["a.log", "c.log"]
    assert [(each.what, each.path) for each in found.problems] == [
        ("an old log", str(logs / "c.log"))
    ]
