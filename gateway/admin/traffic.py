"""/models/.../history and /models/.../requests: what happened to the requests of a model."""

from collections.abc import Callable
from datetime import UTC, datetime

import trio

from gateway.admin.lookup import Lookup
from gateway.admin.models import ONE
from gateway.admin.routing import route
from gateway.admin.routing.parameters import choice, limit, moment, text, whole_number
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.control.history.history import WINDOWS, HistoryWindow
from gateway.control.history.points import Point, percentiles
from gateway.control.records import RequestQuery, StoredRequest, as_text

_DEFAULT_SIZE, _MAX_SIZE = 100, 1000
# Points whose percentiles are computed in one turn of the loop: less than a millisecond.
_TURN = 25
_SHARES, _NAMES = (0.5, 0.95, 0.99), ("p50", "p95", "p99")
# Series of counts are 0 where nothing was recorded, others null.
_COUNTS: dict[str, Callable[[Point], int]] = {
    "requests": lambda point: point.requests,
    "success": lambda point: point.success,
    "waiting": lambda point: point.waiting,
}
# Of the replicas: null where no pool was measured.
_GAUGES: dict[str, Callable[[Point], float]] = {
    "replicas": lambda point: point.replicas,
    "replicas_ready": lambda point: point.ready,
    "cpu_cores": lambda point: point.cores,
    "cpu_limit": lambda point: point.cores_limit,
    "memory_bytes": lambda point: point.memory,
    "memory_limit": lambda point: point.memory_limit,
}
# Only of a model with GPUs.
_GPU_GAUGES: dict[str, Callable[[Point], float]] = {
    "gpus": lambda point: point.gpus,
    "gpus_busy": lambda point: point.gpus_busy,
    "gpu_memory_bytes": lambda point: point.gpu_memory,
    "gpu_memory_limit": lambda point: point.gpu_memory_limit,
}


class TrafficRoutes:
    def __init__(self, control: Control) -> None:
        self._history = control.history
        self._lookup = Lookup(control)

    @route.get(
        f"{ONE}/history",
        "project.view",
        "show requests, latency and use of a model over a window (15m, 1h, 1d, 14d)",
        query=("window", "only"),
    )
    async def history(self, project_id: str, model_id: str) -> Json:
        model = await self._lookup.model(project_id, model_id)
        name = choice("window", tuple(WINDOWS), "1h")
        only_total = choice("only", ("total",)) == "total"
        found = await self._history.window(model, name)
        if only_total:
            return {"window": name, "total": _total_json(found.total)}
        return {"window": name, **await _window_json(found)}

    @route.get(
        f"{ONE}/requests",
        "project.view",
        "list the latest requests of a model, the newest first",
        query=(
            *("status", "code", "replica", "request", "user", "test", "since"),
            *("before", "page_size"),
        ),
    )
    async def requests(self, project_id: str, model_id: str) -> Json:
        model = await self._lookup.model(project_id, model_id)
        names = await self._history.user_names()
        size = limit("page_size", _DEFAULT_SIZE, least=1, most=_MAX_SIZE)
        user, test, since = text("user"), choice("test", ("true", "false")), moment("since")
        ids = {each: user_id for user_id, each in names.items()}
        wanted = RequestQuery(
            before=whole_number("before", 0) or None,
            status=whole_number("status", 0, most=999) if text("status") else None,
            code=text("code"),
            replica=text("replica"),
            request_id=text("request"),
            user_id=ids.get(user, user),
            test=test == "true" if test else None,
            since_ms=int(since.timestamp() * 1000) if since else 0,
        )
        found = await self._history.requests(model, wanted, size + 1)
        shown = found[:size]
        return {
            "requests": [_request_json(each, names) for each in shown],
            "next_before": shown[-1].number if len(found) > size else None,
            "not_listed": self._history.not_listed(model),
        }


async def _window_json(found: HistoryWindow) -> Json:
    points = found.points
    series: Json = {
        name: [get(each) if each else 0 for each in points] for name, get in _COUNTS.items()
    }
    series["failures"] = {
        code: [each.failures.get(code, 0) if each else 0 for each in points]
        for code in sorted(found.total.failures)
    }
    for name in ("latency", "wait"):
        columns: list[list[float | None]] = [[], [], []]
        for number, each in enumerate(points):
            if number % _TURN == _TURN - 1:
                await trio.lowlevel.checkpoint()
            values = percentiles(getattr(each, name), _SHARES) if each else [None] * 3
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        series |= {f"{name}_{p}": column for p, column in zip(_NAMES, columns, strict=True)}
    gauges = _GAUGES | (_GPU_GAUGES if found.total.gpus else {})
    for name, gauge in gauges.items():
        await trio.lowlevel.checkpoint()
        series[name] = [gauge(each) if each and each.samples else None for each in points]
    return {
        "step": found.step,
        "times": found.times,
        "series": series,
        "total": _total_json(found.total),
        "marks": found.marks,
    }


def _total_json(total: Point) -> Json:
    result: Json = {
        "requests": total.requests,
        "success": total.success,
        "failures": dict(sorted(total.failures.items())),
        "waiting": total.waiting,
    }
    for name in ("latency", "wait"):
        values = percentiles(getattr(total, name), _SHARES)
        result |= {f"{name}_{p}": value for p, value in zip(_NAMES, values, strict=True)}
    return result


def _request_json(each: StoredRequest, names: dict[str, str]) -> Json:
    return {
        "number": each.number,
        "at": as_text(datetime.fromtimestamp(each.at_ms / 1000, UTC)),
        "request_id": each.request_id,
        "status": each.status,
        "code": each.code,
        "wait_ms": each.wait_us / 1000,
        "service_ms": None if each.service_us is None else each.service_us / 1000,
        "replica": each.replica,
        "deployment_number": each.deployment_number,
        "build_number": each.build_number,
        "key": each.key_id,
        "user": names.get(each.user_id, each.user_id),
        "test": each.test,
    }
