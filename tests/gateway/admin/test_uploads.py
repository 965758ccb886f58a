"""/projects/.../files:compare and :sync: a project becomes a manifest, at once or not at all."""

import hashlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import trio

from gateway.upload_manifest import MEDIA_TYPE, ManifestEntry, encode, order
from tests.support.gateway import Gateway, refusal, running, settings_for, until

Files = dict[str, bytes | str | None]


class Place(NamedTuple):
    """A project of a gateway; `root` is its folder."""

    gateway: Gateway
    project: str
    root: Path

    async def send(self, verb: str, body: bytes, media_type: str = MEDIA_TYPE) -> httpx.Response:
        method = "PUT" if verb == "sync" else "POST"
        path = f"{self.project}/files:{verb}"
        headers = {"Content-Type": media_type}
        return await self.gateway.admin.request(method, path, content=body, headers=headers)

    async def sync(self, files: Files, *sent: str) -> httpx.Response:
        return await self.send("sync", upload(files, *sent))

    async def compare(self, files: Files) -> Any:
        response = await self.send("compare", upload(files))
        assert response.status_code == 200, response.text
        return response.json()

    def tree(self) -> dict[str, bytes | str | None]:
        found: Files = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_symlink():
                found[name] = str(path.readlink())
            else:
                found[name] = None if path.is_dir() else path.read_bytes()
        return found


def entries(files: Files, *sent: str) -> list[ManifestEntry]:
    """The manifest of files (bytes), links (str) and folders (None). A name that ends with a star
    is that of an executable."""
    found = []
    for name, content in files.items():
        path = name.removesuffix("*")
        if content is None:
            found.append(ManifestEntry(path, "folder"))
        elif isinstance(content, str):
            found.append(ManifestEntry(path, "link", target=content))
        else:
            kind = "executable" if name.endswith("*") else "file"
            digest = hashlib.sha256(content).hexdigest()
            size = len(content)
            found.append(ManifestEntry(path, kind, size, digest, sent=path in sent))  # type: ignore[arg-type]
    return sorted(found, key=lambda entry: order(entry.path))


def upload(files: Files, *sent: str) -> bytes:
    by_path = {name.removesuffix("*"): content for name, content in files.items()}
    contents = [by_path[entry.path] for entry in entries(files, *sent) if entry.sent]
    return b"".join(
        [*encode(entries(files, *sent)), *(c for c in contents if isinstance(c, bytes))]
    )


@pytest.fixture
async def place(shared: Gateway, tmp_path: Path) -> AsyncIterator[Place]:
    made = await shared.post("/projects", {"name": f"up {tmp_path.name}", "template": "local"})
    yield Place(shared, f"/projects/{made['id']}", Path(made["path"]))
    await shared.delete(f"/projects/{made['id']}")


FILES: Files = {
    "a.py": b"print()",
    "run*": b"#!/bin/sh",
    "sub": None,
    "sub/empty": None,
    "sub/Zákazníci ü.txt": b"",
    "link": "sub/../a.py",
}
SENT = ("a.py", "run", "sub/Zákazníci ü.txt")


async def test_sync_makes_the_project_equal_to_the_manifest(place: Place) -> None:
    """Files, modes, links, empty folders and names; an equal manifest then changes nothing."""
    assert await place.compare(FILES) == {"missing": "0,2,4", "unchanged": False}
    answer = await place.sync(FILES, *SENT)
    assert answer.json() == {"files": 3, "replaced": []}, answer.text
    assert place.tree() == {name.removesuffix("*"): content for name, content in FILES.items()}
    modes = {name: (place.root / name).stat().st_mode & 0o777 for name in ("a.py", "run")}
    assert modes == {"a.py": 0o644, "run": 0o755}
    assert await place.compare(FILES) == {"missing": "", "unchanged": True}


async def test_sync_sends_what_changed(place: Place) -> None:
    """A file that is renamed, copied or only made executable is not sent again; one that left the
    manifest is deleted."""
    await place.sync(FILES, *SENT)
    inode = (place.root / "a.py").stat().st_ino
    changed: Files = {"b.py": b"print()", "c.py*": b"print()", "run": b"#!/bin/sh", "n": b"new"}
    assert await place.compare(changed) == {"missing": "2", "unchanged": False}
    assert (await place.sync(changed, "n")).status_code == 200
    assert place.tree() == {name.removesuffix("*"): content for name, content in changed.items()}
    assert (place.root / "b.py").stat().st_ino == inode
    modes = {name: (place.root / name).stat().st_mode & 0o777 for name in ("b.py", "c.py", "run")}
    assert modes == {"b.py": 0o644, "c.py": 0o755, "run": 0o644}


async def test_one_content_takes_space_once(place: Place) -> None:
    """Many paths of one content are links, also with another mode than the file that was sent, or
    that the project has: else a small upload would fill the disk."""
    data = bytes(100_000)
    many: Files = {"a": data, **{f"b{number}*": data for number in range(9)}}
    for sent in (["a"], []):
        assert (await place.sync(many, *sent)).is_success
        assert len({(place.root / name.strip("*")).stat().st_ino for name in many}) == 2
        assert (place.root / "b8").stat().st_mode & 0o777 == 0o755
    assert (await place.sync({"a": data})).is_success
    assert (await place.sync(many)).is_success
    assert len({(place.root / name.strip("*")).stat().st_ino for name in many}) == 2


