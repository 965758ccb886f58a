"""What the nouns share: how a record becomes a row and back, and the statements that all need.

A noun is an instance of `Table`, or of a subclass that has only what is the noun's own; its methods
take a connection first, so `database.write(store.models.insert, model)` runs one as a transaction.

The columns of a table are the fields of its record. Only they, and words from code, are put into
the text of a statement; values are always bound.

Law: a transaction reads back what it writes, so it never commits a row that its record would not
accept.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

import aiosqlite
import msgspec

from store import lifecycles
from store.errors import NameTaken, NotFound
from store.lifecycles import Lifecycle
from store.records import Record, StatefulRecord, now

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=StatefulRecord)

# Types that SQLite does not have. (Lax conversion would read 0 and 1 as bool, but also the text
# "null" as None: gotcha G7.)
BOOL_COLUMNS = (
    "linked",
    "auth_enabled",
    "must_change_password",
    "administrator",
    "disabled",
    "by_link",
    "fresh",
    "request_log",
)
JSON_COLUMNS = ("steps", "failure", "arguments", "metrics", "keep")

# Unique columns whose values users choose.
CHOSEN_COLUMNS = ("name", "path")


class ListPart(NamedTuple):
    """Some rows of a list, by its columns: those that equal a value or have a text in them,
    ignoring the case of ASCII; sorted by a column, equal ones ascending by number."""

    equal: Mapping[str, object] = {}
    containing: Mapping[str, str] = {}
    order: str = "number"
    descending: bool = False
    offset: int = 0
    limit: int = 100


class Table(Generic[R]):
    """The table of one noun.

    No change may touch the fields that `immutable` names. `parent` is the table that each record
    belongs to, and the field that has the parent's id.
    """

    def __init__(
        self,
        name: str,
        record: type[R],
        *,
        immutable: Sequence[str] = (),
        parent: "tuple[Table[Any], str] | None" = None,
    ) -> None:
        self.noun = record.__name__.lower()
        self._name = name
        self._record = record
        self._fields = record.__struct_fields__
        self._changeable = set(self._fields) - {*Record.__struct_fields__, *immutable}
        self._parent = parent

    async def insert(self, connection: aiosqlite.Connection, record: R) -> R:
        """Write a new record and return it with its number. Raises NotFound (of the parent),
        NameTaken."""
        if self._parent is not None:
            table, field = self._parent
            await table.get(connection, getattr(record, field))
        return await self._insert(connection, record)

    async def get(self, connection: aiosqlite.Connection, key: str) -> R:
        """Return the record with this id. Raises NotFound."""
        record = await self.find(connection, "id = ?", key)
        if record is None:
            raise NotFound(self.noun, key)
        return record

    async def list_all(
        self, connection: aiosqlite.Connection, parent: str | None = None
    ) -> list[R]:
        """Return the records of a parent, by its id, or all of them; ascending by number."""
        if parent is None:
            return await self.select(connection)
        assert self._parent is not None, f"a {self.noun} has no parent"
        return await self.select(connection, f"WHERE {self._parent[1]} = ? ORDER BY number", parent)

    async def list_part(
        self, connection: aiosqlite.Connection, parent: str, part: ListPart
    ) -> list[R]:
        """Return some of the records of a parent. Reads no others where it selects by none but the
        parent, and sorts by number."""
        assert self._parent is not None, f"a {self.noun} has no parent"
        equal = {self._parent[1]: parent, **part.equal}
        if unknown := {*equal, *part.containing, part.order} - set(self._fields):
            raise TypeError(f"a {self.noun} has no {', '.join(sorted(unknown))}")
        conditions = [f"{name} = ?" for name in equal]
        conditions += [f"instr(lower({name}), lower(?))" for name in part.containing]
        direction = "DESC" if part.descending else "ASC"
        tie = "" if part.order == "number" else ", number"
        return await self.select(
            connection,
            f"WHERE {' AND '.join(conditions)} ORDER BY {part.order} {direction}{tie}"
            " LIMIT ? OFFSET ?",
            *equal.values(),
            *part.containing.values(),
            part.limit,
            part.offset,
        )

    async def update(self, connection: aiosqlite.Connection, key: str, /, **changes: object) -> R:
        """Change fields and return the new record. Raises NotFound, NameTaken."""
        self._refuse_immutable(changes)
        return await self._set(connection, key, changes)

    async def delete(self, connection: aiosqlite.Connection, key: str) -> None:
        """Delete the record and all rows that belong to it by the schema. Raises NotFound."""
        await self.get(connection, key)
        await connection.execute_fetchall(f"DELETE FROM {self._name} WHERE id = ?", (key,))

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

    async def _insert(
        self, connection: aiosqlite.Connection, record: R, *, number: int | None = None
    ) -> R:
        """Write a new row. Without a `number` it gets the next one of the table."""
        moment = now()
        values = _to_sql(msgspec.structs.asdict(record))
        values |= {"number": number, "created_at": moment, "updated_at": moment}
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        with self._names_unique(values):
            await connection.execute_fetchall(
                f"INSERT INTO {self._name} ({columns}) VALUES ({marks})", list(values.values())
            )
        return await self.get(connection, record.id)

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

    def _refuse_immutable(self, changes: Mapping[str, object]) -> None:
        if refused := sorted(set(changes) - self._changeable):
            raise TypeError(f"fields of a {self.noun} cannot be changed: {', '.join(refused)}")

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


class LifecycleTable(Table[S]):
    """The table of a noun whose status changes by events."""

    def __init__(
        self,
        name: str,
        record: type[S],
        lifecycle: Lifecycle,
        *,
        immutable: Sequence[str],
        parent: tuple[Table[Any], str] | None = None,
    ) -> None:
        times = [f"{state}_at" for state in lifecycle.moves]
        super().__init__(name, record, immutable=["status", *times, *immutable], parent=parent)
        self._lifecycle = lifecycle

    async def advance(
        self, connection: aiosqlite.Connection, key: str, event: str, /, **changes: object
    ) -> S:
        """Apply an event of the lifecycle, and changes that go with it; return the new record.

        Raises NotFound; IllegalTransition, with nothing changed.
        """
        return await self._advance(connection, key, event, changes)

    async def _advance(
        self,
        connection: aiosqlite.Connection,
        key: str,
        event: str,
        changes: Mapping[str, object],
        times: Mapping[str, str] | None = None,
    ) -> S:
        """`times` are what the noun itself sets, though no change may touch them."""
        self._refuse_immutable(changes)
        before = await self.get(connection, key)
        status = lifecycles.advance(self._lifecycle, before.status, event)
        values = {**changes, **(times or {}), "status": status}
        if (arrival := f"{status}_at") in self._fields:
            values[arrival] = now()
        # The lifecycle has decided; the guard repeats its decision inside the statement.
        allowing = lifecycles.states_allowing(self._lifecycle, event)
        guard = f"AND status IN ({', '.join('?' * len(allowing))})"
        return await self._set(connection, key, values, guard, *allowing)

    async def unfinished(self, connection: aiosqlite.Connection) -> list[S]:
        """Return the records whose lifecycle has not ended, in the order of their creation.

        By rowid: a number may count within a model, and a clock may be set back.
        """
        states = lifecycles.unfinished_states(self._lifecycle)
        marks = ", ".join("?" * len(states))
        return await self.select(connection, f"WHERE status IN ({marks}) ORDER BY rowid", *states)


def _to_sql(values: Mapping[str, object]) -> dict[str, object]:
    written = dict(values)
    for name in JSON_COLUMNS:
        if written.get(name) is not None:
            written[name] = msgspec.json.encode(written[name]).decode()
    return written


def _from_sql(record: type[R], row: sqlite3.Row) -> R:
    values = dict(row)
    for name in BOOL_COLUMNS:
        if name in values:
            values[name] = bool(values[name])
    for name in JSON_COLUMNS:
        if values.get(name) is not None:
            values[name] = msgspec.json.decode(values[name])
    return msgspec.convert(values, record)
