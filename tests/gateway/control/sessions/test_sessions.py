"""Sessions: a function is tried, a shell is opened; nothing is left when the client has gone."""

import base64
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from builder import snapshots_in
from gateway.control.sessions.sessions import MOST_OF_ONE_USER
from tests.support.gateway import Gateway, copy_of, refusal, until
from tests.support.r import r_prefix

ADD = {"kind": "function", "file_path": "add.py", "function_name": "add"}
PATIENCE = 40.0
# A client that leaves a response in the middle leaves generators of httpx, which does not close
# them.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Async generator '(httpx|httpcore):ResourceWarning",
    r"ignore:Exception ignored in. <async_generator object (BoundAsyncStream|Response|Connection"
    r"PoolByteStream|HTTP11ConnectionByteStream):pytest.PytestUnraisableExceptionWarning",
)


class Follower:
    """A client that follows a session."""

    def __init__(self, gateway: Gateway, path: str, response: httpx.Response) -> None:
        self.gateway = gateway
        self.path = path
        self._lines = response.aiter_lines()
        self.lines: list[str] = []

    async def event(self, name: str) -> Any:
        """The data of the next event of this name; lines are collected on the way."""
        found = ""
        with trio.fail_after(PATIENCE):
            async for line in self._lines:
                if line.startswith("event: "):
                    found = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data = json.loads(line.removeprefix("data: "))
                    if found == name:
                        return data
                    if found == "line":
                        self.lines.append(data)
                    if found == "end":
                        raise AssertionError(f"{data} {self.lines}")
        raise AssertionError(self.lines)

    async def call(self, request: object) -> Any:
        return await self.gateway.post(f"{self.path}:call", {"request": request})

    async def type(self, text: str) -> None:
        data = base64.b64encode(text.encode()).decode()
        await self.gateway.post(f"{self.path}:type", {"data": data})


@asynccontextmanager
async def session(gateway: Gateway, project: str, **asked: object) -> AsyncIterator[Follower]:
    """A session that is followed."""
    made = await gateway.post(f"{project}/sessions", asked)
    path = f"{project}/sessions/{made['id']}"
    headers = {"Accept": "text/event-stream"}
    async with gateway.admin.stream("GET", f"{path}/log", headers=headers) as response:
        assert response.status_code == 200
        yield Follower(gateway, path, response)


async def nothing_left(gateway: Gateway, project: str) -> None:
    """Nothing of a session is left but its environment."""
    store = gateway.data / "snapshots" / f"{project.rpartition('/')[2]}.git"

    async def left() -> list[Any]:
        folders = [gateway.data / name for name in ("builds", "replicas")]
        return [
            *(path for folder in folders for path in folder.glob("*")),
            *(gateway.data / "spool").glob("session-*"),
            *snapshots_in(store),
        ]

    await until(left, lambda now: not now)
    assert (await gateway.get(f"{project}/models"))["models"] == []


async def test_function_is_tried_without_a_model(gateway: Gateway, tmp_path: Path) -> None:
    """A function answers in the environment of a build; its prints and tracebacks are shown, and
    no model, build or snapshot is left."""
    folder = copy_of("add", tmp_path)
    (folder / "add.py").write_text("def add(args):\n print('adds')\n return args['a'] + 1\n")
    project = await gateway.project(folder)
    async with session(gateway, project, **ADD) as tried:
        await tried.event("ready")
        assert await tried.call({"a": 3}) == {"success": True, "response": 4, "problem": ""}
        failed = await tried.call({})
        assert (failed["success"], failed["problem"]) == (False, "KeyError: 'a'")
        await gateway.delete(tried.path)
        assert (await tried.event("end"))["status"] == "ended"
    assert "adds" in tried.lines
    assert any("Traceback" in line for line in tried.lines)
    await nothing_left(gateway, project)


