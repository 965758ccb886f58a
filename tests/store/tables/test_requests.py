"""The latest requests of models: kept by number and age, filtered, deleted with their model."""

from typing import Any

import pytest

import store
from store import Database, Model, RequestQuery, StoredRequest, requests

NOON_MS = 1_795_262_400_000


def a_request(n: int = 0, **more: Any) -> StoredRequest:
    fields: dict[str, Any] = {
        "at_ms": NOON_MS + n,
        "request_id": f"r{n}",
        "status": 200,
        "code": "",
        "wait_us": 10,
        "service_us": 20,
        "replica": "a-1",
        "deployment_number": 1,
        "build_number": 2,
        "key_id": "",
        "user_id": "",
        "test": False,
    }
    return StoredRequest(**{**fields, **more})


async def listed(
    database: Database, model: Model, most: int = 100, **wanted: Any
) -> list[StoredRequest]:
    return await database.read(requests.list_newest, model.id, RequestQuery(**wanted), most)


async def test_latest_requests_stay(database: Database, model: Model) -> None:
    """A model keeps its latest rows up to a number, the newest first."""
    for first in range(0, 30, 10):
        batch = [a_request(n) for n in range(first, first + 10)]
        await database.write(requests.append, {model.id: batch}, 15)
    found = await listed(database, model)
    assert [each.request_id for each in found] == [f"r{n}" for n in range(29, 14, -1)]
    page = await listed(database, model, 3, before=found[4].number)
    assert [each.request_id for each in page] == ["r24", "r23", "r22"]


async def test_old_requests_go(database: Database, model: Model) -> None:
    """Rows older than a time are deleted, and all rows where none are kept."""
    batch = [a_request(n) for n in range(10)]
    await database.write(requests.append, {model.id: batch}, 100)
    await database.write(requests.delete_old, [model.id], 100, NOON_MS + 4)
    assert len(await listed(database, model)) == 6
    await database.write(requests.delete_old, [model.id], 0, 0)
    assert await listed(database, model) == []


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({"status": 429}, ["r1"]),
        ({"code": "failure"}, ["r2", "r1"]),
        ({"code": "success"}, ["r3", "r0"]),
        ({"code": "model.busy"}, ["r1"]),
        ({"replica": "a-2"}, ["r2"]),
        ({"request_id": "r3"}, ["r3"]),
        ({"user_id": "ada"}, ["r3"]),
        ({"test": True}, ["r0"]),
        ({"since_ms": NOON_MS + 2}, ["r3", "r2"]),
    ],
)
async def test_filters(
    database: Database, model: Model, wanted: dict[str, Any], ids: list[str]
) -> None:
    """Each filter leaves out the rows that it does not take."""
    batch = [
        a_request(0, test=True),
        a_request(1, status=429, code="model.busy", service_us=None),
        a_request(2, status=500, code="model.error", replica="a-2"),
        a_request(3, user_id="ada", key_id="12345678"),
    ]
    await database.write(requests.append, {model.id: batch}, 100)
    assert [each.request_id for each in await listed(database, model, **wanted)] == ids


async def test_requests_go_with_their_model(database: Database, model: Model) -> None:
    """A deleted model has no rows, and gets none."""
    await database.write(requests.append, {model.id: [a_request()]}, 100)
    await database.write(store.models.delete, model.id)
    await database.write(requests.append, {model.id: [a_request()]}, 100)
    assert await listed(database, model) == []
