"""The values in records: sorted, counted, over time, in pairs; always bounded."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from store import Database, Deployment, MetricRecord, metric_values, metrics, new_id
from store.tables.metric_values import MOST_RECORDS, RecordExtent, RecordSelection

NOON = 1_795_262_400_000


async def put(
    database: Database, deployment: Deployment, texts: list[str], uuid: bool = True
) -> int:
    """Writes a record a second, from noon on; returns the number of their series."""
    told = [
        MetricRecord(
            uuid=new_id() if uuid else "",
            start_ms=NOON + 1000 * n,
            end_ms=NOON + 1000 * n,
            metrics=text,
        )
        for n, text in enumerate(texts)
    ]
    await database.write(metrics.append, {deployment.id: told}, limit=1 << 30, now_ms=NOON)
    (series,) = await database.read(metrics.series_of, "deployment", deployment.id)
    return series.number


async def selected(
    database: Database, series: int, end: int = NOON + 10**9, **more: Any
) -> tuple[RecordSelection, RecordExtent]:
    wanted = RecordSelection(series=[series], start_ms=NOON, end_ms=end, **more)
    return await database.read(metric_values.sampled, wanted)


async def by_name(database: Database, selection: RecordSelection) -> Mapping[tuple[str, str], Any]:
    found, _ = await database.read(metric_values.values, selection)
    return {
        (each.name, each.kind): (each.count, json.loads(each.content or "null")) for each in found
    }


async def test_values_have_the_names_of_their_objects(
    database: Database, deployment: Deployment
) -> None:
    """Objects are opened two levels deep; numbers are sorted, labels and others counted."""
    records = [
        {"y": 3, "input": {"a": 2.5, "b": {"c": "red", "d": {"e": 1}}}, "ok": True, "list": [1, 2]},
        {"y": 1.5, "input": {"a": 1}, "ok": False, "none": None},
        {"y": "text", "input": 7, "ok": True},
    ]
    series = await put(database, deployment, [json.dumps(each) for each in records])
    selection, extent = await selected(database, series)
    assert extent == RecordExtent(records=3, read=3, first_ms=NOON, last_ms=NOON + 2000)
    assert await by_name(database, selection) == {
        ("y", "numbers"): (2, [1.5, 3]),
        ("y", "labels"): (1, [["text", 1]]),
        ("input", "numbers"): (1, [7]),
        ("input.a", "numbers"): (2, [1, 2.5]),
        ("input.b.c", "labels"): (1, [["red", 1]]),
        ("input.b.d", "others"): (1, None),
        ("ok", "labels"): (3, [["true", 2], ["false", 1]]),
        ("list", "others"): (1, None),
    }


@pytest.mark.parametrize(
    "text",
    [
        '{"x":1e999,"y":-9223372036854775808,"z":123456789012345678901234567890}',
        '{"\\ud800":"\\ud800","":"","a\\u0000b":"\\u0000"}',
        '{"x":' + "[" * 3000 + "]" * 3000 + "}",
        '{"' + "k" * 5000 + '":1,"long":"' + "v" * 5000 + '"}',
        "{" + ",".join(f'"{n}":{n}' for n in range(1000)) + "}",
        '{"x":{"x":{"x":{"x":{"x":1}}}},"x.x":{"x":2}}',
    ],
)
async def test_odd_records_are_read(database: Database, deployment: Deployment, text: str) -> None:
    """A model may track anything that is JSON."""
    series = await put(database, deployment, [text, '{"fine":1}'])
    selection, extent = await selected(database, series)
    assert extent.read == 2
    found, names = await database.read(metric_values.values, selection)
    assert len({each.name for each in found}) <= metric_values.MOST_NAMES
    if names <= metric_values.MOST_NAMES:
        assert "fine" in {each.name for each in found}
    assert all(len(each.name) <= 200 for each in found)
    await database.read(metric_values.over_time, selection, 10)
    await database.read(metric_values.labels_over_time, selection, 10, "long")
    await database.read(metric_values.pairs, selection, 10, "x", "y")


async def test_sample_of_many_records(database: Database, deployment: Deployment) -> None:
    """Of more records than are read, some are chosen evenly, also of every other number."""
    series = await put(database, deployment, [f'{{"n":{n}}}' for n in range(2 * MOST_RECORDS)])
    selection, extent = await selected(database, series)
    assert (selection.every, extent.records) == (2, 2 * MOST_RECORDS)
    assert 0.95 * MOST_RECORDS < extent.read < 1.05 * MOST_RECORDS
    ((_, (count, numbers)),) = (await by_name(database, selection)).items()
    assert count == len(numbers) == extent.read
    assert sum(numbers) / count == pytest.approx(MOST_RECORDS, rel=0.05)
    even = sum(n % 2 == 0 for n in numbers)
    assert even == pytest.approx(count / 2, rel=0.05)


async def test_sample_of_large_records(database: Database, deployment: Deployment) -> None:
    """No more text is read than the bound, and at least one record."""
    series = await put(database, deployment, [json.dumps({"x": "v" * 300_000})] * 120)
    selection, extent = await selected(database, series)
    assert extent.records == 120
    assert 1 <= extent.read <= metric_values.MOST_BYTES / 300_000
    assert ("x", "labels") in await by_name(database, selection)


async def test_aggregates_are_left_out(database: Database, deployment: Deployment) -> None:
    """Records of many predictions are no predictions, nor do they stretch their time."""
    series = await put(database, deployment, ['{"x":1}'] * 3)
    aggregate = MetricRecord(uuid="", start_ms=NOON - 9, end_ms=NOON + 9**9, metrics='{"mean":1}')
    await database.write(metrics.append, {deployment.id: [aggregate]}, limit=1 << 30, now_ms=NOON)
    wanted = RecordSelection(series=[series], start_ms=0, end_ms=2 * NOON)
    selection, extent = await database.read(metric_values.sampled, wanted)
    assert extent == RecordExtent(records=3, read=3, first_ms=NOON, last_ms=NOON + 2000)
    assert list(await by_name(database, selection)) == [("x", "numbers")]
    nothing = RecordSelection(series=[], start_ms=0, end_ms=NOON)
    assert (await database.read(metric_values.sampled, nothing))[1] == RecordExtent()


async def test_values_over_time(database: Database, deployment: Deployment) -> None:
    """Count, mean, least and largest of each span; labels with their counts."""
    texts = [json.dumps({"x": n, "kind": "ab"[n % 2]}) for n in range(10)]
    series = await put(database, deployment, texts)
    selection, _ = await selected(database, series, end=NOON + 9999)
    ((name, content),) = await database.read(metric_values.over_time, selection, 2)
    assert (name, json.loads(content)) == ("x", [[0, 5, 2, 0, 4], [1, 5, 7, 5, 9]])
    assert await database.read(metric_values.over_time, selection, 2, "y") == []
    labels = await database.read(metric_values.labels_over_time, selection, 2, "kind")
    assert {label: json.loads(content) for label, content in labels} == {
        "a": [[0, 3], [1, 2]],
        "b": [[0, 2], [1, 3]],
    }


async def test_pairs_of_values(database: Database, deployment: Deployment) -> None:
    """Records that have both count; labels are compared as labels, true as 1 beside numbers."""
    records: list[dict[str, object]] = [
        {"guess": 1, "truth": 2, "kind": "a", "kind_then": "a", "left": True},
        {"guess": 3, "truth": 3, "kind": "a", "kind_then": "b", "left": False},
        {"guess": 5, "kind": "b"},
    ]
    series = await put(database, deployment, [json.dumps(each) for each in records])
    selection, _ = await selected(database, series, end=NOON + 2999)
    found = await database.read(metric_values.pairs, selection, 3, "guess", "truth")
    read = {name: json.loads(content) for name, content in found.items()}
    assert read["both"] == 2
    assert read["sums"] == [2, -0.5, 0.5, 0.5, 1, 2.0, 0.5, 1.0]
    assert read["spans"] == [[0, 1, -1.0, 1.0, 0], [1, 1, 0.0, 0.0, 1]]
    assert sorted(read["points"]) == [[1, 2], [3, 3]]
    assert read["cells"] == []
    found = await database.read(metric_values.pairs, selection, 3, "kind", "kind_then")
    read = {name: json.loads(content) for name, content in found.items()}
    assert (read["both"], read["cells"]) == (2, [["a", "a", 1], ["a", "b", 1]])
    assert read["label_spans"] == [[0, 1, 1], [1, 1, 0]]
    found = await database.read(metric_values.pairs, selection, 3, "guess", "left")
    assert sorted(json.loads(found["points"])) == [[1, 1], [3, 0]]
