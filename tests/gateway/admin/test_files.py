"""/projects/.../files: no path leaves the project."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from tests.support.gateway import Gateway, refusal

LINKS = ("door", "file", "nowhere", "self")


class Place(NamedTuple):
    """A project with files, and a neighbour that must stay untouched."""

    files: str
    root: Path
    outside: Path


@pytest.fixture
async def place(shared: Gateway, tmp_path: Path) -> AsyncIterator[Place]:
    root, outside = tmp_path / "project", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    project = await shared.project(root, f"files {tmp_path}".replace("/", "-"))
    yield Place(f"{project}/files", root, outside)
    assert [(p.name, p.read_text()) for p in outside.iterdir()] == [("secret", "secret")]
    await shared.delete(project)


async def put(gateway: Gateway, place: Place, **files: bytes) -> tuple[int, str]:
    parts = {name.replace("__", "/"): ("x", content) for name, content in files.items()}
    answer = await gateway.admin.put(place.files, files=parts)
    return (200, "") if answer.status_code == 200 else refusal(answer)


async def test_file_uploads_and_downloads(shared: Gateway, place: Place) -> None:
    """Files are uploaded under their field's name, folders and all, listed, read and deleted."""
    big = bytes(range(256)) * 12_000
    assert await put(shared, place, a=b"1", sub__deep__b=big) == (200, "")
    assert (place.root / "sub" / "deep" / "b").read_bytes() == big
    listed = (await shared.get(place.files))["files"]
    assert [(f["path"], f["is_dir"], f["file_size"]) for f in listed if f["path"] == "a"] == [
        ("a", False, "1")
    ]
    assert [f["path"] for f in (await shared.get(f"{place.files}/sub/deep"))["files"]] == [
        "sub/deep/b"
    ]
    assert (await shared.admin.get(f"{place.files}/sub/deep/b:download")).content == big
    await shared.delete(f"{place.files}/sub")
    assert [p.name for p in place.root.iterdir()] == ["a"]


async def test_upload_replaces_file(shared: Gateway, place: Place) -> None:
    """A second upload replaces the first, and leaves nothing beside it."""
    await put(shared, place, a=b"1")
    await put(shared, place, a=b"2")
    assert [(p.name, p.read_bytes()) for p in place.root.iterdir()] == [("a", b"2")]


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "sub/../../x", "..", "a/..", "x" * 300, "x/" * 2100 + "x"]
)
async def test_upload_outside_project_is_refused(shared: Gateway, place: Place, name: str) -> None:
    """A field whose name leads out of the project, or is none, is refused and nothing written."""
    answer = await shared.admin.put(place.files, files={name: ("x", b"1")})
    assert refusal(answer) == (400, "path.refused")
    assert not list(place.root.iterdir())


@pytest.mark.parametrize("path", ["..%2Fsecret", "%2Fetc", "sub%2F..%2F..%2Foutside", "%2e%2e"])
async def test_path_outside_project_is_refused(shared: Gateway, place: Place, path: str) -> None:
    """Nor does a path of the address, however it is written."""
    for method, verb in (("GET", ""), ("GET", ":download"), ("DELETE", "")):
        answer = await shared.admin.request(method, f"{place.files}/{path}{verb}")
        # Two slashes are a redirect to one, which then names a path inside.
        assert answer.status_code in (308, 400, 404)


async def test_link_outside_project_is_not_followed(shared: Gateway, place: Place) -> None:
    """A link out of the project is listed and can be deleted, but never followed."""
    (place.root / "door").symlink_to(place.outside)
    (place.root / "file").symlink_to(place.outside / "secret")
    (place.root / "self").symlink_to("self")
    (place.root / "nowhere").symlink_to("/nowhere/at/all")
    listed = (await shared.get(place.files))["files"]
    assert [(f["path"], f["is_dir"], f["link"], f["file_size"]) for f in listed] == [
        (name, False, text, str(len(text)))
        for name, text in (
            ("door", str(place.outside)),
            ("file", str(place.outside / "secret")),
            ("nowhere", "/nowhere/at/all"),
            ("self", "self"),
        )
    ]
    # What a link leads to makes no difference, so no user learns what the machine has there.
    told = {refusal(await shared.admin.get(f"{place.files}/{name}")) for name in LINKS}
    assert told == {(400, "path.refused")}
    told = {refusal(await shared.admin.get(f"{place.files}/{name}:download")) for name in LINKS}
    assert told == {(404, "file.notfound")}
    assert refusal(await shared.admin.get(f"{place.files}/door")) == (400, "path.refused")
    assert refusal(await shared.admin.get(f"{place.files}/door/secret:download")) == (
        400,
        "path.refused",
    )
    assert refusal(await shared.admin.get(f"{place.files}/file:download")) == (404, "file.notfound")
    assert await put(shared, place, door__new=b"1") == (400, "path.refused")
    assert await put(shared, place, self__new=b"1") == (400, "path.refused")
    assert refusal(await shared.admin.delete(f"{place.files}/door/secret")) == (400, "path.refused")
    assert await put(shared, place, file=b"mine") == (200, "")
    assert not (place.root / "file").is_symlink()
    for name in ("door", "nowhere", "self"):
        await shared.delete(f"{place.files}/{name}")


