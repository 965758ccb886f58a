"""The latest requests of each model: who called when, how it ended and how long it took.

Laws. A model keeps its latest rows up to a number, in the transaction that writes them, and no row
longer than an age. Each transaction deletes a bounded number of rows. No row has a body.
"""

from collections.abc import Iterable, Mapping, Sequence

import aiosqlite
import msgspec

# Deleted for one model in one transaction by age.
ROWS_AT_ONCE = 500

_COLUMNS = (
    *("at_ms", "request_id", "status", "code", "wait_us", "service_us", "replica"),
    *("deployment_number", "build_number", "key_id", "user_id", "test"),
)
_INSERT = (
    f"INSERT INTO requests (model_id, {', '.join(_COLUMNS)})"
    f" SELECT ?, {', '.join('?' * len(_COLUMNS))} WHERE EXISTS (SELECT 1 FROM models WHERE id = ?)"
)


class StoredRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `number` ascends as they ended; `status` is 0 where the client disconnected,
    `code` "" for a success. `service_us` is None where no replica got it. `key_id` has the first
    characters of the id."""

    number: int = 0
    at_ms: int
    request_id: str
    status: int
    code: str
    wait_us: int
    service_us: int | None
    replica: str
    deployment_number: int | None
    build_number: int | None
    key_id: str
    user_id: str
    test: bool


class RequestQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests; a default means all. `code` is "success", "failure" or an error code."""

    before: int | None = None
    status: int | None = None
    code: str = ""
    replica: str = ""
    request_id: str = ""
    user_id: str = ""
    test: bool | None = None
    since_ms: int = 0


async def append(
    connection: aiosqlite.Connection, requests: Mapping[str, Sequence[StoredRequest]], most: int
) -> None:
    """Write requests by the ids of their models, each in ascending order, and delete those above
    `most` of each. Requests of deleted models are not written."""
    for model_id, rows in requests.items():
        await connection.executemany(
            _INSERT,
            [(model_id, *(getattr(row, each) for each in _COLUMNS), model_id) for row in rows],
        )
        await _delete_above(connection, model_id, most)


async def _delete_above(connection: aiosqlite.Connection, model_id: str, most: int) -> None:
    """Delete some of the oldest rows above `most`."""
    await connection.execute_fetchall(
        "DELETE FROM requests WHERE number IN (SELECT number FROM requests WHERE model_id = ?"
        " AND number <= (SELECT number FROM requests WHERE model_id = ?"
        " ORDER BY number DESC LIMIT 1 OFFSET ?) ORDER BY number LIMIT ?)",
        (model_id, model_id, most, ROWS_AT_ONCE),
    )


async def delete_old(
    connection: aiosqlite.Connection, model_ids: Iterable[str], most: int, before_ms: int
) -> None:
    """Delete some of the rows of these models that are too many or too old; the caller repeats
    it."""
    for model_id in model_ids:
        await _delete_above(connection, model_id, most)
        await connection.execute_fetchall(
            "DELETE FROM requests WHERE number IN (SELECT number FROM requests WHERE model_id = ?"
            " ORDER BY number LIMIT ?) AND at_ms < ?",
            (model_id, ROWS_AT_ONCE, before_ms),
        )


async def delete_all(connection: aiosqlite.Connection, model_id: str) -> None:
    """Delete the requests of a model, of which there are at most 10,000."""
    await connection.execute_fetchall("DELETE FROM requests WHERE model_id = ?", (model_id,))


async def list_newest(
    connection: aiosqlite.Connection, model_id: str, wanted: RequestQuery, most: int
) -> list[StoredRequest]:
    """Return the newest `most` requests of a model that the filter takes, the newest first."""
    conditions, values = ["model_id = ?", "at_ms >= ?"], [model_id, wanted.since_ms]
    if wanted.code in ("success", "failure"):
        conditions.append("code = ''" if wanted.code == "success" else "code != ''")
    compared: list[tuple[str, object]] = [
        ("number <", wanted.before),
        ("status =", wanted.status),
        ("code =", wanted.code if wanted.code not in ("success", "failure") else ""),
        ("replica =", wanted.replica),
        ("request_id =", wanted.request_id),
        ("user_id =", wanted.user_id),
        ("test =", wanted.test),
    ]
    for condition, value in compared:
        if value is not None and value != "":
            conditions.append(f"{condition} ?")
            values.append(value)
    rows = await connection.execute_fetchall(
        f"SELECT number, {', '.join(_COLUMNS)} FROM requests"
        f" WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT ?",
        (*values, most),
    )
    return [StoredRequest(**{**dict(row), "test": bool(row["test"])}) for row in rows]
