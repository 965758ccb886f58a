"""A real gateway to test against, and the few moves that most tests make on it.

`running` runs one in the test's own Trio run; `in_a_process` runs one beside pytest, for tests that
only speak HTTP and can share it. Waiting is polling with a deadline, never a pause.
"""

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import trio

import builder
from builder import Interpreter
from gateway.control.interpreters import Discover
from gateway.control.operation import OperationTimeouts
from gateway.http.timeouts import HttpTimeouts
from gateway.serving import run_gateway
from gateway.settings import LoadedSettings, Settings
from tests.support.seeds import share_seeds

ROOT = Path(__file__).parents[2]
PROJECTS = ROOT / "tests" / "projects"
# What nothing in these tests should take; a machine under load may.
PATIENCE = 30.0
# Between two looks at a build, which takes seconds. Looking as often as at what takes moments cost
# the gateway, in the same process, two thirds of a core meanwhile.
_BUILD_PAUSE = 0.1

Json = dict[str, Any]


class Gateway:
    """One running gateway: `admin` speaks to its admin API with the key, `models` without."""

    def __init__(
        self, url: str, data: Path, admin: httpx.AsyncClient, models: httpx.AsyncClient
    ) -> None:
        self.url = url
        self.data = data
        self.admin = admin
        self.models = models
        self.port = int(url.rpartition(":")[2])

    async def get(self, path: str, **query: str | int) -> Any:
        return _answered(await self.admin.get(path, params=query))

    async def post(self, path: str, body: Json | None = None) -> Any:
        return _answered(await self.admin.post(path, json=body or {}))

    async def delete(self, path: str) -> Any:
        return _answered(await self.admin.delete(path))

    async def project(self, folder: Path, name: str = "", **more: object) -> str:
        """The path of a new project linked to `folder`."""
        asked = {"name": name or folder.name, "template": "local", "path": str(folder), **more}
        return f"/projects/{(await self.post('/projects', asked))['id']}"

    async def model(self, project: str, name: str = "model") -> str:
        """The path of a new model that takes calls without a key, as most tests make."""
        asked = {"name": name, "disable_authentication": True}
        return f"{project}/models/{(await self.post(f'{project}/models', asked))['id']}"

    async def build(self, model: str, what: str, **more: object) -> str:
        """The path of a new build of `file.py:function`, not waited for."""
        file, function = what.split(":")
        asked = {"file_path": file, "function_name": function, **more}
        return f"{model}/builds/{(await self.post(f'{model}/builds', asked))['id']}"

    async def built(self, model: str, what: str, **more: object) -> str:
        """The path of a build that succeeded."""
        build = await self.build(model, what, **more)
        ended = await self.until(build, ended_build, pause=_BUILD_PAUSE)
        assert ended["status"] == "built", ended["failure"]
        return build

    async def deploy(self, build: str, **more: object) -> str:
        """The path of a new deployment, not waited for."""
        return f"{build}/deployments/{(await self.post(f'{build}/deployments', more))['id']}"

    async def deployed(self, build: str, **more: object) -> str:
        """The path of a deployment that serves."""
        deployment = await self.deploy(build, **more)
        now = await self.until(deployment, lambda d: d["status"] in ("deployed", "failed"))
        assert now["status"] == "deployed", now["failure"]
        return deployment

    async def until(self, path: str, met: Callable[[Json], bool], *, pause: float = 0.01) -> Json:
        """What is at `path`, once it meets the condition."""
        return dict(await until(lambda: self.get(path), met, pause=pause))

    async def key(self, model: str) -> str:
        return str((await self.get(model))["access_key"])

    async def call(self, key: str, request: object) -> httpx.Response:
        return await self.models.post("/model", json={"accessKey": key, "request": request})


def ended_build(build: Json) -> bool:
    return build["status"] in ("built", "build failed", "timedout")


def status_is(*statuses: str) -> Callable[[Json], bool]:
    return lambda record: record["status"] in statuses


async def until(
    ask: Callable[[], Awaitable[Any]], met: Callable[[Any], bool], *, pause: float = 0.01
) -> Any:
    """What `ask` gives, once it meets the condition; fails after PATIENCE."""
    answer = None
    with trio.move_on_after(PATIENCE):
        while not met(answer := await ask()):  # noqa: ASYNC110 - over HTTP there is no event
            await trio.sleep(pause)
        return answer
    raise AssertionError(f"it stayed {answer}")