async def test_function_that_fails_the_check_is_told(gateway: Gateway, tmp_path: Path) -> None:
    """A session of a mistyped function fails with what was meant, before an environment is made."""
    project = await gateway.project(copy_of("add", tmp_path))
    async with session(gateway, project, **ADD | {"function_name": "ad"}) as tried:
        outcome = await tried.event("end")
    assert outcome["status"] == "failed"
    assert "Did you mean 'add'?" in outcome["failure"]["advice"]
    assert not list(gateway.data.glob("environments/*"))
    await nothing_left(gateway, project)


async def test_shell_runs_in_the_environment(gateway: Gateway, tmp_path: Path) -> None:
    """A shell has a terminal, the project's files and the build's Python; it ends with its exit
    status, and nothing that it has started is left."""
    project = await gateway.project(copy_of("add", tmp_path))
    async with (
        session(gateway, project, kind="shell", rows=30, columns=99) as shell,
        trio.open_nursery() as nursery,
    ):
        await shell.event("ready")
        printed = await nursery.start(_terminal, gateway, f"{shell.path}/terminal")
        await shell.type("stty size; ls; command -v python; sleep 1003 & exit 5\n")
        assert (await shell.event("end"))["exit_status"] == 5
        text = printed().decode()
        assert re.search(r"30 99\r\n", text), text
        assert "add.py" in text
        assert "environment/bin/python" in text
        nursery.cancel_scope.cancel()
    await nothing_left(gateway, project)


async def test_function_and_console_of_r(gateway: Gateway, tmp_path: Path) -> None:
    """A function of R is tried, and R opened in a terminal, in the library of the build."""
    r_prefix()
    project = await gateway.project(copy_of("add", tmp_path))
    asked = {**ADD, "file_path": "add.R"}
    async with session(gateway, project, **asked) as tried:
        await tried.event("ready")
        assert (await tried.call({"a": 3, "b": 4}))["response"] == 7
    console = session(gateway, project, kind="r", kernel="r")
    async with console as opened, trio.open_nursery() as nursery:
        await opened.event("ready")
        printed = await nursery.start(_terminal, gateway, f"{opened.path}/terminal")
        await opened.type("library(cml); cat(40 + 2, .libPaths()[1], '\\n'); quit(status = 3)\n")
        assert (await opened.event("end"))["exit_status"] == 3
        assert re.search(rb"42 /\S+/environment/library", printed()), printed()
        nursery.cancel_scope.cancel()
    await nothing_left(gateway, project)


async def _terminal(
    gateway: Gateway,
    path: str,
    *,
    task_status: trio.TaskStatus[Callable[[], bytes]] = trio.TASK_STATUS_IGNORED,
) -> None:
    received = bytearray()
    async with gateway.admin.stream("GET", path) as response:
        task_status.started(lambda: bytes(received))
        async for data in response.aiter_bytes():
            received += data


async def test_session_ends_with_its_client(gateway: Gateway, tmp_path: Path) -> None:
    """A client that disconnects, as a killed one does, ends its session and its daemons."""
    project = await gateway.project(copy_of("add", tmp_path))
    async with session(gateway, project, kind="shell") as shell:
        await shell.event("ready")
        await shell.type("setsid -f sleep 1004; yes\n")
    await nothing_left(gateway, project)
    assert refusal(await gateway.admin.post(f"{shell.path}:type", json={})) == (
        404,
        "session.notfound",
    )


@asynccontextmanager
async def contributor(gateway: Gateway, project: str) -> AsyncIterator[tuple[Gateway, str]]:
    """The gateway as a contributor of the project uses it, and the id of their key."""
    await gateway.post("/users", {"username": "ada"})
    role = {"permission": "contributor"}
    assert (await gateway.admin.put(f"{project}/collaborators/ada", json=role)).is_success
    key = await gateway.post("/users/ada/v2_keys")
    headers = {"Authorization": f"Bearer {key['api_key']}"}
    async with httpx.AsyncClient(
        base_url=gateway.admin.base_url, headers=headers, timeout=PATIENCE
    ) as client:
        yield Gateway(gateway.url, gateway.data, client, gateway.models), str(key["key_id"])


