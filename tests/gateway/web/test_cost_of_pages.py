"""What pages read of a large site: the rows of a page, and not all builds, deployments or runs.

Time is measured by `python -m benchmarks pages`. Here the statements and rows that the store reads
are counted, which are the same each time.
"""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiosqlite
import pytest

import store
from benchmarks.large_site import LargeSite, Size, fill
from gateway.control.audit.audit_log import request_id
from gateway.data_folder import DataFolder
from gateway.operations.machine_check import MachineCheck
from gateway.web.site import PAGES
from tests.support.gateway import Gateway, running, settings_for

_SIZE = Size(
    projects=4,
    models=40,
    builds=2_500,
    experiments=500,
    users=100,
    entries=500,
    requests=500,
    files=5,
)
# Of one page. The lists that grow with use have 450 rows here at least. All models are read for
# some pages, each with its deployment, build and example.
_MOST_ROWS, _MOST_STATEMENTS = 350, 40
# A stream of events, and a download.
_NO_PAGES = ("/events", "/admin/activity/export")


class Reading:
    """Counts what the store reads for requests, and not for what else runs in the gateway."""

    def __init__(self) -> None:
        self.statements = self.rows = 0

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("read", "read_separately"):
            monkeypatch.setattr(store.Database, name, self._counting(getattr(store.Database, name)))

    def _counting(self, read: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(database: store.Database, work: Any, /, *args: Any, **named: Any) -> Any:
            if not request_id.get():
                return await read(database, work, *args, **named)

            async def counting(connection: Any, *args: Any, **named: Any) -> Any:
                return await work(_Connection(connection, self), *args, **named)

            return await read(database, counting, *args, **named)

        return counted


class _Connection:
    """A connection whose statements are counted, with the rows that they return."""

    def __init__(self, connection: aiosqlite.Connection, reading: Reading) -> None:
        self._connection = connection
        self._reading = reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute_fetchall(self, *args: Any) -> list[Any]:
        found = list(await self._connection.execute_fetchall(*args))
        self._reading.statements += 1
        self._reading.rows += len(found)
        return found


class Stage(NamedTuple):
    gateway: Gateway
    site: LargeSite


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A gateway on a large site, in which an administrator is signed in."""
    data = DataFolder(tmp_path / "data")
    async with running(settings_for(data.root)):
        pass  # makes the data folder
    async with store.open_database(data.database) as database:
        site = await fill(database, tmp_path / "projects", _SIZE)
    async with running(settings_for(data.root, gc_hours=0.0)) as gateway:
        runtime = (await gateway.get("/runtimes"))["runtimes"][0]["runtime_identifier"]
        token = (await gateway.post("/site/links"))["token"]
        ours = {"Sec-Fetch-Site": "same-origin"}
        answer = await gateway.models.post("/open", data={"token": token}, headers=ours)
        assert answer.status_code == 303
        yield Stage(gateway, site._replace(runtime_identifier=runtime))


async def test_page_reads_its_own_rows(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """No page reads more as builds, deployments, experiments, users and entries become more."""
    # It is a process of its own, which asks the gateway what could be removed.
    monkeypatch.setattr(MachineCheck, "begin", lambda _: None)
    reading = Reading()
    reading.patch(monkeypatch)
    too_much = {}
    for page in PAGES:
        if page.method != "GET" or page.path in _NO_PAGES:
            continue
        # The second time: what parses files remembers them.
        for _ in range(2):
            reading.statements = reading.rows = 0
            path = stage.site.path_of(page.path)
            answer = await stage.gateway.models.get(path, headers={"Accept": "text/html"})
        assert answer.status_code in (200, 303, 404), page.path
        if reading.rows > _MOST_ROWS or reading.statements > _MOST_STATEMENTS:
            too_much[page.path] = reading.rows, reading.statements
    assert too_much == {}


_LISTS = (
    ("model", "builds", "build_number", ("created_at", "comment", "creator.username")),
    ("model", "deployments", "deployment_number", ("build_number", "cpu", "deployed_at")),
    ("project", "experiments", "experiment_number", ("created_at", "script", "comment")),
)


async def test_part_of_a_list_is_that_of_the_whole(stage: Stage) -> None:
    """A page that the database selects has the rows of this page of the whole list."""
    for name, plural, number, fields in _LISTS:
        project = f"/projects/{stage.site.project_id}"
        base = f"{project}/models/{stage.site.model_id}" if name == "model" else project
        key = plural if name == "project" else f"model_{plural}"
        await _compare(stage.gateway, f"{base}/{plural}", key, number, fields)


async def _compare(
    gateway: Gateway, path: str, key: str, number: str, fields: tuple[str, ...]
) -> None:
    whole, token = list[dict[str, Any]](), "0"
    while token:
        found = await gateway.get(path, page_size=1000, page_token=token)
        whole, token = whole + found[key], found["next_page_token"]
    numbers = [each[number] for each in whole]
    assert numbers == sorted(numbers)
    assert len(numbers) >= 450
    for field in (number, *fields):
        for sign in ("", "-"):
            wanted = sorted(whole, key=_value_of(field), reverse=bool(sign))
            found = await gateway.get(path, page_size=7, page_token="21", sort=sign + field)
            assert [each["id"] for each in found[key]] == [each["id"] for each in wanted[21:28]]
            assert found["next_page_token"] == "28"
    token = str(len(whole) - 3)
    last = await gateway.get(path, page_size=7, page_token=token, sort=f"-{number}")
    assert [each[number] for each in last[key]] == numbers[2::-1]
    assert last["next_page_token"] == ""
    one = await gateway.get(path, search_filter=json.dumps({"id": whole[5]["id"].upper()}))
    assert [each["id"] for each in one[key]] == [whole[5]["id"]]
    if "comment" in whole[0]:
        some = await gateway.get(path, search_filter='{"comment":"N 1"}', page_size=1000)
        assert [e["id"] for e in some[key]] == [e["id"] for e in whole if "n 1" in e["comment"]]
        assert some["next_page_token"] == ""


def _value_of(field: str) -> Callable[[dict[str, Any]], Any]:
    def value(item: dict[str, Any]) -> Any:
        found: Any = item
        for part in field.split("."):
            found = found[part]
        return found

    return value
