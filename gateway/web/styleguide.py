"""/styleguide: every component of the pages, with samples, for developers of pages."""

import math

import trio
from markupsafe import Markup
from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import charts, routing
from gateway.web.chart_figure import AxisMark, Series
from gateway.web.listing import Column, Listing
from gateway.web.routing import PageRequest, PageRouter

_COLUMNS = (Column("Name", "name"), Column("Status"), Column("Requests", "requests", number=True))


class StyleguidePages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get("/styleguide", "show the components of all pages")
    async def show(self, page: PageRequest) -> Response:
        sample = Refusal("argument.invalid", "name: it is empty", advice="type a name")
        return await self._router.reply(
            "styleguide.html",
            page.viewer,
            columns=_COLUMNS,
            listing=Listing(page.query, sort="name"),
            sample=sample,
            charts=await trio.to_thread.run_sync(_charts),
            sparkline=charts.sparkline(
                "Requests per second", [3, 5, 2, 8, None, 6, 9, 12.4], unit="/s"
            ),
            spark_bars=charts.spark_bars("Distribution", [1, 3, 7, 9, 6, 2, 0, 1]),
        )


def _charts() -> list[Markup]:
    """One chart of each kind."""
    x = [1_764_396_000_000.0 + 10_000 * n for n in range(90)]
    wave = [math.sin(n / 9) for n in range(90)]
    middle = [None if 40 < n < 46 else 3 + value for n, value in enumerate(wave)]
    high = [None if value is None else 9 * value + 12 for value in middle]
    highest = [None if value is None else 40 * value + 90 for value in middle]
    edges, counts = charts.binned([wave, [value + 0.4 for value in wave]], 12)
    return [
        charts.line_chart(
            "Latency",
            x,
            [Series("p50", middle), Series("p95", high), Series("p99", highest)],
            unit="ms",
            time=True,
            log=True,
            marks=[AxisMark(x[30], "build 7")],
            zoom=True,
        ),
        charts.line_chart(
            "Requests per second",
            x,
            [
                Series("success", [20 + 8 * value for value in wave], "good"),
                Series("busy", [2 + 2 * value for value in wave], "warn"),
                Series("error", [1.0 if 30 <= n < 36 else 0.0 for n in range(90)], "bad"),
            ],
            unit="/s",
            time=True,
            stacked=True,
            zoom=True,
        ),
        charts.histogram(
            "Distribution", edges, [Series("window", counts[0]), Series("reference", counts[1])]
        ),
        charts.scatter("One against another", list(enumerate(wave)), "number", "value"),
    ]
