"""The manifest of an upload is checked line by line."""

import msgspec
import pytest

from gateway.upload_manifest import (
    MOST_ENTRIES,
    ManifestEntry,
    ManifestError,
    ManifestReader,
    encode,
    order,
)

HASH = "0" * 64


def read(*entries: dict[str, object]) -> list[ManifestEntry]:
    reader = ManifestReader()
    return [reader.read(msgspec.json.encode(entry)) for entry in entries]


def folder(path: str) -> dict[str, object]:
    return {"path": path, "kind": "folder"}


def file(path: str, **more: object) -> dict[str, object]:
    return {"path": path, "kind": "file", "size": 1, "sha256": HASH, **more}


def test_manifest_in_order_is_read() -> None:
    """A folder comes before what is in it, also where a longer name sorts between as text."""
    entries = [folder("a"), file("a/b"), folder("a/c"), file("a/c/ü"), file("a-b"), file("b")]
    found = read(*entries)
    assert [each.path for each in found] == [each["path"] for each in entries]
    found.reverse()
    again = [*encode(sorted(found, key=lambda each: order(each.path)))]
    found.reverse()
    assert again == [*encode(found)]
    assert again[-1] == b"\n"


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([file("b"), file("a")], "does not come after"),
        ([file("a"), file("a")], "does not come after"),
        ([file("a/b")], "not in a folder"),
        ([file("a"), file("a/b")], "not in a folder"),
        ([folder("a"), file("b"), file("a/c")], "does not come after"),
        ([folder("a"), folder("a/b"), file("a/c"), file("a/b/d")], "does not come after"),
        ([file("../a")], "not a path inside"),
        ([file("/a")], "not a path inside"),
        ([file("")], "not a path inside"),
        ([folder("a"), file("a//b")], "not a path inside"),
        ([file("a\0")], "not a path inside"),
        ([file("x" * 256)], "too long"),
        ([folder(".GIT")], "is not a file of the project"),
        ([file("a/" * 210 + "b")], "too deep"),
        ([file("a", sha256="A" * 64)], "needs its size"),
        ([file("a", sha256="")], "needs its size"),
        ([file("a", size=-1)], "needs its size"),
        ([{"path": "a", "kind": "link"}], "without a usable target"),
        ([{"path": "a", "kind": "link", "target": "x" * 4096}], "without a usable target"),
        ([file("a", target="b")], "is not a link"),
        ([{"path": "a", "kind": "folder", "size": 1}], "is not a file"),
        ([{"path": "a", "kind": "pipe"}], "line 1 of the manifest: Invalid enum value"),
        ([file("a", more=1)], "unknown field `more`"),
    ],
)
def test_invalid_manifest_is_refused(entries: list[dict[str, object]], problem: str) -> None:
    """What is wrong is said, with the path or the line."""
    with pytest.raises(ManifestError, match=problem):
        read(*entries)


def test_line_that_is_not_json_is_refused() -> None:
    """Neither is text that is not UTF-8, nor half of a character."""
    for line in (b"[]", b"{", b'{"path": "\xff", "kind": "folder"}', b'{"path":"\\ud800"}'):
        with pytest.raises(ManifestError):
            ManifestReader().read(line)


def test_manifest_is_bounded() -> None:
    """In entries and in the length of a line."""
    with pytest.raises(ManifestError, match="too long"):
        ManifestReader().read(b'{"path":"' + b"x" * 70_000)
    reader = ManifestReader()
    lines = (b'{"path":"%08d","kind":"folder"}' % number for number in range(MOST_ENTRIES + 1))
    with pytest.raises(ManifestError, match="more than 300,000 entries"):
        list(map(reader.read, lines))
