"""The whole thing as its users have it: a `predictd serve` process, its CLI and its clients.

Nothing here reaches into the gateway: what is known of it comes over HTTP, from the command line,
from the data folder and from /proc.
"""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from gateway.client import ApiError, Client, ClientError, Json
from gateway.data_folder import DataFolder
from tests.support.polling import until
from tests.support.seeds import share_seeds
from workers.process.process import marked

ROOT = Path(__file__).parents[2]
PROJECTS = ROOT / "tests" / "projects"
COMMAND = [sys.executable, "-m", "gateway.cli"]
UNFINISHED = ("pending", "queued", "building", "deploying", "stopping", "running")


class Outcome(NamedTuple):
    """What one command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Reply(NamedTuple):
    """What came back over HTTP."""

    status: int
    body: Any
    headers: Message


def environment(**more: str) -> dict[str, str]:
    """An environment without the settings of the user who runs the tests."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PREDICTD_", "MODEL_"))}
    return {**ours, "PYTHONPATH": str(ROOT), **more}


def predictd(
    *arguments: object, cwd: Path = ROOT, seconds: float = 60, stdin: str = "", **more: str
) -> Outcome:
    """Runs `predictd` with these arguments to its end."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=environment(**more),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


_next_port = itertools.count()


def fixed_port() -> int:
    """A free port that stays free while a gateway is restarted: the kernel gives such ports to no
    connection, and each process of the tests has a thousand of its own."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    while True:
        port = 20_000 + 1000 * (int(worker) % 10) + next(_next_port) % 1000
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


class Gateway:
    """A gateway of its own on `data`; started, killed and started again as the test likes."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.port = 0
        self._settings = {f"PREDICTD_{k.upper()}": v for k, v in settings.items()}
        self._log = data.with_name(f"{data.name}.stderr")
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None
        # Put before its command and behind it, and what it inherits: for who plays a service
        # manager, or a clock.
        self.wrapper: list[str] = []
        self.flags: list[str] = []
        self.descriptors: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self.end(signal.SIGTERM, seconds=30)
        assert not self.processes(), "the gateway left processes behind"

    def start(self) -> None:
        """Returns when it answers."""
        if not self.wrapper:  # else it may run as another user
            share_seeds(self.data)
        serve = ["serve", "--json", "--data", str(self.data), "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.wrapper, *COMMAND, *serve, *self.flags],
                env=environment(**self._settings),
                pass_fds=self.descriptors,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        told = json.loads(line or "{}")
        assert "url" in told, f"it did not start: {told} {self.stderr}"
        self.url = told["url"]
        self.key = (self.data / "admin.key").read_text().strip()
        self._client = Client(self.url, self.key)

    @property
    def stderr(self) -> str:
        """All it ever said there."""
        return self._log.read_text()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def client(self) -> Client:
        assert self._client is not None
        return self._client

    def new_client(self) -> Client:
        """For another thread, or another process's worth of connections."""
        return Client(self.url, self.key)

    def end(self, how: signal.Signals, seconds: float = 10) -> float:
        """Sends it a signal and waits for its end; returns how long that took."""
        process, self._process = self._process, None
        assert process is not None
        assert process.stdout is not None
        self.client.close()
        began = time.monotonic()
        process.send_signal(how)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            process.stdout.close()
        return time.monotonic() - began

    def processes(self) -> list[int]:
        """What runs with this gateway's mark: replicas, scripts, and all they started."""
        return marked(f"{DataFolder(self.data.resolve()).instance_id}/")

    def cli(self, *arguments: object, **more: Any) -> Outcome:
        """Runs a verb of the command line on this gateway."""
        return predictd(*arguments, "--data", self.data, **more)

    # Through the admin API.

    def project(self, folder: Path, name: str = "") -> Json:
        wish = {"name": name or folder.name, "template": "local", "path": str(folder)}
        return self.client.post("/projects", wish)

    def model(self, project: Json, name: str) -> Json:
        path = f"/projects/{project['id']}/models"
        return self.client.post(path, {"name": name, "disable_authentication": True})

    def build(self, model: Json, file: str, function: str, **more: object) -> Json:
        """A build that is done, well or badly."""
        wish = {"file_path": file, "function_name": function, **more}
        path = f"{at(model)}/builds"
        # It takes seconds, in which looking on costs the machine what the build could use.
        return self.finished(self.client.post(path, wish), path, pause=0.1)

    def deploy(self, model: Json, build: Json, **more: object) -> Json:
        """A deployment that has come to its end: deployed, or failed."""
        path = f"{at(model)}/builds/{build['id']}/deployments"
        return self.finished(self.client.post(path, more), path)

    def finished(self, thing: Json, path: str, *, pause: float = 0.02) -> Json:
        def look() -> Json | None:
            now = self.client.get(f"{path}/{thing['id']}")
            return now if now["status"] not in UNFINISHED else None

        found: Json = until(look, 60, pause=pause)
        return found

    def serve(self, folder: Path, file: str, function: str, **more: object) -> Json:
        """The model of a function of `folder`, built and deployed."""
        model = self.model(self.project(folder), function)
        build = self.build(model, file, function)
        assert build["status"] == "built", build["failure"]
        deployment = self.deploy(model, build, **more)
        assert deployment["status"] == "deployed", deployment["failure"]
        return model

    def call(self, model: Json, request: object) -> Reply:
        """One call of a model, with its response."""
        return self.post(json.dumps({"accessKey": model["access_key"], "request": request}))

    def post(self, body: str | bytes, path: str = "/model", **headers: str) -> Reply:
        """One raw POST."""
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            sent = {"Content-Type": "application/json", **headers}
            connection.request("POST", path, body, sent)
            response = connection.getresponse()
            return Reply(response.status, json.loads(response.read()), response.headers)
        finally:
            connection.close()


def at(model: Json) -> str:
    """Where a model is in the admin API."""
    return f"/projects/{model['project']['id']}/models/{model['id']}"


def copy(name: str, target: Path) -> Path:
    """A copy of one of the sample projects."""
    shutil.copytree(PROJECTS / name, target)
    return target


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """A project folder with these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


class Prober:
    """A model of another project, called again and again: every answer must be right."""

    def __init__(self, gateway: Gateway, models: Sequence[Json], request: Json) -> None:
        self._gateway, self._models, self._request = gateway, models, request
        self._stop = threading.Event()
        self.right = 0
        self.wrong: list[object] = []
        # The longest that a caller waited for an answer, in seconds.
        self.slowest = 0.0

    def run(self, most: int = 1_000_000, pause: float = 0.0) -> None:
        with self._gateway.new_client() as client:
            for number in range(most):
                if self._stop.is_set():
                    break
                self._ask(client, f"{threading.get_ident()}-{number}")
                self._stop.wait(pause)

    def _ask(self, client: Client, nonce: str) -> None:
        for model in self._models:
            began = time.monotonic()
            try:
                answer = client.call(model["access_key"], {**self._request, "nonce": nonce})
            except ClientError as error:
                status = error.status if isinstance(error, ApiError) else 0
                self.wrong.append((status, error.message))
            else:
                if answer["response"].get("nonce") == nonce:
                    self.right += 1
                else:
                    self.wrong.append(answer)
            self.slowest = max(self.slowest, time.monotonic() - began)

    @contextmanager
    def running(self, callers: int = 1, pause: float = 0.05) -> Iterator[Self]:
        """Asks from `callers` threads while the block runs; at its end every answer was right."""
        threads = [
            threading.Thread(target=self.run, kwargs={"pause": pause}) for _ in range(callers)
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        assert not self.wrong, self.wrong[:5]
        assert self.right
