"""Metrics as tables: columns are what came up, cells what they can hold, and nothing is lost."""

import csv
import io
import json
from collections.abc import AsyncGenerator

import pytest

from gateway.admin import metric_export
from gateway.admin.metric_export import RowFormatter, RowSource, TooManyKeys, as_table
from store import MetricSeries, StoredMetricRecord, new_id

SOURCE = MetricSeries(
    number=1, deployment_id="d", build_id="", model_id="m", row_count=0, byte_count=0
)
SPELLING = RowFormatter("3b241101-e2bb-4255-8caf-4136c566a962", [SOURCE])


def told(*metrics: object) -> RowSource:
    """So many rows, in two batches."""
    rows = [
        StoredMetricRecord(
            number=n,
            series=1,
            uuid=new_id() if n else "",
            start_ms=1000 + n,
            end_ms=1005 + n,
            metrics=json.dumps(each),
        )
        for n, each in enumerate(metrics)
    ]

    async def again() -> AsyncGenerator[list[StoredMetricRecord]]:
        for batch in (rows[:2], rows[2:]):
            if batch:
                yield batch

    return again


async def table(kind: str, again: RowSource) -> bytes:
    return b"".join([part async for part in await as_table(kind, again, SPELLING)])


async def test_export_without_rows() -> None:
    """No rows are a table without rows."""
    assert await table("jsonl", told()) == b""
    assert (await table("csv", told())).count(b"\n") == 1


async def test_export_json_lines() -> None:
    """A line is a row as the SDK has it; a build that is gone has no name."""
    first, *_ = (await table("jsonl", told({"a": "é"}, {}))).splitlines()
    row = json.loads(first)
    assert (row["modelBuildCrn"], row["predictionUuid"], row["metrics"]) == ("", "", {"a": "é"})
    assert row["modelCrn"].endswith("/m")


async def test_csv_columns_are_keys() -> None:
    """What first comes up in the last row is a column of all; what is not told is empty."""
    text = (await table("csv", told({"a": 1}, {}, {"b": [1, "x"], "a": None}))).decode()
    head, *rows = text.splitlines()
    assert head.endswith(",metrics.a,metrics.b")
    assert [row.split(",", 6)[6] for row in rows] == ["1,", ",", ',"[1, ""x""]"']


async def test_csv_cells() -> None:
    """Every text is one cell of one row, for every program that reads the table."""
    texts = ["a\rb", "\r\n", "x\ny", 'quo"te', "a,b", "=1+1", " ", "", "é\u2028", "\r"]
    again = told(*({"text": text, f"key {text}": 1} for text in texts))
    table_of = (await table("csv", again)).decode()
    found = list(csv.DictReader(io.StringIO(table_of, newline="")))
    shown = {"\r\n": "'\r\n", "=1+1": "'=1+1", "\r": "'\r"}
    assert [row["metrics.text"] for row in found] == [shown.get(text, text) for text in texts]
    assert all(row[f"metrics.key {text}"] == "1" for row, text in zip(found, texts, strict=True))


async def test_csv_cell_is_no_formula() -> None:
    """A text that a spreadsheet would run has a mark before it, also behind what parts cells in
    some countries; numbers, negative ones too, stay numbers."""
    formulas = ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "\uff1d1"]
    others = ["a=1", "-1.5", "+2e-3", "x;=1", "x\t=1"]
    numbers = [-1.5, -3, 0, 1e-17, -(2**70)]
    keys = ["=1", "-x;=1", "@a"]
    again = told(*({"v": v} for v in (*formulas, *others, *numbers)), dict.fromkeys(keys, -1))
    text = (await table("csv", again)).decode()
    head, *rows = list(csv.reader(io.StringIO(text, newline="")))
    cells = [row[6] for row in rows][:-1]
    assert cells == [f"'{v}" for v in formulas] + others + [str(v) for v in numbers]
    assert head[7:] == [f"metrics.{key}" for key in keys]
    assert rows[-1][7:] == ["-1"] * 3
    assert '"x;=1"' in text
    assert '"x\t=1"' in text
    assert '"metrics.-x;=1"' in text


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_table_columns_are_bounded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of too many keys are no table, and that is told before anything else is."""
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    monkeypatch.setattr(metric_export, "MOST_COLUMNS", 2)
    assert await table(kind, told({"a": 1}, {"b": 1}, {"a": 1}))
    with pytest.raises(TooManyKeys):
        await as_table(kind, told({"a": 1}, {"b": 1}, {"c": 1}), SPELLING)


async def test_parquet_types() -> None:
    """A column has the type that fits all its values; where none does, it is JSON text."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    again = told(
        {"int": 1, "real": 1, "truth": True, "text": "x", "mixed": 1, "deep": {"a": [None]}},
        {"int": -5, "real": 0.5, "truth": None, "text": "é", "mixed": "1", "big": 2**70},
        {"nothing": None},
    )
    rows = parquet.read_table(io.BytesIO(await table("parquet", again))).to_pylist()
    assert [row["startTimeStampMs"] for row in rows] == [1000, 1001, 1002]
    assert {n.partition(".")[2]: [r[n] for r in rows] for n in rows[0] if "." in n} == {
        "int": [1, -5, None],
        "real": [1.0, 0.5, None],
        "truth": [True, None, None],
        "text": ["x", "é", None],
        "mixed": ["1", '"1"', None],
        "deep": ['{"a": [null]}', None, None],
        "big": [None, str(2**70), None],
        "nothing": [None, None, None],
    }
    assert parquet.read_table(io.BytesIO(await table("parquet", told()))).num_rows == 0
