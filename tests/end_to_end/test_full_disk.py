"""A full disk: models continue to serve, what takes space is refused, what frees it is not, and it
heals."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder import remove_tree
from gateway.client import ApiError
from tests.faults.matrix import fault
from tests.support.disks import fill, small_disk, use_up_inodes
from tests.support.polling import until
from tests.support.served_gateway import (
    Gateway,
    Prober,
    at,
    copy,
    write,
)

ECHO = {"echo.py": "def echo(args):\n    return args\n"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 120 MB."""
    with small_disk(tmp_path / "disk", "size=120m,nr_inodes=20000") as folder:
        yield folder


def refused(change: Callable[[], object]) -> None:
    """It was refused for want of room, with advice."""
    with pytest.raises(ApiError) as told:
        change()
    assert (told.value.status, told.value.code) == (507, "disk.full")
    assert "free space on the disk" in told.value.advice


@fault(
    "the disk is full, or has no inodes",
    injection="a small disk, filled while models are called",
    bound="507 for changes, right predictions, deletions by the ballast; it heals by itself",
)
@pytest.mark.parametrize("use_up", [fill, use_up_inodes], ids=["bytes", "inodes"])
def test_full_disk_leaves_predictions_and_deletions(
    disk: Path, tmp_path: Path, use_up: Callable[[Path, str], Path]
) -> None:
    """Predictions continue; writes that need space get 507, a deletion gets the ballast; a killed
    gateway serves again; with free space all works, without a restart."""
    echo = write(tmp_path / "echo", ECHO)
    with Gateway(disk / "data", min_free_disk="8MiB") as gateway:
        ballast = gateway.data / "ballast"
        model = gateway.serve(echo, "echo.py", "echo", replicas=1)
        spare = gateway.build(model, "echo.py", "echo")
        bad = gateway.serve(copy("badly", tmp_path / "badly"), "badly.py", "behave", replicas=1)
        assert ballast.exists()
        builds = f"{at(model)}/builds/{spare['id']}"
        with Prober(gateway, [model], {}).running():
            use_up(disk, "filler")
            changes: list[Callable[[], object]] = [
                lambda: gateway.client.post("/projects", {"name": "more", "template": "blank"}),
                lambda: gateway.build(model, "echo.py", "echo"),
                lambda: gateway.client.post(f"{builds}/deployments", {}),
            ]
            for change in changes:
                refused(change)
            assert gateway.call(bad, {"do": "flood", "kilobytes": 1000}).status == 200
            for change in changes[:2]:
                refused(change)
            if use_up is fill:
                # More than the log has room for: it gets the ballast.
                for each in "abcdefghi":
                    gateway.client.patch(at(model), {"description": each * 60_000})
                assert not ballast.exists()
            gateway.client.delete(builds)
            assert not (gateway.data / "builds" / spare["id"]).exists()
        assert gateway.call(bad, {"do": "os_exit"}).status == 502
        # Its successor has what it needs; else it would take that from the other one's later.
        assert gateway.call(bad, {"do": "echo"}).status == 200
        second = use_up(disk, "second")
        assert gateway.call(model, 1).status == 200
        gateway.end(signal.SIGKILL)
        gateway.start()
        until(lambda: gateway.call(model, 1).status == 200)
        empty(second)
        empty(disk / "filler")
        with Prober(gateway, [model], {}).running():
            until(lambda: gateway.call(bad, {"do": "echo"}).status == 200)
            until(ballast.exists)
            assert gateway.build(model, "echo.py", "echo")["status"] == "built"


@fault(
    "a start on a full disk",
    injection="with a build to be written off",
    bound="it serves what was deployed",
)
def test_killed_gateway_starts_on_a_full_disk(disk: Path, tmp_path: Path) -> None:
    """A gateway killed during a build serves again on a disk without free space; it records the
    interruption of the build when there is some."""
    folder = write(tmp_path / "echo", ECHO)
    with Gateway(disk / "data", min_free_disk="8MiB") as gateway:
        model = gateway.serve(folder, "echo.py", "echo", replicas=1)
        write(folder, {"cdsw-build.sh": "sleep 3600\n"})
        wish = {"file_path": "echo.py", "function_name": "echo"}
        build = gateway.client.post(f"{at(model)}/builds", wish)
        path = f"{at(model)}/builds/{build['id']}"
        until(lambda: gateway.client.get(path)["status"] == "building")
        gateway.end(signal.SIGKILL)
        shutil.rmtree(gateway.data / "ballast")
        # The start would remove what there is of the build, and have that room.
        remove_tree(gateway.data / "builds" / build["id"])
        # There is room for the working copy of a replica only: else no call could be answered.
        shutil.rmtree(gateway.data / "replicas")
        (tmp_path / "elsewhere").mkdir()
        (gateway.data / "replicas").symlink_to(tmp_path / "elsewhere")
        filler = fill(disk)
        gateway.start()
        until(lambda: gateway.call(model, 1).status == 200)
        # What the start has to write down is written now, or when there is room for it.
        empty(filler)
        until(lambda: gateway.client.get(path)["status"] == "build failed")


def empty(used: Path) -> None:
    """Gives back what was used up."""
    if used.is_dir():
        for each in used.iterdir():
            each.unlink()
        used.rmdir()
    else:
        used.unlink()


@fault(
    "little room",
    injection="less than the reserve is free",
    bound="builds, deployments and uploads are refused, before anything fails",
)
def test_admission_stops_before_the_disk_is_full(disk: Path, tmp_path: Path) -> None:
    """Below the reserve new work is refused while there is still free space for running models: no
    refused request leaves anything, and everything else can be changed."""
    folder = write(tmp_path / "echo", ECHO)
    with Gateway(disk / "data", min_free_disk="1GiB") as gateway:
        refused(lambda: gateway.project(folder))
        assert gateway.client.listing("/projects") == []
        site = gateway.client.get("/site")["disk"]
        assert site["free_bytes"] < site["reserve"] == 1 << 30
        assert site["ballast"]
    assert "disk.low" in gateway.stderr
