"""The audit trail: what was done and what was refused. Only ever added to."""

import aiosqlite

from store.records import AuditEntry
from store.tables.table import Table

_table = Table("audit", AuditEntry, keeps=list(AuditEntry.__struct_fields__))


async def append(connection: aiosqlite.Connection, entry: AuditEntry) -> AuditEntry:
    """Add an entry; call it in the transaction of what it tells."""
    return await _table.insert(connection, entry)


async def listing(
    connection: aiosqlite.Connection,
    *,
    after: int = 0,
    before: int | None = None,
    who: str = "",
    action: str = "",
    since: str = "",
    most: int = 100,
) -> list[AuditEntry]:
    """Return the newest `most` entries with numbers between, ascending; of one user, of actions
    that begin so, or not older than `since`, a time as records write it."""
    conditions = ["number > ?", "action LIKE ? ESCAPE '\\'", "created_at >= ?"]
    values: list[object] = [after, _like(action), since]
    if before is not None:
        conditions.append("number < ?")
        values.append(before)
    if who:
        conditions.append("who = ?")
        values.append(who)
    found = await _table.select(
        connection, f"WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT ?", *values, most
    )
    return found[::-1]


def _like(beginning: str) -> str:
    for special in "\\%_":
        beginning = beginning.replace(special, "\\" + special)
    return beginning + "%"
