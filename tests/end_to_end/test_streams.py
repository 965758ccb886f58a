"""With any stdin, stdout and stderr the gateway starts, serves and ends by SIGTERM."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.cli.context import admin_key, running_address
from tests.faults.matrix import fault
from tests.support.polling import until
from tests.support.served_gateway import (
    ROOT,
)

COMMAND = [sys.executable, "-m", "gateway.cli", "serve", "--port", "0", "--data"]


@contextmanager
def serving(command: list[str], data: Path, stdout: int, stderr: int) -> Iterator[None]:
    """A gateway that has answered once, with any streams; it has to end by SIGTERM."""
    with subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=stderr) as process:
        try:
            until(lambda: (data / "gateway.json").exists() or process.poll() is not None)
            with running_address(data).client(admin_key(data)) as client:
                assert client.get("/users/admin")["username"] == "admin"
            yield
        finally:
            process.terminate()
    assert process.returncode == 0


@fault(
    "closed standard streams",
    injection="descriptors 0, 1 and 2 are closed at the start",
    bound="it starts; no socket or file gets their numbers",
)
def test_gateway_runs_without_standard_streams(tmp_path: Path) -> None:
    """With closed standard streams, as a script may leave them, no socket and no database gets the
    number of stderr."""
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *COMMAND, str(tmp_path)]
    with serving(closed, tmp_path, subprocess.DEVNULL, subprocess.DEVNULL):
        pid = json.loads((tmp_path / "gateway.json").read_text())["pid"]
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {"/dev/null"}


@fault(
    "stdout and stderr are not read",
    injection="stdout is a pipe whose reader has gone, stderr one that is full",
    bound="it starts, answers and ends",
)
def test_gateway_runs_with_unread_standard_streams(tmp_path: Path) -> None:
    """The gateway runs where the reader of stdout has ended (`predictd serve | head -1`), and
    stderr is a full pipe."""
    gone, stdout = os.pipe()
    os.close(gone)
    unread, stderr = os.pipe()
    os.set_blocking(stderr, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(stderr, b"x" * 4096)
    os.set_blocking(stderr, True)
    with serving([*COMMAND, str(tmp_path)], tmp_path, stdout, stderr):
        pass
    for descriptor in (stdout, stderr, unread):
        os.close(descriptor)
