"""Logs as server-sent events: from the first line to the end, without slowing other users."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from gateway.admin import log_stream
from gateway.control.logs.following import Follower
from gateway.control.operation import Operation
from tests.support.gateway import (
    PATIENCE,
    Gateway,
    copy_of,
    ended_build,
    refusal,
    running,
    settings_for,
    until,
)
from workers import Log

EVENTS = {"Accept": "text/event-stream"}


def parsed(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_build_log_is_followed_while_and_after(gateway: Gateway, tmp_path: Path) -> None:
    """Who follows a build gets every line and step and the end, whether it is over or not."""
    project = copy_of("add", tmp_path)
    (project / "cdsw-build.sh").write_text("echo one\necho two\n")
    model = await gateway.model(await gateway.project(project))
    build = await gateway.build(model, "add.py:add")
    live = parsed((await gateway.admin.get(f"{build}/log", headers=EVENTS)).text)
    await gateway.until(build, ended_build)
    after = parsed((await gateway.admin.get(f"{build}/log", headers=EVENTS)).text)
    assert live == after
    lines = [data for name, data in live if name == "line"]
    assert lines.index("one") + 1 == lines.index("two")
    changes = [data for name, data in live if name == "steps"]
    assert {step["state"] for step in changes[-1]} == {"done"}
    assert live[-1] == ("end", {"status": "built"})


async def test_follower_does_not_delay_shutdown(tmp_path: Path) -> None:
    """The gateway stops within its grace while a client follows a model's log."""
    async with (
        trio.open_nursery() as nursery,
        running(settings_for(tmp_path / "data", shutdown_grace=0.3)) as gateway,
    ):
        model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
        await gateway.deployed(await gateway.built(model, "add.py:add"))
        followed = trio.Event()

        async def follow() -> None:
            key = gateway.admin.headers["Authorization"]
            headers = {**EVENTS, "Authorization": key}
            url = f"{gateway.url}/api/v2{model}/logs"
            async with httpx.AsyncClient() as client:
                try:
                    async with client.stream("GET", url, headers=headers) as response:
                        async for _ in response.aiter_raw():
                            followed.set()
                except httpx.TransportError:
                    pass  # cut off, which is what is wanted

        nursery.start_soon(follow)
        with trio.fail_after(20):
            await followed.wait()
        stopping = trio.current_time()
    assert trio.current_time() - stopping < 5


