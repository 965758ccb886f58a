"""`kill -9` of the gateway while it cancels a build or deletes old builds.

What is deployed serves afterwards, each row has its files, and no file or process has no row.
"""

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.client import ClientError, Json
from tests.faults.matrix import fault
from tests.support.polling import until
from tests.support.served_gateway import Gateway, at, write

ECHO = "def echo(args):\n    return args\n"
# At these times after the request the gateway is killed, in seconds.
MOMENTS = (0.0, 0.01, 0.05, 0.2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "echo", {"echo.py": ECHO, "cdsw-build.sh": "true\n"})


def killed_during(gateway: Gateway, ask: Callable[[], object], moment: float) -> None:
    """Asks in a thread, kills the gateway, and starts it again."""

    def run() -> None:
        with suppress(ClientError):
            ask()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(moment)
    gateway.end(signal.SIGKILL)
    thread.join()
    gateway.start()


def is_consistent(gateway: Gateway, model: Json) -> None:
    """It serves, and exactly its built builds have folders."""
    until(lambda: gateway.call(model, {"n": 1}).status == 200, 20)
    builds = gateway.client.listing(f"{at(model)}/builds")
    built = {each["id"] for each in builds if each["status"] == "built"}
    folders = {each.name for each in (gateway.data / "builds").iterdir()}
    assert folders == built
    logs = {each.name.partition(".")[0] for each in (gateway.data / "logs/builds").iterdir()}
    assert logs <= {each["id"] for each in builds}


def all_failed(gateway: Gateway, build: str) -> bool:
    return all(d["status"] == "failed" for d in gateway.client.listing(f"{build}/deployments"))


@fault(
    "kill -9 while a build is cancelled",
    injection="at four moments after the request",
    bound="the build has ended, nothing of it is left, and the model serves",
)
def test_killed_while_a_build_is_cancelled(gateway: Gateway, folder: Path) -> None:
    """The build is cancelled or interrupted; it is not continued, and its deployment has failed."""
    model = gateway.serve(folder, "echo.py", "echo")
    write(folder, {"cdsw-build.sh": "trap '' TERM; sleep 3600\n"})
    wish = {"file_path": "echo.py", "function_name": "echo", "auto_deploy_model": True}
    for moment in MOMENTS:
        before = len(gateway.processes())
        build = gateway.client.post(f"{at(model)}/builds", wish)
        path = f"{at(model)}/builds/{build['id']}"
        until(lambda: len(gateway.processes()) > before)  # noqa: B023 - ended here
        with gateway.new_client() as other:
            cancel = f"{path}:cancel"
            killed_during(gateway, lambda: other.post(cancel), moment)  # noqa: B023 - ended here
        ended = gateway.client.get(path)
        assert ended["status"] == "build failed"
        until(lambda: all_failed(gateway, path))  # noqa: B023 - ended here
        is_consistent(gateway, model)


@fault(
    "kill -9 while old builds are deleted",
    injection="at four moments after the request",
    bound="each build is whole or gone with its files; what is deployed serves",
)
def test_killed_while_old_builds_are_deleted(gateway: Gateway, folder: Path) -> None:
    """What was not deleted is deleted by the next collection."""
    model = gateway.serve(folder, "echo.py", "echo")
    for moment in MOMENTS:
        for _ in range(3):
            assert gateway.build(model, "echo.py", "echo")["status"] == "built"
        with gateway.new_client() as other:
            killed_during(gateway, lambda: other.delete("/garbage?keep=1"), moment)
        is_consistent(gateway, model)
        gateway.client.delete("/garbage?keep=1")
        builds = gateway.client.listing(f"{at(model)}/builds")
        assert builds[0]["build_number"] == 1
        assert len(builds) == 2
        is_consistent(gateway, model)
