"""Real gateways in temporary folders, used as users do: by the command, HTTP and /proc.

The benchmarks read nothing inside a gateway. A gateway sees no setting of the environment of the
benchmarks.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.load.closed import ask
from benchmarks.load.spec import Target
from gateway.client import Client, Json

ROOT = Path(__file__).parents[1]
MODELS = Path(__file__).parent / "models"
DEPLOY_TIMEOUT = 120.0


class SetupFailed(Exception):
    """A gateway or a model did not start; the message has the reason."""


class Gateway:
    """A running gateway."""

    def __init__(self, client: Client, key: str, pid: int, host: str, port: int) -> None:
        self.client = client
        self._key = key
        self.pid = pid
        self.host = host
        self.port = port

    @property
    def roles(self) -> dict[str, Sequence[int]]:
        """The processes by role, for the sampler."""
        return {"gateway": [self.pid], "replicas": [self.pid]}

    def target(self, key: str, request: object) -> Target:
        """A prediction by the model with this access key."""
        body = msgspec.json.encode({"accessKey": key, "request": request})
        return Target(host=self.host, port=self.port, body=body)

    def admin(self, path: str) -> Target:
        """A GET of the admin API."""
        headers = {"Authorization": f"Bearer {self._key}"}
        return Target(host=self.host, port=self.port, path=f"/api/v2{path}", headers=headers)

    def deploy(
        self, project: str, function: str, *, file: str = "", models: int = 1, replicas: int = 1
    ) -> list[str]:
        """Deploy models of a project of `models/`, of its file of the same name if no other is
        named; return their access keys when they are ready."""
        client = self.client
        made = self._project(project)
        path = f"/projects/{made['id']}/models"
        build = {
            "file_path": file or f"{project}.py",
            "function_name": function,
            "auto_deploy_model": True,
            "auto_deployment_config": {"replicas": replicas},
        }
        created = []
        named = len(client.listing(path))
        for number in range(models):
            name = f"{function}-{named + number}"
            wish = {
                "name": name,
                "disable_authentication": True,
                "auto_build_model": True,
                "auto_build_config": build,
            }
            created.append(client.post(path, wish)["id"])

        def over() -> bool:
            states = {m["id"]: m["status"] for m in client.listing(path)}
            return all(states[identifier] in ("deployed", "failed") for identifier in created)

        # Listing many models is work for the gateway, which builds meanwhile.
        wait(over, DEPLOY_TIMEOUT + 2 * models, f"deploying {project}:{function}", 0.02 * models)
        states = {m["id"]: m for m in client.listing(path)}
        for identifier in created:
            if states[identifier]["status"] != "deployed":
                builds = client.get(f"{path}/{identifier}/builds")
                raise SetupFailed(f"{project}:{function} did not deploy: {builds}")
        return [str(states[identifier]["access_key"]) for identifier in created]

    def wait_ready(self, replicas: int) -> None:
        """Wait until every model has this many ready replicas."""

        def ready() -> bool:
            return all(m["replicas_ready"] >= replicas for m in self.client.listing("/models"))

        wait(ready, DEPLOY_TIMEOUT, f"{replicas} replicas")

    def _project(self, name: str) -> Json:
        for project in self.client.listing("/projects"):
            if project["name"] == name:
                return project
        wish = {"name": name, "template": "local", "path": str(MODELS / name)}
        return self.client.post("/projects", wish)


@contextmanager
def started(**settings: str | float) -> Iterator[Gateway]:
    """Start a gateway with these settings; stop it and delete its data at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="predictd-benchmark-") as folder,
        started_on(Path(folder) / "data", **settings) as started,
    ):
        yield started


@contextmanager
def started_on(data: Path, **settings: str | float) -> Iterator[Gateway]:
    """Start a gateway on this data folder."""
    # Compiled once, as an installed gateway is, regardless of this environment.
    unset = ("PREDICTD_", "MODEL_", "PYTHONDONTWRITEBYTECODE")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(unset)}
    given = {
        f"PREDICTD_{name.upper()}": str(value) for name, value in ({"port": 0} | settings).items()
    }
    command = [sys.executable, "-m", "gateway.cli", "serve", "--json"]
    command += ["--data", str(data), "--parent", str(os.getpid())]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=kept | given, stdout=subprocess.PIPE, stderr=said
        )
        try:
            assert process.stdout
            told = process.stdout.readline()
            if not told:
                said.seek(0)
                raise SetupFailed(f"the gateway did not start: {said.read()[-2000:].decode()}")
            url = msgspec.json.decode(told)["url"]
            key = (data / "admin.key").read_text().strip()
            with Client(url, key) as client:
                host, _, number = url.removeprefix("http://").partition(":")
                yield Gateway(client, key, process.pid, host, int(number))
        finally:
            process.terminate()
            process.communicate()


def check(target: Target, right: object) -> None:
    """Send one request. Raises SetupFailed where the response is not `right`."""
    status, body = ask(target)
    if status != 200 or msgspec.json.decode(body).get("response") != right:
        raise SetupFailed(f"the response is {status} {body[:300]!r}, not {right!r}")


def wait(until: Callable[[], bool], seconds: float, what: str, pause: float = 0.02) -> None:
    """Wait until `until` returns True, checking after each pause. Raises SetupFailed."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise SetupFailed(f"{what} took more than {seconds:g} s")
        time.sleep(pause)