async def test_follower_of_deleted_build_gets_end(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that follows a build which is deleted meanwhile gets an end event, and never sees
    the build cancelled first."""
    cancel_and_wait = Operation.cancel_and_wait

    async def slowly(operation: Operation) -> None:
        await cancel_and_wait(operation)
        await trio.sleep(0.2)  # the follower looks before the deletion continues

    monkeypatch.setattr(Operation, "cancel_and_wait", slowly)
    project = copy_of("add", tmp_path)
    (project / "cdsw-build.sh").write_text("echo begun; sleep 1000\n")
    model = await gateway.model(await gateway.project(project))
    build = await gateway.build(model, "add.py:add")
    text = ""
    with trio.fail_after(20):
        async with gateway.admin.stream("GET", f"{build}/log", headers=EVENTS) as response:
            async for part in response.aiter_text():
                if "begun" in part and "begun" not in text:
                    await gateway.delete(build)
                text += part
    assert parsed(text)[-1] == ("end", {"status": "deleted"})


@pytest.mark.parametrize("printed", ["once", "for ever"])
async def test_follower_that_disconnects_leaves_nothing(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str
) -> None:
    """When a follower disconnects, nothing reads the log for it any more, neither a quiet log nor
    one that grows faster than the follower reads."""
    project = copy_of("add", tmp_path)
    code = (project / "add.py").read_text()
    flood = """
import threading, time
def flood():
    while True:
        print("x" * 10_000)
        time.sleep(0.001)
threading.Thread(target=flood, daemon=True).start()
"""
    (project / "add.py").write_text(code + (flood if printed == "for ever" else ""))
    close, ended = Follower.close, trio.Event()

    def close_and_tell(follower: Follower) -> None:
        close(follower)
        ended.set()

    monkeypatch.setattr(Follower, "close", close_and_tell)
    model = await gateway.model(await gateway.project(project))
    await gateway.deployed(await gateway.built(model, "add.py:add"))
    stream = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    key = gateway.admin.headers["Authorization"]
    async with stream:
        await stream.send_all(
            f"GET /api/v2{model}/logs HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key}\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
        )
        assert await stream.receive_some()
    with trio.fail_after(20):
        await ended.wait()


async def test_model_log_is_followed_over_deployments(gateway: Gateway, tmp_path: Path) -> None:
    """A follower of a model gets its last lines, then those of each new deployment, and an end
    event when the model is deleted."""
    model = await gateway.model(await gateway.project(copy_of("badly", tmp_path)))
    build = await gateway.built(model, "badly.py:behave")
    await gateway.deployed(build)
    key = await gateway.key(model)
    for word in ("first", "second"):
        await gateway.call(key, {"do": "stdout", "text": f"{word}\n"})
    text, said = "", 0
    path = f"{model}/logs?tail=1&stream=stdout"
    with trio.fail_after(20):
        async with gateway.admin.stream("GET", path, headers=EVENTS) as response:
            async for part in response.aiter_text():
                text += part
                if "second" in text and said == 0:
                    said = 1
                    await gateway.deployed(build)
                    await gateway.call(key, {"do": "stdout", "text": "third\n"})
                elif "third" in text and said == 1:
                    said = 2
                    await gateway.delete(model)
    assert text.endswith("event: end\ndata: {}\n\n")
    assert "first" not in text


async def test_model_log_is_selected_by_text(gateway: Gateway, tmp_path: Path) -> None:
    """Lines with a text, in either case, from a time on: those there are and those that follow."""
    model = await gateway.model(await gateway.project(copy_of("badly", tmp_path)))
    await gateway.deployed(await gateway.built(model, "badly.py:behave"))
    key = await gateway.key(model)
    for word in ("Alpha", "beta", "alphabet"):
        await gateway.call(key, {"do": "stdout", "text": f"{word}\n"})
    path = f"{model}/logs?text=ALPHA"

    async def there() -> list[str]:
        return [line.split()[-1] for line in (await gateway.admin.get(path)).text.splitlines()]

    await until(there, lambda words: words == ["Alpha", "alphabet"])
    assert (await gateway.admin.get(f"{path}&since=2999-01-01T00:00:00Z")).text == ""
    text, said = "", 0
    with trio.fail_after(20):
        async with gateway.admin.stream("GET", path, headers=EVENTS) as response:
            async for part in response.aiter_text():
                text += part
                if text.count("event: line") == 2 and said == 0:
                    said = 1
                    for word in ("gamma", "ALPHAS"):
                        await gateway.call(key, {"do": "stdout", "text": f"{word}\n"})
                elif "ALPHAS" in text and said == 1:
                    said = 2
                    await gateway.delete(model)
    assert "beta" not in text
    assert "gamma" not in text


async def test_stopped_model_is_followed(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer begins at once though nothing is printed. The follower looks for the model's pools
    only when they have changed, and gets the lines of a later deployment."""
    model = await gateway.model(await gateway.project(copy_of("badly", tmp_path)))
    build = await gateway.built(model, "badly.py:behave")
    key = await gateway.key(model)
    changed, looked = log_stream._LogForwarder.changed, log_stream._LogForwarder._new_logs
    changes, looks = list[object](), list[object]()

    def changed_and_tell(logs: log_stream._LogForwarder) -> None:
        changes.append(logs)
        changed(logs)

    def look_and_tell(logs: log_stream._LogForwarder) -> list[tuple[str, Log]]:
        looks.append(logs)
        return looked(logs)

    monkeypatch.setattr(log_stream._LogForwarder, "changed", changed_and_tell)
    monkeypatch.setattr(log_stream._LogForwarder, "_new_logs", look_and_tell)
    text = ""
    with trio.fail_after(PATIENCE):
        async with gateway.admin.stream("GET", f"{model}/logs", headers=EVENTS) as response:
            async for part in response.aiter_text():
                if not text:
                    assert part.startswith(":")
                    await gateway.deployed(build)
                    await gateway.call(key, {"do": "stdout", "text": "printed\n"})
                elif "printed" in part:
                    await gateway.delete(model)
                text += part
    assert "printed" in text
    assert 1 <= len(looks) <= 1 + len(changes)


@pytest.mark.parametrize("query", [{"replica": "unknown"}, {"stream": "stdin"}, {"tail": "x"}])
async def test_log_query_invalid_is_refused(
    gateway: Gateway, tmp_path: Path, query: dict[str, str]
) -> None:
    """A replica, stream or number that cannot be is refused by name, live or not."""
    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    for headers in ({}, EVENTS):
        answer = await gateway.admin.get(f"{model}/logs", params=query, headers=headers)
        assert refusal(answer) == (400, "argument.invalid")
        assert next(iter(query)) in answer.json()["message"]