async def test_other_files_of_the_project_stay(place: Place) -> None:
    """What came in another way is not deleted by an upload, also in a folder that leaves the
    manifest, and also where it replaced a file of an upload. A path of the manifest is replaced,
    and named in the answer."""
    await place.sync(
        {"sub": None, "sub/a": b"1", "gone": b"2", "mine": b"3"}, "sub/a", "gone", "mine"
    )
    for name in ("sub/model.pkl", "mine", "own"):
        files = {name: ("x", b"from an experiment")}
        assert (await place.gateway.admin.put(f"{place.project}/files", files=files)).is_success
    answer = await place.sync({"own": b"uploaded"}, "own")
    assert answer.json()["replaced"] == ["own"]
    kept = b"from an experiment"
    assert place.tree() == {"mine": kept, "own": b"uploaded", "sub": None, "sub/model.pkl": kept}
    answer = await place.sync({"sub": b"a file"}, "sub")
    assert refusal(answer) == (400, "path.refused")
    assert "in the way: 'sub/model.pkl'" in answer.text
    assert place.tree()["own"] == b"uploaded"


async def test_moved_inodes_are_recognized_by_content(place: Place) -> None:
    """After a restore files have other inodes: they are still those of the last upload."""
    await place.sync({"a": b"1", "b": b"2"}, "a", "b")
    for name in "ab":
        content = (place.root / name).read_bytes()
        (place.root / name).unlink()
        (place.root / name).write_bytes(content)
    assert (await place.compare({"a": b"1", "b": b"2"}))["unchanged"]
    await place.sync({"a": b"1"})
    assert place.tree() == {"a": b"1"}


def broken(how: str) -> bytes:
    good = upload({"a": b"hello", "b": b"world"}, "a", "b")
    return {
        "cut short": good[:-1],
        "too long": good + b"x",
        "another content": good.replace(b"world", b"wOrld"),
        "no end": good.partition(b"\n\n")[0] + b"\n",
        "not a manifest": b"{}\n\n",
        "a long line": b"x" * 70_000,
        "a content twice": upload({"a": b"1", "b": b"1"}, "a", "b"),
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "cut short", "too long", "another content", "no end", "not a manifest", "a long line",
        "a content twice",
    ],
)  # fmt: skip
async def test_broken_upload_changes_nothing(place: Place, how: str) -> None:
    """An upload that is not exactly its manifest and contents is refused as a whole."""
    await place.sync({"a": b"before"}, "a")
    assert refusal(await place.send("sync", broken(how))) == (400, "argument.invalid")
    assert place.tree() == {"a": b"before"}
    spool = place.gateway.data / "spool"
    assert list(spool.iterdir()) == []


async def test_missing_content_is_a_conflict(place: Place) -> None:
    """A client compares again: the project may have changed since."""
    await place.sync({"a": b"before"}, "a")
    answer = await place.sync({"a": b"before", "b": b"lacks"})
    assert refusal(answer) == (409, "state.conflict")
    assert place.tree() == {"a": b"before"}
    assert refusal(await place.send("sync", b"{}", "application/json")) == (415, "request.media")


async def test_linked_project_is_left_alone(shared: Gateway, tmp_path: Path) -> None:
    """A folder of a user's own is never replaced."""
    (tmp_path / "a").write_text("mine")
    project = await shared.project(tmp_path, f"linked {tmp_path.name}")
    place = Place(shared, project, tmp_path)
    for verb in ("compare", "sync"):
        assert refusal(await place.send(verb, upload({}))) == (409, "state.conflict")
    assert (tmp_path / "a").read_text() == "mine"
    await shared.delete(project)


async def test_interrupted_upload_leaves_nothing(place: Place) -> None:
    """A client that disconnects in the middle leaves neither files nor a changed project."""
    await place.sync({"a": b"before"}, "a")
    body = upload({"a": bytes(5_000_000)}, "a")
    head = (
        f"PUT /api/v2{place.project}/files:sync HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {(place.gateway.data / 'admin.key').read_text().strip()}\r\n"
        f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    spool = place.gateway.data / "spool"
    with socket.create_connection(("127.0.0.1", place.gateway.port)) as client:
        client.sendall(head.encode() + body[:3_000_000])
        await until(_entries_of(spool), lambda found: bool(found))
    await until(_entries_of(spool), lambda found: not found)
    assert place.tree() == {"a": b"before"}


def _entries_of(folder: Path) -> Any:
    async def look() -> list[Path]:
        return [each for path in folder.iterdir() for each in (path, *path.rglob("*"))]

    return look


async def test_two_uploads_at_once_give_one_of_them(place: Place) -> None:
    """Never a mixture of two."""
    versions: list[Files] = [{f"f{n}": b"%d" % version for n in range(40)} for version in range(6)]

    async def send(files: Files) -> None:
        answer = await place.sync(files, "f0")
        assert answer.status_code == 200, answer.text

    await send(dict(versions[0]))
    async with trio.open_nursery() as nursery:
        for version in versions:
            nursery.start_soon(send, dict(version))
    assert place.tree() in versions


async def test_upload_is_bounded(tmp_path: Path) -> None:
    """By `max_upload_size`, and by what the project may keep on the disk."""
    settings = settings_for(tmp_path / "data", max_upload_size=100_000, project_disk=960_000)
    async with running(settings) as gateway:
        made = await gateway.post("/projects", {"name": "small", "template": "local"})
        place = Place(gateway, f"/projects/{made['id']}", Path(made["path"]))
        answer = await place.sync({"a": bytes(200_000)}, "a")
        assert refusal(answer) == (413, "request.toolarge")
        for number in range(10):
            files: Files = {f"a{n}": bytes([n]) * 90_000 for n in range(number + 1)}
            assert (await place.sync(files, f"a{number}")).status_code == 200
        answer = await place.sync({**files, "b": bytes([99]) * 95_000}, "b")
        assert refusal(answer) == (507, "project.full")
        assert (await place.sync({"a0": bytes(90_000)})).status_code == 200
        await gateway.delete(f"/projects/{made['id']}")
        assert not list((tmp_path / "data" / "uploads").iterdir())
