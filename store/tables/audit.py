"""The audit log: what was done and what was refused. Entries are only ever added."""

import aiosqlite

from store.records import AuditEntry
from store.tables.table import Table

_table = Table("audit", AuditEntry, immutable=AuditEntry.__struct_fields__)


async def append(connection: aiosqlite.Connection, entry: AuditEntry) -> AuditEntry:
    """Add an entry, in the transaction of the change that it records."""
    return await _table.insert(connection, entry)


async def list_newest(
    connection: aiosqlite.Connection,
    *,
    after: int = 0,
    before: int | None = None,
    who: str = "",
    action: str = "",
    since: str = "",
    most: int = 100,
) -> list[AuditEntry]:
    """Return the newest `most` entries, ascending.

    `after` and `before` bound their numbers, both exclusive. `action` is a prefix. `since` is a
    time as records write it.
    """
    conditions = ["number > ?", "action LIKE ? ESCAPE '\\'", "created_at >= ?"]
    values: list[object] = [after, _prefix_pattern(action), since]
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


def _prefix_pattern(prefix: str) -> str:
    for special in "\\%_":
        prefix = prefix.replace(special, "\\" + special)
    return prefix + "%"