def _answered(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, in either body."""
    body = response.json()
    told = body["details"][0] if "details" in body else body["error"]
    return response.status_code, told["code"]


def copy_of(name: str, folder: Path) -> Path:
    """A sample project, copied beneath `folder`."""
    return Path(shutil.copytree(PROJECTS / name, folder / name))


def settings_for(data: Path, base: Settings | None = None, **more: object) -> Settings:
    """Settings for a test, `base` or the defaults otherwise.

    Not confined: models and scripts of these tests meet them in files. `tests/whole` is.
    """
    ours = {"data": data, "port": 0, "shutdown_grace": 1.0, "isolation": "none", **more}
    return msgspec.structs.replace(base or Settings(), **ours)


_discovered: dict[Path | None, list[Interpreter]] = {}


async def discovered(default: Path | None, downloads: Path | None) -> list[Interpreter]:
    """The interpreters of this machine, discovered once: starting each one takes half a second of
    CPU time, which was two thirds of the start of a gateway. Downloads are discovered each time."""
    if downloads is not None and list(downloads.glob("*/bin")):
        return await builder.discover(default, downloads)
    if default not in _discovered:
        with trio.CancelScope(shield=True):  # else the gateways of the next tests begin again
            _discovered[default] = await builder.discover(default)
    return _discovered[default]


# Loading the system's certificates takes longer than a start of the gateway.
_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@asynccontextmanager
async def running(
    settings: Settings | LoadedSettings,
    trusted: ssl.SSLContext | None = None,
    timeouts: HttpTimeouts | None = None,
    operation_timeouts: OperationTimeouts | None = None,
    discover: Discover | None = None,
) -> AsyncIterator[Gateway]:
    """A gateway in this Trio run, stopped in an orderly way at the end. Settings that are not said
    to be fixed somewhere can be changed at run time.

    Clients of one with TLS use the context `trusted`.
    """
    given = settings if isinstance(settings, LoadedSettings) else LoadedSettings(settings, {})
    share_seeds(given.settings.data)
    stop, send, receive = trio.Event(), *trio.open_memory_channel[str](1)

    async def run() -> None:
        await run_gateway(
            given,
            stop=stop,
            ready=send.send_nowait,
            timeouts=timeouts,
            operation_timeouts=operation_timeouts,
            discover=discover or discovered,
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        url = await receive.receive()
        try:
            async with speaking_to(url, given.settings.data, trusted) as gateway:
                yield gateway
        finally:
            stop.set()


@asynccontextmanager
async def speaking_to(
    url: str, data: Path, trusted: ssl.SSLContext | None = None
) -> AsyncIterator[Gateway]:
    """A Gateway for one that runs already."""
    key = (data / "admin.key").read_text().strip()
    bearer = {"Authorization": f"Bearer {key}"}
    api, verify, timeout = f"{url}/api/v2", trusted or _PLAIN, PATIENCE
    async with (
        httpx.AsyncClient(base_url=api, headers=bearer, verify=verify, timeout=timeout) as admin,
        httpx.AsyncClient(base_url=url, verify=verify, timeout=timeout) as models,
    ):
        yield Gateway(url, data, admin, models)


@contextmanager
def in_a_process(data: Path, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """A gateway of its own process, which has written `gateway.json`."""
    share_seeds(data)
    command = [sys.executable, "-m", "gateway.cli", "serve", "--data", str(data), "--port", "0"]
    with subprocess.Popen(
        [*command, *flags], cwd=ROOT, stdout=subprocess.DEVNULL, env={"PATH": os.environ["PATH"]}
    ) as process:
        try:
            give_up = time.monotonic() + PATIENCE
            while not (data / "gateway.json").exists():
                assert process.poll() is None, "it ended"
                assert time.monotonic() < give_up, "it does not serve"
                time.sleep(0.01)
            yield process
        finally:
            process.terminate()
            process.wait()


def url_in(data: Path) -> str:
    return str(json.loads((data / "gateway.json").read_text())["url"])
