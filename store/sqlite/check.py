"""Whether a database is whole, asked before anything relies on it.

A damaged one is refused: to serve from it is to guess, and to write to it makes what can still be
saved from it less.
"""

from pathlib import Path

import aiosqlite

from store.errors import StoreDamaged

SHOWN = 5  # findings in the message


async def check(connection: aiosqlite.Connection, path: Path) -> None:
    """Raises StoreDamaged, naming what is wrong. Reads all of the database (ms for each MB)."""
    found = [str(row[0]) for row in await connection.execute_fetchall("PRAGMA quick_check")]
    wrong = [line for text in found if text != "ok" for line in text.splitlines()]
    for table, row, parent, _ in await connection.execute_fetchall("PRAGMA foreign_key_check"):
        wrong.append(f"row {row} of {table} belongs to a row of {parent} that is not there")
    if wrong:
        told = "; ".join(wrong[:SHOWN])
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise StoreDamaged(path, told + more)