@pytest.mark.parametrize("right", ["key", "membership", "role", "user"])
async def test_session_ends_with_the_right_to_it(
    gateway: Gateway, tmp_path: Path, right: str
) -> None:
    """Once the key is revoked, the user has no right to edit any more or is disabled, nothing that
    the session has started runs, and its client is cut off."""
    project, pids = await gateway.project(copy_of("add", tmp_path)), tmp_path / "pids"

    async def begun() -> list[int]:
        return [int(pid) for pid in pids.read_text().split()] if pids.exists() else []

    member = f"{project}/collaborators/ada"
    async with contributor(gateway, project) as (theirs, key):
        ends = {
            "key": lambda: gateway.admin.delete(f"/users/ada/v2_keys/{key}"),
            "membership": lambda: gateway.admin.delete(member),
            "role": lambda: gateway.admin.put(member, json={"permission": "operator"}),
            "user": lambda: gateway.admin.patch("/users/ada", json={"disabled": True}),
        }
        with suppress(httpx.TransportError):  # its client is cut off
            async with session(theirs, project, kind="shell") as shell:
                await shell.event("ready")
                await shell.type(f"setsid sleep 1005 & echo $! $$ > {pids}\n")
                processes = await until(begun, lambda found: len(found) == 2)
                assert (await ends[right]()).is_success
                await nothing_left(gateway, project)
        refused = await theirs.admin.post(f"{shell.path}:type", json={})
        assert refused.status_code in (401, 403, 404)
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)


async def test_session_of_another_user_is_not_found(gateway: Gateway, tmp_path: Path) -> None:
    """Also a site administrator uses only the sessions of their own."""
    project = await gateway.project(copy_of("add", tmp_path))
    async with (
        contributor(gateway, project) as (theirs, _),
        session(theirs, project, kind="shell") as shell,
    ):
        await shell.event("ready")
        for method, path in (
            ("GET", f"{shell.path}/log"),
            ("GET", f"{shell.path}/terminal"),
            ("POST", f"{shell.path}:type"),
            ("POST", f"{shell.path}:call"),
            ("DELETE", shell.path),
        ):
            body: dict[str, str] | None = {} if method == "POST" else None
            answer = await gateway.admin.request(method, path, json=body)
            assert refusal(answer) == (404, "session.notfound")
    await nothing_left(gateway, project)


