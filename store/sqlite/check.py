"""Checks a database for damage when it is opened.

A damaged database is refused: reading it gives wrong answers, and writing to it destroys what could
still be recovered.
"""

from pathlib import Path

import aiosqlite

from store.errors import StoreDamaged

SHOWN = 5  # findings in the message


async def check(connection: aiosqlite.Connection, path: Path) -> None:
    """Raise StoreDamaged with the findings. Reads the whole database (milliseconds per MB)."""
    found = [str(row[0]) for row in await connection.execute_fetchall("PRAGMA quick_check")]
    wrong = [line for text in found if text != "ok" for line in text.splitlines()]
    for table, row, parent, _ in await connection.execute_fetchall("PRAGMA foreign_key_check"):
        wrong.append(f"row {row} of {table} refers to a missing row of {parent}")
    if wrong:
        shown = "; ".join(wrong[:SHOWN])
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise StoreDamaged(path, shown + more)
