"""A real gateway in a temporary folder, with one model deployed; and the facts of the machine."""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.client import Client

MODELS = Path(__file__).parent / "models"
_PATIENCE = 60.0


@contextmanager
def gateway() -> Iterator[Client]:
    """A gateway of its own process, gone with its data at the end."""
    with tempfile.TemporaryDirectory(prefix="predictd-benchmark-") as folder:
        data = Path(folder) / "data"
        command = [sys.executable, "-m", "gateway.cli", "serve", "--port", "0", "--data", str(data)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address = data / "gateway.json"
            _wait(lambda: address.exists() or process.poll() is not None)
            url = json.loads(address.read_text())["url"]
            with Client(url, (data / "admin.key").read_text().strip()) as client:
                yield client
        finally:
            process.terminate()
            process.wait()


def deploy(client: Client, model: str, function: str, replicas: int) -> str:
    """The access key of a model of `models/`, deployed and ready."""
    project = client.post(
        "/projects", {"name": model, "template": "local", "path": str(MODELS / model)}
    )
    build = {
        "file_path": f"{model}.py",
        "function_name": function,
        "auto_deploy_model": True,
        "auto_deployment_config": {"replicas": replicas},
    }
    made = client.post(
        f"/projects/{project['id']}/models",
        {"name": model, "auto_build_model": True, "auto_build_config": build},
    )
    path = f"/projects/{project['id']}/models/{made['id']}"
    _wait(lambda: client.get(path)["status"] in ("deployed", "failed"))
    state = client.get(path)
    if state["status"] != "deployed":
        raise RuntimeError(f"{model} did not deploy: {client.get(path + '/builds')}")
    return str(state["access_key"])


def machine() -> dict[str, str]:
    """What a number means nothing without."""
    return {
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def _wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not until():
        if time.monotonic() > end:
            raise TimeoutError("the gateway or the model was not ready in time")
        time.sleep(0.05)
