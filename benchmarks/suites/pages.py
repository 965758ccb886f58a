"""`pages`: each page of a site with 200 models and 10,000 builds.

One browser asks for one page after the other, on one connection. The first request of each page is
not counted: it compiles the template, and parses files that are new.
"""

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

import trio

import store
from benchmarks import gateway_process
from benchmarks.gateway_process import Gateway, SetupFailed
from benchmarks.large_site import LargeSite, Size, fill
from benchmarks.plan import Plan
from benchmarks.report.record import Bars, Goal, Row, Section, Table

# The table of pages, which is tested against the routes.
_TABLE = gateway_process.ROOT / "gateway" / "web" / "README.md"
_PAGES = re.compile(r"^\| GET \| `(/[^`]*)` \|", re.MULTILINE)
_GOAL_MS = 100.0
_SHOWN = 15
# A stream of events, and a file of all entries of the audit log.
_NO_PAGES = ("/events", "/admin/activity/export")


def run(plan: Plan) -> Section:
    size = Size(models=20, builds=200, experiments=50) if plan.quick else Size()
    with tempfile.TemporaryDirectory(prefix="predictd-benchmark-") as folder:
        data = Path(folder) / "data"
        with gateway_process.started_on(data):
            pass  # makes the data folder
        plan.say(f"writing {size.models} models and {size.builds:,} builds")
        site = trio.run(_filled, data, Path(folder) / "projects", size)
        with gateway_process.started_on(data, gc_hours=0) as gateway:
            rows = _measured(gateway, site, plan)
    medians = {str(row["page"]): float(row["p50_ms"] or 0) for row in rows}
    return Section(
        verb="pages",
        title=f"pages of a site with {size.models} models and {size.builds:,} builds",
        says="One browser, one page after the other. Nothing is deployed.",
        tables=[Table("Pages, the slowest first", rows)],
        pictures=[
            Bars(
                title=f"The {_SHOWN} slowest pages, p50",
                unit="ms",
                values=dict(list(medians.items())[:_SHOWN]),
            )
        ],
        goals=[Goal(what="slowest page", found=max(medians.values()), bound=_GOAL_MS, unit="ms")],
    )


async def _filled(data: Path, projects: Path, size: Size) -> LargeSite:
    async with store.open_database(data / "predictd.db") as database:
        return await fill(database, projects, size)


def _measured(gateway: Gateway, site: LargeSite, plan: Plan) -> list[Row]:
    runtime = gateway.client.listing("/runtimes")[0]["runtime_identifier"]
    site = site._replace(runtime_identifier=runtime)
    with _signed_in(gateway) as (connection, cookie):
        pages = [page for page in _PAGES.findall(_TABLE.read_text()) if page not in _NO_PAGES]
        paths = [(page, site.path_of(page)) for page in pages]
        times: dict[str, list[float]] = {page: [] for page, _ in paths}
        sizes = {page: _get(connection, path, cookie) for page, path in paths}
        for number in range(plan.rounds * 4):
            plan.say(f"round {number + 1}")
            for page, path in paths:
                began = time.perf_counter()
                _get(connection, path, cookie)
                times[page].append(1000 * (time.perf_counter() - began))
    rows: list[Row] = [
        {"page": page, "p50_ms": median(each), "max_ms": max(each), "size_kb": sizes[page] / 1000}
        for page, each in times.items()
    ]
    return sorted(rows, key=lambda row: -float(row["p50_ms"] or 0))


@contextmanager
def _signed_in(gateway: Gateway) -> Iterator[tuple[HTTPConnection, str]]:
    """A connection, and the cookie of a session of an administrator."""
    token = gateway.client.post("/site/links")["token"]
    connection = HTTPConnection(gateway.host, gateway.port, timeout=60)
    try:
        connection.request(
            "POST",
            "/open",
            urlencode({"token": token}),
            {
                "Content-Type": "application/x-www-form-urlencoded",
                "Sec-Fetch-Site": "same-origin",
            },
        )
        reply = connection.getresponse()
        reply.read()
        if reply.status != 303:
            raise SetupFailed(f"signing in is answered by {reply.status}")
        yield connection, reply.headers["Set-Cookie"].partition(";")[0]
    finally:
        connection.close()


def _get(connection: HTTPConnection, path: str, cookie: str) -> int:
    """The size of a page. Raises SetupFailed for one that is not there."""
    connection.request("GET", path, headers={"Cookie": cookie, "Accept": "text/html"})
    reply = connection.getresponse()
    size = len(reply.read())
    if reply.status >= 500:
        raise SetupFailed(f"{path} is answered by {reply.status}")
    return size
