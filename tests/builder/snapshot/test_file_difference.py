"""Which lines of a file differ between two snapshots."""

import pytest

from builder.snapshot.file_difference import (
    MOST_BYTES,
    MOST_LINES,
    FileDifference,
    file_difference,
)
from tests.support.builder import Bench


async def difference(
    bench: Bench, old: str | bytes | None, new: str | bytes | None, path: str = "a.py"
) -> FileDifference | None:
    """What differs in a file that was `old` and is `new`; None: it is not there."""
    bench.write("other.txt", "so that there is a file")
    snapshots = []
    for name, content in (("old", old), ("new", new)):
        file = bench.project / path
        if content is None:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        snapshots.append(await bench.take(name))
    return await file_difference(snapshots[0], snapshots[1], path)


def shown(found: FileDifference | None) -> list[tuple[str, str, int | None, int | None]]:
    assert found is not None
    return [(each.kind[0], each.text, each.before, each.after) for each in found.lines]


async def test_changed_lines_have_their_numbers(bench: Bench) -> None:
    """Lines that are alike are there around those that differ, three at most."""
    old = [f"line {n}\n" for n in range(1, 21)]
    new = [*old[:9], "another\n", *old[10:], "last\n"]
    found = await difference(bench, "".join(old), "".join(new))
    assert shown(found) == [
        ("s", "line 7", 7, 7),
        ("s", "line 8", 8, 8),
        ("s", "line 9", 9, 9),
        ("r", "line 10", 10, None),
        ("a", "another", None, 10),
        ("s", "line 11", 11, 11),
        ("s", "line 12", 12, 12),
        ("s", "line 13", 13, 13),
        ("s", "line 18", 18, 18),
        ("s", "line 19", 19, 19),
        ("s", "line 20", 20, 20),
        ("a", "last", None, 21),
    ]


@pytest.mark.parametrize("path", ["sub/ä b.py", "[a]*.txt", "--output", ":(glob)x", "a\tb"])
async def test_files_that_come_and_go(bench: Bench, path: str) -> None:
    """A new file has only new lines, and one that is gone only old ones, with odd names, too."""
    found = await difference(bench, None, "-- one\n++ two", path)
    assert shown(found) == [("a", "-- one", None, 1), ("a", "++ two", None, 2)]
    found = await difference(bench, "-- one\n", None, path)
    assert shown(found) == [("r", "-- one", 1, None)]
    assert found is not None
    assert found.kind == "removed"


async def test_file_without_a_difference(bench: Bench) -> None:
    """An equal file, a missing file and a folder have none."""
    assert await difference(bench, "x", "x") is None
    assert await difference(bench, None, None) is None
    assert await difference(bench, None, None, "a\0b".replace("\0", "")) is None


async def test_large_and_binary_files_are_not_compared(bench: Bench) -> None:
    """Only text of a bounded size is compared, and only so many lines are returned."""
    binary = await difference(bench, b"a\0b", b"a\0c")
    assert binary == FileDifference(kind="changed", omitted="binary")
    large = await difference(bench, "x", "x" * (MOST_BYTES + 1))
    assert large == FileDifference(kind="changed", omitted="large")
    many = await difference(bench, None, "x\n" * (MOST_LINES + 1))
    assert many is not None
    assert (len(many.lines), many.complete) == (MOST_LINES, False)
    latin = await difference(bench, b"caf\xe9\r\n", b"cafe\r\n")
    assert [text for _, text, _, _ in shown(latin)] == ["caf\ufffd", "cafe"]


async def test_project_does_not_say_how_it_is_compared(bench: Bench) -> None:
    """Attributes and drivers that a project names are not used."""
    bench.write(".gitattributes", "*.py binary diff=evil\n")
    bench.write(".git/config", '[diff "evil"]\ncommand = false\ntextconv = false\n')
    assert len(shown(await difference(bench, "1\n", "2\n"))) == 2
