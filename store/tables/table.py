"""What the nouns share: how a record becomes a row and back, and the statements all need.

A table's columns are its record's fields. Only they and words from code are ever put into the text
of a statement; values are always bound.

Law: what a transaction writes it reads back, so a row that its record would not accept is never
committed.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import aiosqlite
import msgspec

from store.errors import NameTaken, NotFound
from store.lifecycles import Lifecycle, advance, states_allowing, unfinished_states
from store.records import LivingRecord, Record, now

R = TypeVar("R", bound=Record)
L = TypeVar("L", bound=LivingRecord)

# What SQLite has no type for. (Lax conversion would read 0 and 1 as truth values, but also the text
# "null" as None: gotcha G7 in README.)
TRUTH_COLUMNS = (
    "linked",
    "auth_enabled",
    "must_change_password",
    "administrator",
    "disabled",
    "by_link",
)
JSON_COLUMNS = ("journey", "failure", "arguments", "metrics")

# What people choose, and so can choose twice.
CHOSEN_COLUMNS = ("name", "path")


class Table(Generic[R]):
    """The table of one noun. `keeps` names the fields that no change may touch."""

    def __init__(self, name: str, record: type[R], *, keeps: Sequence[str]) -> None:
        self.noun = record.__name__.lower()
        self._name = name
        self._record = record
        self._fields = record.__struct_fields__
        self._changeable = set(self._fields) - {*Record.__struct_fields__, *keeps}

    async def insert(
        self, connection: aiosqlite.Connection, record: R, *, number: int | None = None
    ) -> R:
        """Write a new row; without a `number` it gets the table's next one."""
        moment = now()
        values = _to_sql(msgspec.structs.asdict(record))
        values |= {"number": number, "created_at": moment, "updated_at": moment}
        columns, places = ", ".join(values), ", ".join("?" * len(values))
        with self._names_unique(values):
            await connection.execute_fetchall(
                f"INSERT INTO {self._name} ({columns}) VALUES ({places})", list(values.values())
            )
        return await self.get(connection, record.id)

    async def select(
        self, connection: aiosqlite.Connection, rest: str = "ORDER BY number", *values: object
    ) -> list[R]:
        """Return the records that `rest`, the statement from its WHERE on, selects."""
        rows = await connection.execute_fetchall(
            f"SELECT {', '.join(self._fields)} FROM {self._name} {rest}", values
        )
        return [_from_sql(self._record, row) for row in rows]

    async def find(
        self, connection: aiosqlite.Connection, condition: str, *values: object
    ) -> R | None:
        """Return the one record that meets a condition on unique columns, if there is one."""
        found = await self.select(connection, f"WHERE {condition}", *values)
        return found[0] if found else None

    async def get(self, connection: aiosqlite.Connection, key: str) -> R:
        """Return the record with this id. Raises NotFound."""
        record = await self.find(connection, "id = ?", key)
        if record is None:
            raise NotFound(self.noun, key)
        return record

    async def update(
        self, connection: aiosqlite.Connection, key: str, changes: Mapping[str, object]
    ) -> R:
        """Change fields by name and return the new record. Raises NotFound, NameTaken."""
        self._refuse_kept(changes)
        return await self._set(connection, key, changes)

    async def delete(self, connection: aiosqlite.Connection, key: str) -> None:
        """Delete the row and what the schema hangs on it. Raises NotFound."""
        await self.get(connection, key)
        await connection.execute_fetchall(f"DELETE FROM {self._name} WHERE id = ?", (key,))

    async def _set(
        self,
        connection: aiosqlite.Connection,
        key: str,
        changes: Mapping[str, object],
        guard: str = "",
        *guard_values: object,
    ) -> R:
        values = _to_sql(changes) | {"updated_at": now()}
        assignments = ", ".join(f"{column} = ?" for column in values)
        statement = f"UPDATE {self._name} SET {assignments} WHERE id = ? {guard}"
        with self._names_unique(values):
            async with connection.execute(
                statement, [*values.values(), key, *guard_values]
            ) as cursor:
                if cursor.rowcount == 0:
                    raise NotFound(self.noun, key)
        return await self.get(connection, key)

    def _refuse_kept(self, changes: Mapping[str, object]) -> None:
        if refused := sorted(set(changes) - self._changeable):
            raise TypeError(f"a {self.noun} cannot be given another {', '.join(refused)}")

    @contextmanager
    def _names_unique(self, values: Mapping[str, object]) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            # "UNIQUE constraint failed: models.project_id, models.name"
            column = str(error).rpartition(".")[2]
            if error.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE" and column in CHOSEN_COLUMNS:
                raise NameTaken(self.noun, str(values[column])) from None
            raise


class LifecycleTable(Table[L]):
    """The table of a noun whose status changes by events."""

    def __init__(
        self, name: str, record: type[L], lifecycle: Lifecycle, *, keeps: Sequence[str]
    ) -> None:
        times = [f"{state}_at" for state in lifecycle.moves]
        super().__init__(name, record, keeps=["status", *times, *keeps])
        self._lifecycle = lifecycle

    async def advance(
        self,
        connection: aiosqlite.Connection,
        key: str,
        event: str,
        changes: Mapping[str, object],
        *,
        given: Mapping[str, object] | None = None,
    ) -> L:
        """Let `event` happen, with changes that go with it; return the new record.

        `given` is what the noun itself gives, also where no change may touch it. Raises NotFound;
        IllegalTransition, with nothing changed.
        """
        self._refuse_kept(changes)
        before = await self.get(connection, key)
        status = advance(self._lifecycle, before.status, event)
        changes = {**changes, **(given or {}), "status": status}
        if (arrival := f"{status}_at") in self._fields:
            changes[arrival] = now()
        # The table has decided; the guard says the same where nothing can go around it.
        allowing = states_allowing(self._lifecycle, event)
        guard = f"AND status IN ({', '.join('?' * len(allowing))})"
        return await self._set(connection, key, changes, guard, *allowing)

    async def unfinished(self, connection: aiosqlite.Connection) -> list[L]:
        """Return the records to which something can still happen, as they were made.

        By rowid: a number may count within a model, and a clock may be set back.
        """
        states = unfinished_states(self._lifecycle)
        places = ", ".join("?" * len(states))
        return await self.select(connection, f"WHERE status IN ({places}) ORDER BY rowid", *states)


def _to_sql(values: Mapping[str, object]) -> dict[str, object]:
    written = dict(values)
    for name in JSON_COLUMNS:
        if written.get(name) is not None:
            written[name] = msgspec.json.encode(written[name]).decode()
    return written


def _from_sql(record: type[R], row: sqlite3.Row) -> R:
    values = dict(row)
    for name in TRUTH_COLUMNS:
        if name in values:
            values[name] = bool(values[name])
    for name in JSON_COLUMNS:
        if values.get(name) is not None:
            values[name] = msgspec.json.decode(values[name])
    return msgspec.convert(values, record)