async def test_shell_of_a_model_has_its_build_and_variables(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A shell of a model is in a copy of the build that it serves, with its variables."""
    folder = copy_of("add", tmp_path)
    project = await gateway.project(folder)
    model = await gateway.model(project)
    build = await gateway.built(model, "add.py:add")
    asked = {"kind": "python", "model_id": model.rpartition("/")[2]}
    refused = await gateway.admin.post(f"{project}/sessions", json=asked)
    assert refusal(refused) == (409, "state.conflict")
    await gateway.deployed(build, environment={"COLOUR": "blue"})
    (folder / "later.py").write_text("")
    async with session(gateway, project, **asked) as shell, trio.open_nursery() as nursery:
        await shell.event("ready")
        printed = await nursery.start(_terminal, gateway, f"{shell.path}/terminal")
        await shell.type("import os, add; print(os.environ['COLOUR'], sorted(os.listdir()))\n")
        await shell.type("exit()\n")
        assert (await shell.event("end"))["exit_status"] == 0
        assert b"blue [" in printed()
        assert b"later.py" not in printed()
        nursery.cancel_scope.cancel()
    assert (await gateway.get(model))["status"] == "deployed"


async def test_build_with_an_open_shell_is_not_deleted(gateway: Gateway, tmp_path: Path) -> None:
    """A build in which a session runs is refused to be deleted, by hand and by a collection, until
    the session has ended. The package cache of its project stays, too."""
    project = await gateway.project(copy_of("add", tmp_path))
    model = await gateway.model(project)
    build = await gateway.built(model, "add.py:add")
    await gateway.built(model, "add.py:add")
    cache = gateway.data / "cache" / "pip" / project.rpartition("/")[2]
    asked = {"kind": "shell", "model_id": model.rpartition("/")[2]}
    asked["build_id"] = build.rpartition("/")[2]
    async with session(gateway, project, **asked) as shell:
        await shell.event("ready")
        assert refusal(await gateway.admin.delete(build)) == (409, "state.conflict")
        gone = await gateway.admin.delete("/garbage", params={"keep": "1"})
        assert gone.status_code == 200, gone.text
        assert (await gateway.admin.get(build)).status_code == 200
        assert cache.exists()

    async def delete() -> int:
        return (await gateway.admin.delete(build)).status_code

    assert await until(delete, lambda status: status != 409) == 200


async def test_sessions_of_one_user_are_bounded(gateway: Gateway, tmp_path: Path) -> None:
    """One user has so many sessions and no more; those that no client follows end by themselves."""
    project = await gateway.project(copy_of("add", tmp_path))
    for _ in range(MOST_OF_ONE_USER):
        await gateway.post(f"{project}/sessions", {"kind": "shell"})
    refused = await gateway.admin.post(f"{project}/sessions", json={"kind": "shell"})
    assert refusal(refused) == (429, "project.busy")
    await gateway.delete(project)
    assert not list(gateway.data.glob("builds/*"))


async def test_shell_of_an_earlier_build(gateway: Gateway, tmp_path: Path) -> None:
    """A shell can be in a build that is not served; it has no variables of a deployment then."""
    folder = copy_of("add", tmp_path)
    project = await gateway.project(folder)
    model = await gateway.model(project)
    first = await gateway.built(model, "add.py:add")
    (folder / "later.py").write_text("")
    await gateway.deployed(await gateway.built(model, "add.py:add"), environment={"COLOUR": "blue"})
    build = first.rpartition("/")[2]
    refused = await gateway.admin.post(
        f"{project}/sessions", json={"kind": "shell", "build_id": build}
    )
    assert refusal(refused) == (400, "argument.invalid")
    asked = {"kind": "shell", "model_id": model.rpartition("/")[2], "build_id": build}
    async with session(gateway, project, **asked) as shell, trio.open_nursery() as nursery:
        await shell.event("ready")
        printed = await nursery.start(_terminal, gateway, f"{shell.path}/terminal")
        await shell.type("ls; echo colour=$COLOUR.; exit\n")
        assert (await shell.event("end"))["exit_status"] == 0
        assert b"colour=." in printed()
        assert b"later.py" not in printed()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("memory", "code"), [(0, "argument.invalid"), (50_000, "resources.exceeded")]
)
async def test_session_that_can_never_run_is_refused(
    gateway: Gateway, tmp_path: Path, memory: int, code: str
) -> None:
    """A session with no memory, or more than the machine has, is refused when it is asked for."""
    project = await gateway.project(copy_of("add", tmp_path))
    asked = {"kind": "shell", "memory": memory}
    assert refusal(await gateway.admin.post(f"{project}/sessions", json=asked))[1] == code


@pytest.mark.parametrize("what", [ADD, {"kind": "shell"}])
async def test_session_reserves_its_memory(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: dict[str, object]
) -> None:
    """The memory of a session counts as that of a script does: a second session that does not fit
    beside it fails and says so, and fits once the first has ended."""
    project = await gateway.project(copy_of("add", tmp_path))
    monkeypatch.setattr("gateway.control.resources.HostResources.free", lambda _: 1024**3)
    large = {**what, "memory": 0.75}
    async with session(gateway, project, **large) as first:
        await first.event("ready")
        async with session(gateway, project, **large) as second:
            failed = await second.event("end")
        assert failed["failure"]["summary"] == (
            "The machine has too little free memory for the session"
        )
        assert "of which experiments and sessions may take" in failed["failure"]["problem"]
    await nothing_left(gateway, project)
    async with session(gateway, project, **large) as third:
        await third.event("ready")
