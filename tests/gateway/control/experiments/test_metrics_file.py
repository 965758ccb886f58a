"""What scripts track: every whole line that is one, few enough to be kept, the last always."""

import json
import os
from pathlib import Path

import msgspec
import pytest

from gateway.control.experiments import metrics_file
from gateway.control.experiments.metrics_file import read_metrics_file, truncate


def line(key: object, value: object, time: object = 1) -> bytes:
    return json.dumps({"key": key, "value": value, "time": time}).encode()


def test_incomplete_line_is_not_counted(tmp_path: Path) -> None:
    """Lines that are no values are left out and counted; one that is being written is not yet."""
    good = [line("a", 1), line("b", None, 2), line("a", "text", 3)]
    bad = [
        b"",
        b"{",
        b"\xff",
        line(1, 1),
        line("a", [1]),
        line("a", 1, "x"),
        line("a", 1, 10**30),
        b"[" * 10_000,
    ]
    path = tmp_path / "metrics"
    path.write_bytes(b"\n".join([*good, *bad]) + b"\n" + line("c", 1))
    found = read_metrics_file(path)
    assert [(p.key, p.value, p.time) for p in found.points] == [
        ("a", 1, 1),
        ("b", None, 2),
        ("a", "text", 3),
    ]
    assert found.left_out == len(bad)


def test_metrics_that_are_no_file_are_empty(tmp_path: Path) -> None:
    """A link, a pipe, a folder or no file has no values, and blocks no reader."""
    path = tmp_path / "metrics"
    assert read_metrics_file(path).points == []
    os.mkfifo(path)
    assert read_metrics_file(path).points == []
    (tmp_path / "real").write_bytes(line("a", 1) + b"\n")
    path.unlink()
    path.symlink_to(tmp_path / "real")
    assert read_metrics_file(path).points == []
    path.unlink()
    path.mkdir()
    assert read_metrics_file(path).points == []


def test_last_value_of_each_key_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first values are kept, and of the later ones the last of each key, in order."""
    monkeypatch.setattr(metrics_file, "MOST_POINTS", 3)
    monkeypatch.setattr(metrics_file, "MOST_KEYS", 2)
    found = truncate(line(key, number) for number, key in enumerate("abababc", start=1))
    assert [point.value for point in found.points] == [1, 2, 3, 5, 6]
    assert found.left_out == 2


def test_large_file_is_read_at_begin_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is between is counted: with what was kept it is all that was tracked."""
    lines = [line("a", number) + b"\n" for number in range(1000, 1100)]
    path = tmp_path / "metrics"
    path.write_bytes(b"".join(lines))
    for begin in (5 * len(lines[0]), 5 * len(lines[0]) + 7, 50 * len(lines[0]) - 1):
        monkeypatch.setattr(metrics_file, "MOST_BYTES", begin)
        found = read_metrics_file(path)
        values = [point.value for point in found.points]
        assert (values[0], values[-1]) == (1000, 1099)
        assert values == sorted(set(values))
        assert len(values) + found.left_out == 100
        assert len(values) <= 2 * begin / len(lines[0])
    monkeypatch.setattr(metrics_file, "MOST_BYTES", 50 * len(lines[0]))
    assert read_metrics_file(path).left_out == 0


def test_texts_and_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept can be told at once: a line, a key and all texts together are no longer."""
    long = "x" * metrics_file.LONGEST_LINE
    assert truncate([line("a", long)]) == metrics_file.ParsedMetrics([], 1)
    assert truncate([line("x" * (metrics_file.LONGEST_KEY + 1), 1)]) == metrics_file.ParsedMetrics(
        [], 1
    )
    monkeypatch.setattr(metrics_file, "MOST_TEXT", 2 * len(line("a", "text")))
    found = truncate([line("a", "text"), line("a", "text"), line("a", "text"), line("a", 1)])
    assert ([point.value for point in found.points], found.left_out) == (["text", "text", 1], 1)


@pytest.mark.parametrize(
    "content",
    [
        b'{"key": "\xff", "value": 1, "time": 1}',
        b'{"key": "a", "value": "\xed\xa0\x80", "time": 1}',
        b'{"key": "a", "value": 1' + b"0" * 30 + b', "time": 1}',
        b"\xff\x00",
        b"[" * 5000,
    ],
)
def test_unreadable_line_costs_no_other(tmp_path: Path, content: bytes) -> None:
    """A line that cannot be read, or whose value the store cannot hold, is counted and costs no
    other."""
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line("good", 1) + b"\n" + content + b"\n" + line("last", 2**63) + b"\n")
    found = read_metrics_file(path)
    assert [point.key for point in found.points] == ["good", "last"]
    assert found.left_out == 1
    msgspec.json.encode([point.value for point in found.points])


def test_warning_says_what_is_not_kept(tmp_path: Path) -> None:
    """It is said, and nothing is waited for; where nothing was tracked there is nothing to say."""
    assert read_metrics_file(tmp_path / "none") == metrics_file.ParsedMetrics([], 0)
    os.mkfifo(tmp_path / "pipe")
    assert read_metrics_file(tmp_path / "pipe").problem == "it is not a file"
