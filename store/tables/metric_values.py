"""The values in records of predictions, taken apart by SQLite: sorted, counted, averaged, paired.

A value has a name: its key, after the keys of the objects around it (`input.petal_length`). Objects
are opened two levels deep; a list counts as one value. SQLite parses and sorts without Python's
lock, so the loop is not delayed. What Python gets are a few texts of JSON.

Law: a question reads at most MOST_RECORDS records with MOST_BYTES of text and MOST_VALUES values,
however many there are. Of more, a sample is read, always the same: it is chosen by the record's
number, mixed so that records that alternate with those of other models are chosen evenly.
"""

from collections.abc import Sequence
from typing import Literal

import aiosqlite
import msgspec

MOST_RECORDS = 10_000
MOST_BYTES = 16 * 1024 * 1024
MOST_VALUES = 500_000
MOST_NAMES = 100
MOST_LABELS = 20
MOST_POINTS = 500
# Labels of one value over time, and cells of a table of two values.
_LABELS_OVER_TIME, _CELLS = 5, 400
_LONGEST_NAME, _LONGEST_LABEL = 200, 100
# The span of the window that a time is in.
_SPAN = "(at - :start) * :spans / (:end - :start + 1)"
_COLUMNS = "number, at, name, type, value"

_SAMPLED = "(:every = 1 OR (number % 1000003 * 2654435761 / 65536) % :every = 0)"
# Sums of such numbers and of their products are exact enough; larger ones count as others.
_NUMBER = "type IN ('integer', 'real') AND value BETWEEN -1e100 AND 1e100"
_LABEL = "type IN ('text', 'true', 'false')"
_AS_LABEL = f"CASE type WHEN 'text' THEN substr(value, 1, {_LONGEST_LABEL}) ELSE type END"


class RecordSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Records of predictions in some series that start in a window. Of a sample, `every` is how
    many records one of it stands for."""

    series: Sequence[int]
    start_ms: int
    end_ms: int
    every: int = 1


class RecordExtent(msgspec.Struct, frozen=True, kw_only=True):
    """How many records a selection has, how many of them are read, the first and last start."""

    records: int = 0
    read: int = 0
    first_ms: int = 0
    last_ms: int = 0


class NamedValues(msgspec.Struct, frozen=True, kw_only=True):
    """What records have for one name, of one kind. `content` is JSON: the sorted numbers, or the
    most frequent labels as [label, count]."""

    name: str
    kind: Literal["numbers", "labels", "others"]
    count: int
    distinct: int
    content: str


async def sampled(
    connection: aiosqlite.Connection, selection: RecordSelection
) -> tuple[RecordSelection, RecordExtent]:
    """Return the selection with its sample, and its extent."""
    if not selection.series:
        return selection, RecordExtent()
    records, first, last = await _counted(connection, selection)
    if not records:
        return selection, RecordExtent()
    every = -(-records // MOST_RECORDS)
    while True:
        chosen = msgspec.structs.replace(selection, every=every)
        sql = f"SELECT count(*), coalesce(sum(taken), 0) FROM metrics {_where(chosen)}"
        ((read, size),) = await connection.execute_fetchall(sql, _parameters(chosen))
        if size <= MOST_BYTES or read <= 1:
            break
        every = max(every + 1, every * -(-size // MOST_BYTES))
    extent = RecordExtent(records=records, read=read, first_ms=first, last_ms=last)
    return chosen, extent


async def _counted(
    connection: aiosqlite.Connection, selection: RecordSelection
) -> tuple[int, int, int]:
    """Return the number of records, and the first and last start. All rows of the window are
    counted in its index, then those that are no predictions are subtracted."""
    series = ", ".join(str(int(each)) for each in selection.series)
    within = f"source IN ({series}) AND start_ms BETWEEN :start AND :end"
    nearest = (
        "(SELECT start_ms FROM metrics INDEXED BY metrics_of_window WHERE source = s.number"
        " AND start_ms BETWEEN :start AND :end AND uuid IS NOT NULL ORDER BY start_ms {} LIMIT 1)"
    )
    sql = f"""
        SELECT (SELECT count(*) FROM metrics INDEXED BY metrics_of_window WHERE {within})
            - (SELECT count(*) FROM metrics INDEXED BY metrics_of_aggregate
                WHERE {within} AND uuid IS NULL),
            min(first), max(last)
        FROM (SELECT {nearest.format("")} AS first, {nearest.format("DESC")} AS last
            FROM metric_sources AS s WHERE number IN ({series}))"""
    ((records, first, last),) = await connection.execute_fetchall(sql, _parameters(selection))
    return int(records), int(first or 0), int(last or 0)


async def values(
    connection: aiosqlite.Connection, selection: RecordSelection
) -> tuple[list[NamedValues], int]:
    """Return the values by name, of the MOST_NAMES most frequent names, and the number of names."""
    sql = f"""
        WITH {_leaves(selection)},
        chosen AS (SELECT name FROM leaves WHERE type <> 'null' GROUP BY name
            ORDER BY count(*) DESC, name LIMIT {MOST_NAMES}),
        sorted AS (SELECT name, value FROM leaves WHERE name IN chosen AND {_NUMBER}
            ORDER BY name, value LIMIT -1),
        labels AS (SELECT name, {_AS_LABEL} AS label, count(*) AS n FROM leaves
            WHERE name IN chosen AND {_LABEL} GROUP BY 1, 2),
        ranked AS (SELECT name, label, n, row_number() OVER (PARTITION BY name
            ORDER BY n DESC, label) AS place, sum(n) OVER all_of_name AS total,
            count(*) OVER all_of_name AS kinds
            FROM labels WINDOW all_of_name AS (PARTITION BY name))
        SELECT CAST(name AS BLOB), 'numbers', count(*), 0,
            CAST(json_group_array(value) AS BLOB) FROM sorted GROUP BY name
        UNION ALL SELECT CAST(name AS BLOB), 'labels', max(total), max(kinds),
            CAST(json_group_array(json_array(label, n)) AS BLOB)
            FROM ranked WHERE place <= {MOST_LABELS} GROUP BY name
        UNION ALL SELECT CAST(name AS BLOB), 'others', count(*), 0, x'' FROM leaves
            WHERE name IN chosen AND type <> 'null' AND NOT ({_LABEL}) AND NOT ({_NUMBER})
            GROUP BY name
        UNION ALL SELECT x'', 'names', count(DISTINCT name), 0, x'' FROM leaves
            WHERE type <> 'null'"""
    *rows, last = await connection.execute_fetchall(sql, _parameters(selection))
    found = [
        NamedValues(name=_text(name), kind=kind, count=n, distinct=distinct, content=_text(content))
        for name, kind, n, distinct, content in rows
    ]
    return found, int(last[2])


async def over_time(
    connection: aiosqlite.Connection, selection: RecordSelection, spans: int, name: str = ""
) -> list[tuple[str, str]]:
    """Return numbers over `spans` equal spans of the window: by name, JSON of lists [span, count,
    mean, least, largest]. With a `name` of this one only."""
    sql = f"""
        WITH {_leaves(selection)},
        chosen AS (SELECT name FROM leaves WHERE {_NUMBER} AND (:name = '' OR name = :name)
            GROUP BY name ORDER BY count(*) DESC, name LIMIT {MOST_NAMES}),
        spans AS (SELECT name, {_SPAN} AS span, count(*) AS n, avg(value) AS mean,
            min(value) AS low, max(value) AS high
            FROM leaves WHERE name IN chosen AND {_NUMBER} GROUP BY 1, 2)
        SELECT CAST(name AS BLOB),
            CAST(json_group_array(json_array(span, n, mean, low, high)) AS BLOB)
        FROM spans GROUP BY name"""
    wanted = {**_parameters(selection), "spans": spans, "name": name}
    rows = await connection.execute_fetchall(sql, wanted)
    return [(_text(each), _text(content)) for each, content in rows]


async def labels_over_time(
    connection: aiosqlite.Connection, selection: RecordSelection, spans: int, name: str
) -> list[tuple[str, str]]:
    """Return the most frequent labels of one value: by label, JSON of lists [span, count]."""
    sql = f"""
        WITH {_leaves(selection)},
        labels AS (SELECT {_AS_LABEL} AS label, {_SPAN} AS span FROM leaves
            WHERE name = :name AND {_LABEL}),
        chosen AS (SELECT label FROM labels GROUP BY label
            ORDER BY count(*) DESC, label LIMIT {_LABELS_OVER_TIME}),
        spans AS (SELECT label, span, count(*) AS n FROM labels
            WHERE label IN chosen GROUP BY 1, 2)
        SELECT CAST(label AS BLOB), CAST(json_group_array(json_array(span, n)) AS BLOB)
        FROM spans GROUP BY label ORDER BY sum(n) DESC, label"""
    wanted = {**_parameters(selection), "spans": spans, "name": name}
    rows = await connection.execute_fetchall(sql, wanted)
    return [(_text(label), _text(content)) for label, content in rows]


async def pairs(
    connection: aiosqlite.Connection, selection: RecordSelection, spans: int, x: str, y: str
) -> dict[str, str]:
    """Return what records have that have both values, as JSON: `both`, their number; of two
    numbers (true is 1) `sums`, `spans` and `points`; of two labels `cells` and their `spans`."""
    as_number = "({0}_type IN ('integer', 'real', 'true', 'false'))"
    as_label = "({0}_type IN ('text', 'true', 'false'))"
    sql = f"""
        WITH {_leaves(selection)},
        sides AS (SELECT number, min(at) AS at,
            max(CASE WHEN name = :x THEN type END) AS x_type,
            max(CASE WHEN name = :x THEN value END) AS x,
            max(CASE WHEN name = :y THEN type END) AS y_type,
            max(CASE WHEN name = :y THEN value END) AS y
            FROM leaves WHERE name IN (:x, :y) AND ({_LABEL} OR {_NUMBER}) GROUP BY number),
        both AS (SELECT * FROM sides WHERE x IS NOT NULL AND y IS NOT NULL),
        labels AS (SELECT at,
            CASE x_type WHEN 'text' THEN substr(x, 1, {_LONGEST_LABEL}) ELSE x_type END AS x,
            CASE y_type WHEN 'text' THEN substr(y, 1, {_LONGEST_LABEL}) ELSE y_type END AS y
            FROM both WHERE {as_label.format("x")} AND {as_label.format("y")}),
        numbers AS (SELECT number, at, x, y FROM both
            WHERE {as_number.format("x")} AND {as_number.format("y")}
            AND NOT ({as_label.format("x")} AND {as_label.format("y")})),
        means AS (SELECT avg(x) AS mean_x, avg(y) AS mean_y FROM numbers)
        SELECT 'both', CAST(count(*) AS BLOB) FROM both
        UNION ALL SELECT 'sums', CAST(json_array(count(*), avg(x - y), avg(abs(x - y)),
            avg((x - y) * (x - y)), sum(x = y), sum((x - mean_x) * (x - mean_x)),
            sum((y - mean_y) * (y - mean_y)), sum((x - mean_x) * (y - mean_y))) AS BLOB)
            FROM numbers, means
        UNION ALL SELECT 'spans', CAST(json_group_array(json_array(span, n, error, size, equal))
            AS BLOB) FROM (SELECT {_SPAN} AS span, count(*) AS n, avg(x - y) AS error,
            avg(abs(x - y)) AS size, sum(x = y) AS equal FROM numbers GROUP BY 1)
        UNION ALL SELECT 'points', CAST(json_group_array(json_array(x, y)) AS BLOB)
            FROM (SELECT x, y FROM numbers
            ORDER BY number % 1000003 * 2654435761 % 1000003 LIMIT {MOST_POINTS})
        UNION ALL SELECT 'label_spans', CAST(json_group_array(json_array(span, n, equal)) AS BLOB)
            FROM (SELECT {_SPAN} AS span, count(*) AS n, sum(x = y) AS equal
            FROM labels GROUP BY 1)
        UNION ALL SELECT 'cells', CAST(json_group_array(json_array(x, y, n)) AS BLOB)
            FROM (SELECT x, y, count(*) AS n FROM labels GROUP BY 1, 2
            ORDER BY n DESC, x, y LIMIT {_CELLS})"""
    wanted = {**_parameters(selection), "spans": spans, "x": x, "y": y}
    return {
        name: _text(content) for name, content in await connection.execute_fetchall(sql, wanted)
    }


def _leaves(selection: RecordSelection) -> str:
    """Tables of a WITH clause; `leaves` has the values of the records that are no objects."""
    return f"""
        picked AS (SELECT number, start_ms AS at,
            CASE WHEN json_valid(metrics) THEN metrics ELSE '{{}}' END AS text
            FROM metrics {_where(selection)}),
        one({_COLUMNS}) AS (SELECT number, at, e.key, e.type, e.value
            FROM picked, json_each(text) AS e WHERE length(e.key) < {_LONGEST_NAME}),
        two({_COLUMNS}) AS ({_opened("one")}),
        three({_COLUMNS}) AS ({_opened("two")}),
        leaves AS (SELECT * FROM one WHERE type <> 'object'
            UNION ALL SELECT * FROM two WHERE type <> 'object'
            UNION ALL SELECT * FROM three LIMIT {MOST_VALUES})"""


def _opened(outer: str) -> str:
    """The values in the objects of a table."""
    return (
        f"SELECT number, at, o.name || '.' || e.key, e.type, e.value FROM {outer} AS o,"
        " json_each(o.value) AS e WHERE o.type = 'object'"
        f" AND length(o.name) + length(e.key) < {_LONGEST_NAME}"
    )


def _where(selection: RecordSelection) -> str:
    series = ", ".join(str(int(each)) for each in selection.series)
    return (
        f"INDEXED BY metrics_of_window WHERE source IN ({series})"
        f" AND start_ms BETWEEN :start AND :end AND uuid IS NOT NULL AND {_SAMPLED}"
    )


def _parameters(selection: RecordSelection) -> dict[str, int | str]:
    return {"start": selection.start_ms, "end": selection.end_ms, "every": selection.every}


def _text(content: bytes) -> str:
    return content.decode(errors="replace")
