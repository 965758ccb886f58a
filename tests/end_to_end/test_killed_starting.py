"""A gateway killed in its very first moments leaves nothing that a second one stumbles over."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.faults.matrix import fault
from tests.support.disks import need_strace, traced
from tests.support.served_gateway import COMMAND, ROOT, Gateway, environment

CALLS = "pwrite64,fdatasync,fsync,mkdir,unlink,rename,fallocate"


@fault(
    "a first start is killed",
    injection="SIGKILL at its n-th call to the disk",
    bound="the next start serves",
)
@pytest.mark.parametrize("instant", [1, 2, 4, 15, 27, 32])
def test_kill_at_any_call_of_a_first_start_is_harmless(tmp_path: Path, instant: int) -> None:
    """Killed at a thread's n-th call that changes the disk, while it makes its data folder, it
    starts the next time as if it were the first, and a key that was made is kept."""
    need_strace()
    data = tmp_path / "data"
    serve = [*COMMAND, "serve", "--json", "--data", str(data), "--port", "0"]
    command = traced(f"{CALLS}:signal=SIGKILL:when={instant}", serve)
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as killed:
        assert killed.stdout is not None
        if line := killed.stdout.readline():
            os.kill(json.loads(line)["pid"], signal.SIGKILL)
    assert not line, "it came to serve before it was killed"
    key = data / "admin.key"
    made = key.read_text() if key.exists() else ""
    with Gateway(data) as gateway:
        assert gateway.key.startswith(made.strip())
        gateway.client.post("/projects", {"name": "first", "template": "blank"})
        assert len(gateway.client.listing("/projects")) == 1
        assert not [each.name for each in data.rglob("*.new")]
