"""What is told to end does end: a model, a gateway, a demo; and nothing of it is left."""

import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.client import Json
from tests.faults.matrix import fault
from tests.support.polling import until
from tests.support.served_gateway import (
    Gateway,
    Reply,
    at,
    copy,
    predictd,
    write,
)

ECHO = {"echo.py": "def echo(args):\n    return args\n"}
GRACE = 1.0


def test_stop(gateway: Gateway, tmp_path: Path) -> None:
    """A stopped model has no process, also if it was busy, and stays stopped over a restart of
    the gateway; its history and its builds remain, so that it can be served again."""
    model = gateway.serve(copy("badly", tmp_path / "badly"), "badly.py", "behave", replicas=2)
    before = set(gateway.processes())
    gateway.call(model, {"do": "fork"})
    assert set(gateway.processes()) - before
    assert gateway.cli("model", "stop", "behave").code == 0
    assert not gateway.processes()
    refused = gateway.call(model, {"do": "echo"})
    assert (refused.status, refused.body["error"]["code"]) == (503, "model.notready")
    gateway.end(signal.SIGTERM)
    gateway.start()
    assert not gateway.processes()
    assert gateway.call(model, {"do": "echo"}).status == 503
    assert gateway.cli("model", "redeploy", "behave").code == 0
    assert gateway.call(model, {"do": "echo"}).status == 200


def test_rm(gateway: Gateway, tmp_path: Path) -> None:
    """A removed model leaves no process, build, snapshot, log or route; its name is free, and its
    folder of the user's stays as it was."""
    folder = write(tmp_path / "project", ECHO)
    model = gateway.serve(folder, "echo.py", "echo")
    assert gateway.cli("model", "rm", "echo", "--yes").code == 0
    assert not gateway.processes()
    assert gateway.call(model, 1).body["error"]["code"] == "model.accesskey"
    left = [p for part in ("builds", "replicas", "logs") for p in (gateway.data / part).rglob("*")]
    assert not [path for path in left if path.is_file()]
    again = gateway.model({"id": model["project"]["id"]}, "echo")
    assert gateway.build(again, "echo.py", "echo")["build_number"] == 1
    assert gateway.cli("project", "rm", folder.name, "--yes").code == 0
    assert [path.name for path in folder.iterdir()] == ["echo.py"]
    assert not list((gateway.data / "snapshots").iterdir())


@contextmanager
def connected(gateway: Gateway, sent: bytes) -> Iterator[socket.socket]:
    """A client that has sent this, and never reads."""
    address = urlsplit(gateway.url)
    with closing(socket.create_connection((address.hostname, address.port))) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(sent)
        yield client


