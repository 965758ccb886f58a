""".../monitoring: the replicas of a model, its charts, its latest requests, its logs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import trio
from quart import Response, request

from gateway.control import Control
from gateway.errors import API_PREFIX, Refusal
from gateway.web import routing
from gateway.web.api import url
from gateway.web.frames import Values, model_frame
from gateway.web.models import ONE
from gateway.web.routing import PageRequest, PageRouter
from gateway.web.traffic_charts import traffic_charts

PATH = f"{ONE}/monitoring"
_WINDOWS = {"15m": "15 min", "1h": "1 hour", "1d": "1 day", "14d": "2 weeks"}
_LENGTHS = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
    "14d": timedelta(days=14),
}
_REFRESH = 2.0  # seconds; replicas change without the database
_FILTERS = ("status", "code", "replica", "request", "user", "test")
_ROWS = 100
_LINES = 1000


class MonitoringPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(PATH, "show the replicas and the charts of a model")
    async def show(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        frame = await _frame(page, project_id, model_id)
        window = page.query.get("window", "15m")
        window = window if window in _WINDOWS else "15m"
        model = url("projects", project_id, "models", model_id)
        history = await page.api.get(f"{model}/history", window=window)
        pool = await page.api.get(f"{model}/replicas")
        return await self._router.reply(
            "monitoring/show.html",
            page.viewer,
            **frame,
            here_tab=frame["sub_tabs"][0][0],
            window_links=[(f"?window={name}", text) for name, text in _WINDOWS.items()],
            here_window=f"?window={window}",
            total=history["total"],
            charts=await trio.to_thread.run_sync(traffic_charts, history),
            pool=pool,
            sum=_sum(pool),
            refresh=_REFRESH,
        )

    @routing.get(f"{PATH}/requests", "list the latest requests of a model")
    async def requests(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        frame = await _frame(page, project_id, model_id)
        wanted = {name: page.query.get(name, "").strip() for name in _FILTERS}
        model = url("projects", project_id, "models", model_id)
        found: dict[str, Any] = {"requests": [], "next_before": None, "not_listed": 0}
        refused = None
        try:
            query = {**wanted, "before": page.query.get("before", ""), "page_size": _ROWS}
            found = await page.api.get(f"{model}/requests", **query)
        except Refusal as error:  # a filter that is not one
            refused = error
        return await self._router.reply(
            "monitoring/requests.html",
            page.viewer,
            **frame,
            here_tab=frame["sub_tabs"][1][0],
            wanted=wanted,
            found=found,
            refused=refused,
        )

    @routing.get(f"{PATH}/logs", "show the logs of a model's replicas")
    async def logs(self, page: PageRequest, project_id: str, model_id: str) -> Response:
        """The latest lines at the top, or at the end."""
        frame = await _frame(page, project_id, model_id)
        wanted = {name: page.query.get(name, "").strip() for name in ("replica", "request", "text")}
        streams = request.args.getlist("stream")
        wanted["stream"] = streams[0] if len(streams) == 1 else ""
        window, oldest_first = page.query.get("window", ""), page.query.get("order") == "oldest"
        wanted["since"] = _since(window)
        model = url("projects", project_id, "models", model_id)
        refused, lines = None, list[str]()
        try:
            found = await page.api.text(f"{model}/logs", tail=_LINES, **wanted)
            lines = found.splitlines(keepends=True)[:: 1 if oldest_first else -1]
        except Refusal as error:
            refused = error
        pool = await page.api.get(f"{model}/replicas")
        names = [each["name"] for each in pool["replicas"]]
        if wanted["replica"] and wanted["replica"] not in names:
            names.append(wanted["replica"])
        # The stream has no filter for a request, whose lines are all there already.
        follows = not wanted["request"] and refused is None
        return await self._router.reply(
            "monitoring/logs.html",
            page.viewer,
            **frame,
            here_tab=frame["sub_tabs"][2][0],
            wanted=wanted,
            replica_options=[("", "all"), *((name, name) for name in names)],
            window=window if window in _WINDOWS else "",
            window_options=[
                ("", "all"),
                *((name, f"last {text}") for name, text in _WINDOWS.items()),
            ],
            order="oldest" if oldest_first else "newest",
            order_options=[("newest", "newest first"), ("oldest", "oldest first")],
            source=f"{API_PREFIX}{model}/logs" if follows else "",
            query={name: each for name, each in wanted.items() if each and name != "request"},
            tail=_LINES,
            text="".join(lines),
            refused=refused,
        )


async def _frame(page: PageRequest, project_id: str, model_id: str) -> Values:
    frame = await model_frame(page, project_id, model_id)
    base = f"{frame['model_base']}/monitoring"
    links = [(base, "Overview"), (f"{base}/requests", "Requests"), (f"{base}/logs", "Logs")]
    return {**frame, "tab": base, "sub_tabs": links}


def _since(window: str) -> str:
    """When the lines of a window begin; "" for all."""
    if window not in _WINDOWS:
        return ""
    return (datetime.now(UTC) - _LENGTHS[window]).isoformat()


def _sum(pool: dict[str, Any]) -> list[tuple[str, int]]:
    """The last row of the table. No replica has seen a request that found all of them busy or not
    ready, so these are counts of the model."""
    replicas = pool["replicas"]

    def of(name: str) -> tuple[str, int]:
        return name.capitalize(), sum(each[name] for each in replicas)

    return [
        *map(of, ("received", "processed", "success", "failure", "error")),
        ("Busy", pool["busy"]),
        ("Not Ready", pool["not_ready"]),
        of("restart"),
    ]
