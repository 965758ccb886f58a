"""A full disk: what serves goes on serving, what must be written is refused, and it heals."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.client import ApiError
from tests.whole.rig import Gateway, at, copy, until, write


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 60 MB; only root can make one."""
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root can mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60m", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Takes all the room there is."""
    path = disk / "ballast"
    with path.open("wb", buffering=0) as file:
        for size in (65536, 512):
            with suppress(OSError):
                while file.write(b"x" * size):
                    pass
    return path


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """Predictions go on, a replica that dies costs only its own request, changes are refused with
    507 and lose nothing; a killed gateway serves again; with room again, all is well."""
    echo = write(tmp_path / "echo", {"echo.py": "def echo(args):\n    return args\n"})
    with Gateway(small_disk / "data") as gateway:
        model = gateway.serve(echo, "echo.py", "echo", replicas=1)
        bad = gateway.serve(copy("badly", tmp_path / "badly"), "badly.py", "behave", replicas=1)
        ballast = fill(small_disk)
        assert gateway.call(model, 1).status == 200
        assert gateway.call(bad, {"do": "flood", "kilobytes": 1000}).status == 200
        changes: list[Callable[[], object]] = [
            lambda: gateway.client.post("/projects", {"name": "more", "template": "blank"}),
            lambda: gateway.build(model, "echo.py", "echo"),
            lambda: gateway.client.delete(at(model)),
        ]
        for change in changes:
            with pytest.raises(ApiError) as told:
                change()
            assert (told.value.status, told.value.code) == (507, "disk.failed")
        assert gateway.call(bad, {"do": "os_exit"}).status == 502
        assert gateway.call(model, 1).status == 200
        gateway.end(signal.SIGKILL)
        gateway.start()
        until(lambda: gateway.call(model, 1).status == 200)
        ballast.unlink()
        until(lambda: gateway.call(bad, {"do": "echo"}).status == 200)
        assert gateway.build(model, "echo.py", "echo")["status"] == "built"
