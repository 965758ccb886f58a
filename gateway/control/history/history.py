"""What the recorder has written, as clients read it: points over a window, lists of requests."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
import trio

import store
from gateway.control.history import points
from gateway.control.history.points import Point
from gateway.control.history.recorder import TrafficRecorder
from store import Database, Deployment, Model, RequestQuery, StoredRequest

# The length of each window and the step of its times, in seconds.
WINDOWS = {
    "15m": (900, store.history.FINEST),
    "1h": (3600, store.history.FINEST),
    "1d": (86_400, store.history.MINUTE),
    "14d": (14 * 86_400, store.history.QUARTER),
}
# Points that are read in one turn of the loop: less than a millisecond.
_TURN = 10
# The latest deployments of a window that are marked.
_MOST_MARKED = 100


class DeploymentMark(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment of the model was `deployed`, `stopped` or has `failed`."""

    at: str
    event: str
    deployment_id: str
    deployment_number: int
    build_number: int


class HistoryWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The points of a window: one for each of `times` (its start, in seconds of Unix time), None
    where nothing was recorded. `total` is that of all of them."""

    step: int
    times: list[int]
    points: list[Point | None]
    total: Point
    marks: list[DeploymentMark]


class History:
    """Reads the history and the requests of models."""

    def __init__(self, database: Database, recorder: TrafficRecorder) -> None:
        self._database = database
        self._recorder = recorder

    async def window(self, model: Model, name: str) -> HistoryWindow:
        """The window with this name, until now; also of what is not written yet."""
        length, step = WINDOWS[name]
        now = int(time.time())
        end = now - now % step + step
        start = end - length
        rows = await self._database.read(store.history.window, model.id, start, step)
        groups: dict[int, list[Point]] = {}
        for number, row in enumerate(rows):
            if number % _TURN == _TURN - 1:
                await trio.lowlevel.checkpoint()
            groups.setdefault(row.at - row.at % step, []).append(points.read(row.data))
        current = self._recorder.counted(model.id)
        if not current.is_empty:
            groups.setdefault(now - now % step, []).append(current)
        times = list(range(start, end, step))
        found: list[Point | None] = []
        for number, at in enumerate(times):
            if number % _TURN == _TURN - 1:
                await trio.lowlevel.checkpoint()
            found.append(points.merge(groups[at]) if at in groups else None)
        since = store.as_text(datetime.fromtimestamp(start, UTC))
        deployments = await self._database.read(
            store.deployments.lived_since, model.id, since, _MOST_MARKED
        )
        return HistoryWindow(
            step=step,
            times=times,
            points=found,
            total=await _total(found),
            marks=_marks(deployments, since),
        )

    async def requests(self, model: Model, wanted: RequestQuery, most: int) -> list[StoredRequest]:
        """The newest requests of a model that the filter takes, the newest first. Those that ended
        before are among them."""
        await self._recorder.flush()
        return await self._database.read(store.requests.list_newest, model.id, wanted, most)

    def not_listed(self, model: Model) -> int:
        """Requests that are in the counts, and not in the list, since the gateway started."""
        return self._recorder.not_listed(model.id)

    async def user_names(self) -> dict[str, str]:
        """The names of all users, by id."""
        return {user.id: user.name for user in await self._database.read(store.users.list_all)}


async def _total(found: Iterable[Point | None]) -> Point:
    total, part = Point(), list[Point]()
    for each in found:
        if each is not None:
            part.append(each)
        if len(part) == _TURN:
            total, part = points.merge([total, *part]), []
            await trio.lowlevel.checkpoint()
    return points.merge([total, *part])


def _marks(deployments: Iterable[Deployment], first: str) -> list[DeploymentMark]:
    """What happened to the deployments from `first` on, ascending."""
    marks = []
    for each in deployments:
        ended = "failed" if each.status == "failed" else "stopped"
        for at, event in ((each.deployed_at, "deployed"), (each.stopped_at, ended)):
            if at is not None and at >= first:
                marks.append(
                    DeploymentMark(
                        at=at,
                        event=event,
                        deployment_id=each.id,
                        deployment_number=each.number,
                        build_number=each.build_number,
                    )
                )
    return sorted(marks, key=lambda mark: mark.at)
