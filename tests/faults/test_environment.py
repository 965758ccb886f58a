"""Faults of the environment: secrets are searched for, tools are missing, builds are killed."""

import os
import random
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.client import Json
from tests.faults.bench import ECHO, HELD_UP, Took
from tests.faults.conftest import Observe
from tests.faults.matrix import fault
from tests.support.polling import until
from tests.support.served_gateway import (
    Gateway,
    Prober,
    at,
    copy,
    write,
)


@fault(
    "canaries in place of secrets",
    injection="a marked secret in the gateway's environment; the admin key; another model's key",
    bound="none is in a model's or script's environment or arguments, in logs, or in any reply",
)
def test_secrets_are_hidden_from_models_and_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, observe: Observe
) -> None:
    """The gateway's secrets are not visible to those who need not know them."""
    canary = f"canary-{uuid4().hex}"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", canary)
    monkeypatch.setenv("DATABASE_PASSWORD", canary)
    with Gateway(tmp_path / "data") as gateway:
        other = gateway.serve(write(tmp_path / "other", {"echo.py": ECHO}), "echo.py", "echo")
        folder = copy("hostile", tmp_path / "hostile")
        write(folder, {"cdsw-build.sh": "env; cat /proc/$PPID/environ | tr '\\0' '\\n'; env > e\n"})
        model = gateway.serve(folder, "hostile.py", "behave")
        secrets = {canary, gateway.key, other["access_key"]}
        seen = [
            str(gateway.call(model, {"do": "environment"}).body),
            str(gateway.call(model, {"do": "os_exit"}).body),
            str(gateway.post(b"{]").body),
            str(gateway.post(f'{{"accessKey": "{canary}", "request": 1}}').body),
            gateway.cli("logs", "behave").out,
            gateway.cli("build", "log", "behave").out,
            gateway.cli("doctor", "--json").out,
            gateway.stderr,
        ]
        for part in ("builds", "logs", "snapshots"):
            files = filter(Path.is_file, (gateway.data / part).rglob("*"))
            ours = (path for path in files if "environment" not in path.parts)
            seen += [path.read_bytes().decode(errors="replace") for path in ours]
        seen += [Path(f"/proc/{pid}/cmdline").read_text() for pid in gateway.processes()]
    found = [text[:200] for text in seen if any(secret in text for secret in secrets)]
    assert not found
    observe(f"looked for in {len(seen)} places, found in none")


@fault(
    "the package index is down",
    injection="connections to the index are refused, or accepted and never answered",
    bound="the build fails in its time limit and says so; models serve on",
)
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_missing_package_index_fails_only_its_build(
    tmp_path: Path, observe: Observe, how: str
) -> None:
    """A build that cannot get its packages fails by itself; others are not affected."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Gateway(tmp_path / "data", build_timeout="12") as gateway,
    ):
        port = server.getsockname()[1] if how == "silent" else 1
        script = f"pip install --retries 0 --index-url http://127.0.0.1:{port}/ nothing-there\n"
        folder = write(tmp_path / "p", {"echo.py": ECHO, "cdsw-build.sh": script})
        good = gateway.serve(write(tmp_path / "good", {"echo.py": ECHO}), "echo.py", "echo")
        model = gateway.model(gateway.project(folder), "needs")
        with Took() as took, Prober(gateway, [good], {}).running():
            build = gateway.build(model, "echo.py", "echo")
        assert build["status"] in ("build failed", "timedout")
        assert not list((gateway.data / "builds").glob(f"{build['id']}*"))
        observe(f"{how}: {build['status']} after {took}: {build['failure']['summary']}")


@fault(
    "builds are killed at random times",
    injection="SIGKILL to all processes of a build, six times, in each step",
    bound="the build is complete, or failed and absent; the next succeeds; models serve on",
)
def test_killed_build_is_whole_or_absent(tmp_path: Path, observe: Observe) -> None:
    """A build is whole or absent, also if its processes are killed."""
    chance = random.Random(20261121)
    with Gateway(tmp_path / "data") as gateway:
        good = gateway.serve(write(tmp_path / "good", {"echo.py": ECHO}), "echo.py", "echo")
        serving = set(gateway.processes())
        script = "sleep 0.3; echo prepared > prepared.txt; sleep 0.3\n"
        folder = write(tmp_path / "p", {"echo.py": ECHO, "cdsw-build.sh": script})
        model = gateway.model(gateway.project(folder), "shot")
        wish = {"file_path": "echo.py", "function_name": "echo", "fresh": True}
        ends: list[str] = []
        with Prober(gateway, [good], {}).running():
            for _ in range(6):
                path = f"{at(model)}/builds"
                build = gateway.client.post(path, wish)
                until(lambda: set(gateway.processes()) - serving)
                time.sleep(chance.uniform(0, 2.0))
                for pid in set(gateway.processes()) - serving:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                ends.append(whole_or_absent(gateway, gateway.finished(build, path)))
        write(folder, {"cdsw-build.sh": "true\n"})
        assert gateway.build(model, "echo.py", "echo")["status"] == "built"
    observe(f"{ends.count('built')} built, {len(ends) - ends.count('built')} failed; no half")


def whole_or_absent(gateway: Gateway, build: Json) -> str:
    """The status of a build that has ended, which its folder bears out."""
    folder = gateway.data / "builds" / build["id"]
    if build["status"] == "built":
        assert (folder / "sealed").is_file()
    else:
        assert build["status"] == "build failed"
        assert not folder.exists()
    return str(build["status"])


# A script, and how long its build may take.
BOMBS = {
    "until no more are to be had": (
        "python -c 'import os, time\nwhile os.fork(): pass\ntime.sleep(3600)'\n",
        60,
    ),
    "again and again": ("bomb() { bomb | bomb & }; bomb; sleep 3600\n", 6),
}


@fault(
    "a fork bomb in a build script",
    injection="cdsw-build.sh forks without end, and fails when it cannot or tries again",
    bound="held at 4096; the build fails for that or at its time limit, and says so; others never "
    "notice; none is left",
)
@pytest.mark.parametrize("how", BOMBS)
def test_fork_bomb_in_a_build_fails_only_that_build(
    tmp_path: Path, observe: Observe, how: str
) -> None:
    """A script that forks without end costs its own build."""
    script, most = BOMBS[how]
    with Gateway(tmp_path / "data", build_timeout=str(most)) as gateway:
        good = gateway.serve(write(tmp_path / "good", {"echo.py": ECHO}), "echo.py", "echo")
        serving = set(gateway.processes())
        folder = write(tmp_path / "p", {"echo.py": ECHO, "cdsw-build.sh": script})
        model = gateway.model(gateway.project(folder), "bomb")
        with Prober(gateway, [good], {}).running() as prober:
            with Took() as took:
                build = gateway.build(model, "echo.py", "echo")
            assert set(gateway.processes()) == serving
        assert build["failure"]["step"] == "BUILD_SCRIPT"
        log = gateway.cli("build", "log", "bomb").out
        assert build["status"] == "timedout" or "its limit of 4096 processes" in log
        assert prober.slowest < HELD_UP
    slowest = f"{prober.slowest * 1000:.0f} ms"
    observe(f"{how}: {build['status']} after {took}; others waited {slowest} at most")
