"""Server-sent events: a log as it grows, for whoever follows a build or a model.

Each event's data is one JSON value. A follower that hangs up costs nothing further.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import trio
from quart import Response

import store
from gateway.control import Control
from gateway.control.making import JOURNEY
from store import Build
from workers import Log


def follow_build(control: Control, build: Build) -> Response:
    """`line` for each line from the first one on, `journey` when a step changed, last `end`."""

    async def stream() -> AsyncIterator[bytes]:
        with control.builds.log(build.id).follower() as follower:
            while lines := await follower.lines():
                for line in lines:
                    if line.stream == JOURNEY:
                        yield event("journey", msgspec.Raw(line.text.encode()))
                    else:
                        yield event("line", line.text)
        status: str
        try:
            status = (await control.builds.wait(build.id)).status
        except store.NotFound:
            status = "deleted"
        yield event("end", {"status": status})

    return _response(stream())


def follow_logs(control: Control, logs: Mapping[str, Log], wanted: str) -> Response:
    """`line` for each line of each log, `wanted` being a stream or "" for both, until all end."""

    async def stream() -> AsyncIterator[bytes]:
        # The forwarders do not live in here: a generator must not hold a nursery over a yield.
        send, receive = trio.open_memory_channel[bytes](100)
        scope = trio.CancelScope()
        control.house.tasks.start(_forward_all, logs, wanted, send, scope)
        try:
            async for data in receive:
                yield data
            yield event("end", {})
        finally:
            scope.cancel()

    return _response(stream())


async def _forward_all(
    logs: Mapping[str, Log],
    wanted: str,
    send: trio.MemorySendChannel[bytes],
    scope: trio.CancelScope,
) -> None:
    with scope, send:
        async with trio.open_nursery() as nursery:
            for name, log in logs.items():
                nursery.start_soon(_forward, name, log, wanted, send)


async def _forward(name: str, log: Log, wanted: str, send: trio.MemorySendChannel[bytes]) -> None:
    with log.follower() as follower:
        while lines := await follower.lines():
            for line in lines:
                if wanted in ("", line.stream):
                    told = {"replica": name, **msgspec.structs.asdict(line)}
                    await send.send(event("line", told))


def event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))


def _response(stream: AsyncIterator[bytes]) -> Response:
    response = Response(stream, content_type="text/event-stream")
    response.timeout = None
    response.headers["Cache-Control"] = "no-store"
    return response
