"""Logs as server-sent events: from the first line on, to the end, and no burden to anybody."""

import json
from pathlib import Path
from typing import Any

import httpx
import trio

from tests.gateway.kit import Gateway, copy_of, ended_build, running, settings_for

EVENTS = {"Accept": "text/event-stream"}


def parsed(text: str) -> list[tuple[str, Any]]:
    events = []
    for block in text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


async def test_a_build_followed_while_and_after(gateway: Gateway, tmp_path: Path) -> None:
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
    journeys = [data for name, data in live if name == "journey"]
    assert {step["state"] for step in journeys[-1]} == {"done"}
    assert live[-1] == ("end", {"status": "built"})


async def test_a_follower_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """The gateway stops within its grace while somebody follows a model's log."""
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
