"""Disks that are small, full or broken, for the tests that need one."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.skipping import not_here


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own at `folder`, such as `size=60m,nr_inodes=900`; for root only."""
    if os.geteuid() or not shutil.which("mount"):
        not_here("only root can mount")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        not_here("this machine cannot mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def fine_grained_disk(folder: Path) -> Iterator[Path]:
    """A file system of 16 MB in blocks of 1 KiB, as ext4 makes small ones; for root only."""
    if os.geteuid() or not shutil.which("mkfs.ext4"):
        not_here("only root can mount, and mkfs.ext4 makes the file system")
    folder.mkdir()
    image = folder.with_name(f"{folder.name}.image")
    image.touch()
    os.truncate(image, 16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-b", "1024", str(image)], check=True)
    mount = ["mount", "-o", "loop", str(image), str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        not_here("this machine cannot mount a file")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, name: str = "filler") -> Path:
    """Takes all the room there is, as one file."""
    path = disk / name
    with path.open("wb", buffering=0) as file:
        for size in (65536, 512):
            with suppress(OSError):
                while file.write(b"x" * size):
                    pass
    return path


def use_up_inodes(disk: Path, name: str = "filler") -> Path:
    """Takes all the inodes there are, as files in one folder."""
    folder = disk / name
    with suppress(OSError):
        folder.mkdir()
    with suppress(OSError):
        for number in range(1_000_000):
            (folder / str(number)).touch()
    return folder


def traced(fault: str, command: Sequence[str]) -> list[str]:
    """The command with a fault of strace's kind (`fsync:error=EIO:when=3+`) in its system calls."""
    calls = fault.partition(":")[0]
    tracer = ["strace", "-f", "-qq", "-o", os.devnull]
    return [*tracer, "-e", f"trace={calls}", "-e", f"inject={fault}", *command]


# Seconds; it takes some milliseconds.
_DETACHING = 5.0


@contextmanager
def tracing(pid: int, *options: str) -> Iterator[None]:
    """Has strace look at a running process and at all that it starts, while the block runs."""
    need_strace()
    command = ["strace", "-f", *options, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            if "attached" not in said:
                not_here(f"no process may be traced: {said}")
            yield
        finally:
            # strace detaches, and the traced process continues. But strace cannot release a thread
            # that waits for its child to exec while that child waits for strace: the kernel can.
            tracer.terminate()
            try:
                tracer.communicate(timeout=_DETACHING)
            except subprocess.TimeoutExpired:
                tracer.kill()
                tracer.communicate()


def failing(pid: int, fault: str) -> AbstractContextManager[None]:
    """Has a running process meet the fault, in all its threads, while the block runs."""
    calls = fault.partition(":")[0]
    return tracing(pid, "-o", os.devnull, "-e", f"trace={calls}", "-e", f"inject={fault}")


def need_strace() -> None:
    """Skips where strace is missing or not let do its work."""
    probe = ["strace", "-qq", "-o", os.devnull, "true"]
    if not shutil.which("strace") or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("strace is missing, or may not trace here")
