"""Server-sent events: a log as it grows, for clients that follow a build, a model or an experiment.

The data of each event is one JSON value. `control/logs/following.py` has what followers share.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import msgspec
from quart import Response

from gateway.admin.model_logs import LogFilter
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.control.builds.build_task import STEPS_STREAM
from gateway.control.experiments.run_builds import PREPARING
from gateway.control.logs.following import Follower
from gateway.control.records import Build, Experiment, Model, NotFound, Runtime
from gateway.control.sessions.place import READY
from gateway.control.sessions.session import WorkSession
from gateway.identity.principal import principal
from workers import Line, Log, Pool

# A log as it is now, or as it grows.
MEDIA_TYPES = ("text/plain", "text/event-stream")
# A comment. The head of a response is sent with the first bytes of its body, and a log may be
# silent for days.
_BEGIN = b": follows\n\n"


def follow_build(control: Control, build: Build) -> Response:
    """Sends `line` for each line from the first one, `steps` when a step changed, last `end`.
    Raises Refusal if too many clients follow the log."""

    async def end() -> Json:
        return {"status": (await control.builds.wait(build.id)).status}

    return _to_its_end(control, build.id, control.builds.log(build.id), end)


def follow_experiment(control: Control, experiment: Experiment) -> Response:
    """Sends `preparing` for each line before the script starts, then `line` for each, last `end`.
    Raises Refusal if too many clients follow the log."""

    async def end() -> Json:
        return {"status": (await control.experiments.wait(experiment.id)).status}

    return _to_its_end(control, experiment.id, control.experiments.log(experiment.id), end)


def follow_runtime(control: Control, runtime: Runtime) -> Response:
    """Sends `line` for each line from the first one, last `end`. Raises Refusal if too many clients
    follow the log."""

    async def end() -> Json:
        return {"status": (await control.runtimes.wait(runtime.id)).status}

    return _to_its_end(control, runtime.id, control.runtimes.log(runtime.id), end)


def follow_session(control: Control, session: WorkSession) -> Response:
    """Sends `steps` and `line` while its environment is made, `ready`, `line` for what its function
    prints, last `end` with its outcome. The session ends with the response. Raises Refusal if too
    many clients follow the log."""

    async def end() -> Json:
        await session.ended.wait()
        return session.outcome

    return _to_its_end(control, session.id, session.log, end, session.attached)


def _to_its_end(
    control: Control,
    what: str,
    log: Log,
    end: Callable[[], Awaitable[Json]],
    sending: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Response:
    """Sends all lines of a log, then an event with the final status of its build or experiment.
    `sending` is entered while the response is sent."""
    following, flow = control.following, principal().flow
    following.admit(what, flow)

    async def stream() -> AsyncIterator[bytes]:
        with sending():
            async for data in pieces():
                yield data

    async def pieces() -> AsyncIterator[bytes]:
        yield _BEGIN
        with following.follower(what, flow) as follower:
            follower.add(following.feed(log, "to its end", _encoded), 0)
            while not follower.ended:
                if data := await follower.next():
                    yield data
        try:
            outcome = await end()
        except NotFound:
            outcome = {"status": "deleted"}
        yield event("end", outcome)

    return _response(stream())


def _encoded(lines: Sequence[Line]) -> bytes:
    return b"".join([_event_of(line) for line in lines])


def _event_of(line: Line) -> bytes:
    if line.stream == STEPS_STREAM:
        return event("steps", msgspec.Raw(line.text.encode()))
    return event(line.stream if line.stream in (PREPARING, READY) else "line", line.text)


def follow_logs(control: Control, model: Model, replica: str, wanted: LogFilter) -> Response:
    """Sends `line` for each line that the model's replicas print and that fits, of any request: of
    the last `tail` ones of each replica, then all new ones.

    The stream includes new deployments, and ends when the model is deleted. `replica` "" means all.
    Raises Refusal if too many clients follow the log.
    """
    flow = principal().flow
    control.following.admit(model.id, flow)

    async def lines() -> AsyncIterator[bytes]:
        yield _BEGIN
        with control.following.follower(model.id, flow) as follower:
            followed = _LogForwarder(control, model, replica, wanted, follower)
            with control.changes.listening(model.id, followed.changed):
                async for data in followed.pieces():
                    yield data
        yield event("end", {})

    return _response(lines())


class _LogForwarder:
    """Forwards the logs of all pools of a model to one follower."""

    def __init__(
        self,
        control: Control,
        model: Model,
        replica: str,
        wanted: LogFilter,
        follower: Follower,
    ) -> None:
        self._control = control
        self._model = model
        self._replica = replica
        self._wanted = wanted
        self._follower = follower
        self._pools: list[Pool] = []
        self._has_changed = True

    def changed(self) -> None:
        """Is called when the model has other pools, or was deleted."""
        self._has_changed = True
        self._follower.wake()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Ends when the model is deleted."""
        begin: int | None = self._wanted.tail
        while True:
            if self._has_changed:
                self._has_changed = False
                if not await self._control.records.exists(self._model):
                    return
                for name, log in self._new_logs():
                    if data := await self._begin(name, log, begin):
                        yield data
                # A replica that starts later is followed from its first line.
                begin = None
            if data := await self._follower.next():
                yield data

    def _new_logs(self) -> list[tuple[str, Log]]:
        """The logs, by replica, of the pools that are new."""
        before, self._pools = self._pools, self._control.deployments.pools_of(self._model.id)
        logs = [log for pool in self._pools if pool not in before for log in pool.logs.items()]
        return [(name, log) for name, log in logs if self._replica in ("", name)]

    async def _begin(self, name: str, log: Log, tail: int | None) -> bytes:
        """Follows a log from its last `tail` lines, which it returns, or from its first line."""

        def encoded(lines: Sequence[Line]) -> bytes:
            return b"".join(
                [
                    event("line", {"replica": name, **msgspec.structs.asdict(line)})
                    for line in lines
                    if self._wanted.fits(line)
                ]
            )

        _, stream, since, part, _ = self._wanted
        feed = self._control.following.feed(log, f"{name} {stream} {since} {part}", encoded)
        if tail is None:
            self._follower.add(feed, 0)
            return b""
        latest = await feed.latest(tail)
        self._follower.add(feed, latest.end)
        return latest.data


def event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))


def _response(stream: AsyncIterator[bytes]) -> Response:
    return Response(stream, content_type="text/event-stream")