def request(model: Json, content: str) -> bytes:
    body = f'{{"accessKey": "{model["access_key"]}", "request": {content}}}'
    return (
        "POST /model HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


@fault(
    "SIGTERM with everything stuck",
    injection=(
        "an idle client, half a request, a client that never reads, models that hang, a build"
    ),
    bound="the end in grace + 3 s, no process left",
)
def test_sigterm_ends_the_gateway_in_time(tmp_path: Path) -> None:
    """SIGTERM ends the gateway within its grace and three seconds, in spite of an idle connection,
    half a request, a client that never reads, a model that hangs and a build that continues."""
    with Gateway(tmp_path / "data", shutdown_grace=str(GRACE)) as gateway:
        model = gateway.serve(copy("badly", tmp_path / "badly"), "badly.py", "behave", replicas=3)
        slow = write(tmp_path / "slow", {**ECHO, "cdsw-build.sh": "sleep 3600 & sleep 3600\n"})
        building = gateway.model(gateway.project(slow), "slow")
        wish = {"file_path": "echo.py", "function_name": "echo"}
        build = gateway.client.post(f"{at(building)}/builds", wish)
        with ExitStack() as clients:
            for sent in (
                b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
                b"POST /model HTTP/1.1\r\nHost: x\r\nContent-Le",
                request(model, '"x')[:-1],
                request(model, '{"do": "big", "bytes": 20000000}'),
                request(model, '{"do": "hang"}'),
                request(model, '{"do": "hang_in_c"}'),
            ):
                clients.enter_context(connected(gateway, sent))
            until(lambda: busy(gateway, model) == 2)
            until(lambda: len(gateway.processes()) >= 6)
            took = gateway.end(signal.SIGTERM, seconds=30)
        assert took < GRACE + 3
        assert not gateway.processes()
        assert not (gateway.data / "gateway.json").exists()
        assert "Traceback" not in gateway.stderr
        gateway.start()
        until(lambda: gateway.call(model, {"do": "echo"}).status == 200)
        ended = gateway.client.get(f"{at(building)}/builds/{build['id']}")
        assert ended["status"] == "build failed"


def busy(gateway: Gateway, model: Json) -> int:
    replicas = gateway.client.get(f"{at(model)}/replicas")["replicas"]
    return sum(replica["status"] == "busy" for replica in replicas)


def test_sigterm_lets_a_begun_request_finish(tmp_path: Path) -> None:
    """Within the grace, SIGTERM lets a request that a model works on finish."""
    with Gateway(tmp_path / "data", shutdown_grace="10") as gateway:
        model = gateway.serve(copy("badly", tmp_path / "badly"), "badly.py", "behave")
        told: list[int] = []
        asked = {"do": "sleep", "seconds": 1}
        caller = threading.Thread(target=lambda: told.append(gateway.call(model, asked).status))
        caller.start()
        until(lambda: busy(gateway, model) == 1)
        assert gateway.end(signal.SIGTERM) < 8
        caller.join()
        assert told == [200]


def test_interrupted_work_continues_after_a_restart(tmp_path: Path) -> None:
    """A request that runs past the grace gets that the model is not ready; serving deployments stay
    wanted, starting ones serve after the next start, and a build in its PROBE was interrupted,
    which is no fault of the model."""
    gate = tmp_path / "gates" / "gate"
    gate.parent.mkdir()
    gate.touch()
    with Gateway(tmp_path / "data", shutdown_grace="3", shared_folders=str(gate.parent)) as gateway:
        model = gateway.serve(copy("badly", tmp_path / "badly"), "badly.py", "behave")
        waits = f"import os, time\nwhile not os.path.exists({str(gate)!r}):\n    time.sleep(0.02)\n"
        project = gateway.project(write(tmp_path / "waits", {"echo.py": waits + ECHO["echo.py"]}))
        deploying, probing = gateway.model(project, "deploying"), gateway.model(project, "probing")
        build = gateway.build(deploying, "echo.py", "echo")
        gate.unlink()
        path = f"{at(deploying)}/builds/{build['id']}/deployments"
        deployment = gateway.client.post(path, {"replicas": 1})
        wish = {"file_path": "echo.py", "function_name": "echo", "auto_deploy_model": True}
        probed = gateway.client.post(f"{at(probing)}/builds", wish)
        probed_at = f"{at(probing)}/builds/{probed['id']}"
        until(lambda: "PROBE" in running_steps(gateway.client.get(probed_at)))
        until(lambda: gateway.client.get(f"{path}/{deployment['id']}")["status"] == "deploying")
        told: list[Reply] = []
        caller = threading.Thread(
            target=lambda: told.append(gateway.call(model, {"do": "sleep", "seconds": 60}))
        )
        caller.start()
        until(lambda: busy(gateway, model) == 1)
        gateway.end(signal.SIGTERM)
        caller.join()
        assert [(t.status, t.body["error"]["code"]) for t in told] == [(503, "model.notready")]
        assert "Traceback" not in gateway.stderr
        gate.touch()
        gateway.start()
        until(lambda: gateway.call(model, {"do": "echo"}).status == 200)
        (served,) = gateway.client.listing(f"{at(model)}/deployments")
        assert (served["status"], served["wanted"]) == ("deployed", "serve")
        assert gateway.finished(deployment, path)["status"] == "deployed"
        ended = gateway.client.get(probed_at)
        assert ended["status"] == "build failed"
        assert "interrupted" in ended["failure"]["summary"]
        (waited,) = gateway.client.listing(f"{at(probing)}/deployments")
        failed = gateway.finished(waited, f"{probed_at}/deployments")
        assert "interrupted" in failed["failure"]["problem"]


def running_steps(build: Json) -> list[str]:
    return [step["name"] for step in build["steps"] if step["state"] == "running"]


@pytest.mark.index
def test_demo_serves_iris_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`predictd demo --once` fits, builds, deploys and calls the iris model with packages from the
    index, prints how to call it, and leaves nothing behind."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    outcome = predictd("demo", "--once", "--json", seconds=300, TMPDIR=str(tmp_path))
    assert outcome.code == 0, outcome.err
    assert 1.5 < outcome.json["answer"] < 2.5
    assert "curl" in outcome.json["samples"]["curl"]
    assert not list(tmp_path.iterdir())
