"""Server-sent events: a log as it grows, for whoever follows a build, a model or an
experiment.

Each event's data is one JSON value. A follower that hangs up costs nothing further.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import trio
from quart import Response

import store
from gateway.control import Control
from gateway.control.environments import PREPARING
from gateway.control.making import JOURNEY
from store import Build, Experiment, Model
from workers import Log, Pool

# What a log is given as: at once, or as it grows.
TEXT = ("text/plain", "text/event-stream")
# How soon a follower of a model finds the pool that took over.
_LOOK_AGAIN = 0.2


def follow_build(control: Control, build: Build) -> Response:
    """`line` for each line from the first one on, `journey` when a step changed, last `end`."""

    async def end() -> str:
        return (await control.builds.wait(build.id)).status

    return _response(_to_its_end(control.builds.log(build.id), end))


def follow_experiment(control: Control, experiment: Experiment) -> Response:
    """`preparing` for each line before its script begins, then `line` for each, last `end`."""

    async def end() -> str:
        return (await control.experiments.wait(experiment.id)).status

    return _response(_to_its_end(control.experiments.log(experiment.id), end))


async def _to_its_end(log: Log, end: Callable[[], Awaitable[str]]) -> AsyncIterator[bytes]:
    """All that a log tells, and with which status what it is of came to its `end`."""
    with log.follower() as follower:
        while lines := await follower.lines():
            for line in lines:
                if line.stream == JOURNEY:
                    yield event("journey", msgspec.Raw(line.text.encode()))
                else:
                    name = PREPARING if line.stream == PREPARING else "line"
                    yield event(name, line.text)
    try:
        status = await end()
    except store.NotFound:
        status = "deleted"
    yield event("end", {"status": status})


def follow_logs(control: Control, model: Model, replica: str, stream: str, tail: int) -> Response:
    """`line` for each line that the model's replicas print, from the last `tail` ones on.

    Goes on over re-deployments, until the model is deleted. `replica` and `stream` narrow it down;
    "" is all of them.
    """

    async def lines() -> AsyncIterator[bytes]:
        # The forwarding does not live in here: a generator must not hold a nursery over a yield.
        send, receive = trio.open_memory_channel[bytes](100)
        scope = trio.CancelScope()
        forwarding = _Forwarding(control, model, replica, stream, send)
        control.house.tasks.start(forwarding.run, tail, scope)
        try:
            async for data in receive:
                yield data
            yield event("end", {})
        finally:
            scope.cancel()

    return _response(lines())


class _Forwarding:
    """From the logs of whatever serves a model to one follower."""

    def __init__(
        self,
        control: Control,
        model: Model,
        replica: str,
        stream: str,
        send: trio.MemorySendChannel[bytes],
    ) -> None:
        self._control = control
        self._model = model
        self._replica = replica
        self._stream = stream
        self._send = send

    async def run(self, tail: int, scope: trio.CancelScope) -> None:
        followed: Pool | None = None
        begin: int | None = tail
        with scope, self._send, suppress(store.NotFound):
            while True:
                pool = await self._pool()
                if pool is None or pool is followed:
                    await trio.sleep(_LOOK_AGAIN)
                    continue
                async with trio.open_nursery() as nursery:
                    for name, log in pool.logs.items():
                        if self._replica in ("", name):
                            nursery.start_soon(self._forward, name, log, begin)
                # A pool that follows is new: all that it prints is news.
                followed, begin = pool, None

    async def _pool(self) -> Pool | None:
        """Raises NotFound when the model is gone."""
        database = self._control.house.database
        await database.read(store.models.get, self._model.id)
        current = await database.read(store.deployments.current, self._model.id)
        return self._control.deployments.pool(current.id) if current else None

    async def _forward(self, name: str, log: Log, begin: int | None) -> None:
        with log.follower(begin) as follower:
            while lines := await follower.lines():
                for line in lines:
                    if self._stream in ("", line.stream):
                        told = {"replica": name, **msgspec.structs.asdict(line)}
                        await self._send.send(event("line", told))


def event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))


def _response(stream: AsyncIterator[bytes]) -> Response:
    return Response(stream, content_type="text/event-stream")