async def test_path_that_conflicts_is_refused(shared: Gateway, place: Place) -> None:
    """Nothing sent, a folder as a file, a file as a folder, what is not there: each by name."""
    await put(shared, place, sub__a=b"1")
    assert refusal(await shared.admin.put(place.files)) == (400, "argument.invalid")
    assert await put(shared, place, sub=b"1") == (400, "path.refused")
    assert await put(shared, place, sub__a__b=b"1") == (400, "path.refused")
    assert refusal(await shared.admin.get(f"{place.files}/none")) == (404, "file.notfound")
    assert refusal(await shared.admin.get(f"{place.files}/none:download")) == (404, "file.notfound")
    assert refusal(await shared.admin.delete(f"{place.files}/none")) == (404, "file.notfound")
    assert refusal(await shared.admin.delete(f"{place.files}/.")) in (
        (400, "path.refused"),
        (405, "route.method"),
    )
    assert [p.name for p in place.root.iterdir()] == ["sub"]


GIT = (
    *(".git", ".GIT", "sub/.gIt", ".git ", ".git.", "git~1", ".git::$INDEX_ALLOCATION"),
    *(".g\u200cit", "\ufeff.git", "a\\.git"),
)


@pytest.mark.parametrize("name", GIT)
async def test_git_folder_is_hidden(shared: Gateway, place: Place, name: str) -> None:
    """`.git`, in each spelling that git itself protects, is not listed, read, written or deleted,
    however deep."""
    folder = place.root / name
    folder.mkdir(parents=True)
    (folder / "config").write_text("secret")
    (place.root / "sub").mkdir(exist_ok=True)
    for where in ("", "/sub"):
        listed = (await shared.get(f"{place.files}{where}"))["files"]
        assert [f["path"] for f in listed if f["path"] != "sub"] == []
    for path in (name, f"{name}/config", f"sub/{name}/config"):
        address = f"{place.files}/{quote(path)}"
        for asked in (
            shared.admin.get(address),
            shared.admin.get(f"{address}:download"),
            shared.admin.delete(address),
            shared.admin.put(place.files, files={"fine": ("x", b"1"), path: ("x", b"1")}),
        ):
            answer = await asked
            assert refusal(answer) == (400, "path.refused")
            assert "secret" not in answer.text
    assert not (place.root / "fine").exists()
    assert (folder / "config").read_text() == "secret"


@pytest.mark.parametrize("name", [".gitignore", ".github", "git", "x.git", "git~2", ".gitx"])
async def test_names_like_git_are_files(shared: Gateway, place: Place, name: str) -> None:
    """Other names that have git in them are names."""
    assert await put(shared, place, **{name: b"1"}) == (200, "")
    assert (place.root / name).read_bytes() == b"1"


async def test_text_is_read_and_written(shared: Gateway, place: Place) -> None:
    """An editor reads a text with its SHA-256, and writes it back with that."""
    (place.root / "a.py").write_text("x = 'é'\n")
    (place.root / "binary").write_bytes(b"\0\1")
    (place.root / "long").write_text("é" * 100_000)
    read = await shared.get(f"{place.files}/a.py:text")
    assert (read["text"], read["truncated"], read["file_size"]) == ("x = 'é'\n", False, "9")
    assert (await shared.get(f"{place.files}/binary:text"))["text"] is None
    long = await shared.get(f"{place.files}/long:text")
    assert (long["truncated"], long["sha256"], set(long["text"])) == (True, "", {"é"})
    body = {"text": "x = 2\n", "sha256": read["sha256"]}
    answer = await shared.admin.put(f"{place.files}/a.py:text", json=body)
    assert answer.status_code == 200
    assert (place.root / "a.py").read_text() == "x = 2\n"
    assert answer.json()["sha256"] == (await shared.get(f"{place.files}/a.py:text"))["sha256"]


@pytest.mark.parametrize("seen", ["", "0" * 64])
async def test_text_that_was_changed_meanwhile_stays(
    shared: Gateway, place: Place, seen: str
) -> None:
    """A text is not written over one that its editor has not seen, and not where none is left."""
    (place.root / "a.py").write_text("other\n")
    answer = await shared.admin.put(f"{place.files}/a.py:text", json={"text": "", "sha256": seen})
    assert refusal(answer) == (409, "state.conflict")
    assert (place.root / "a.py").read_text() == "other\n"
    answer = await shared.admin.put(f"{place.files}/b.py:text", json={"text": "", "sha256": seen})
    assert answer.status_code == (200 if not seen else 409)


async def test_folder_is_made_and_moved(shared: Gateway, place: Place) -> None:
    """Folders are made, files and folders get another path, and nothing is replaced."""
    await shared.post(f"{place.files}/sub/deep:make_folder")
    (place.root / "a").write_text("a")
    (place.root / "b").write_text("b")
    await shared.post(f"{place.files}/a:move", {"to": "sub/new/a"})
    await shared.post(f"{place.files}/sub:move", {"to": "sup"})
    assert (place.root / "sup" / "new" / "a").read_text() == "a"
    assert (place.root / "sup" / "deep").is_dir()
    for path, to, expected in (
        ("b", "sup/new/a", (409, "name.taken")),
        ("none", "c", (404, "file.notfound")),
        ("sup", "sup/deep/x", (400, "path.refused")),
        ("b", "../outside/b", (400, "path.refused")),
        ("b", ".git/hooks/b", (400, "path.refused")),
    ):
        answer = await shared.admin.post(f"{place.files}/{path}:move", json={"to": to})
        assert refusal(answer) == expected, path
    answer = await shared.admin.post(f"{place.files}/b:make_folder")
    assert refusal(answer) == (409, "name.taken")
    assert (place.root / "b").read_text() == "b"
