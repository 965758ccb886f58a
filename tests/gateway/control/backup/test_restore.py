"""A hostile or damaged backup writes nothing but its own files beneath the new data folder."""

import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import connect
from typing import Literal

import msgspec
import pytest
import trio

import store
from builder import SEAL, Manifest
from gateway.control.backup import archive
from gateway.control.backup.archive import ArchiveDamaged, Writer, read_archive, writing
from gateway.control.backup.archive_members import HEAD, ArchiveMember, Head
from gateway.control.backup.create import machine
from gateway.control.backup.extract import Extraction
from gateway.control.backup.layout import check_place, check_store_config, kinds_at
from gateway.control.backup.restore import restore
from gateway.control.backup.restore_folder import RestoreRefused
from gateway.control.backup.tar_reader import BLOCK
from tests.support.folders import NewFolder

ID = "0190a1b2-0000-7000-8000-000000000001"
Adds = Callable[[Writer], object]


@pytest.fixture(scope="module")
def database(new_folder: NewFolder) -> bytes:
    """An empty database of a gateway."""

    async def make() -> bytes:
        copy = folder / "copy"
        copy.touch()
        async with store.open_database(folder / "predictd.db") as database:
            await database.read_separately(store.database_copy.write, copy)
        return copy.read_bytes()

    folder = new_folder("database")
    return trio.run(make)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder that nothing may touch."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "kept").write_text("kept")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["kept"]
    assert (folder / "kept").read_text() == "kept"


def link(name: str, target: str | Path) -> Adds:
    return lambda writer: writer._put(ArchiveMember(name, "link", 0o777, 0, str(target)), 0)


def a_folder(name: str, mode: int = 0o755) -> Adds:
    return lambda writer: writer._put(ArchiveMember(name, "folder", mode, 0, ""), 0)


def file(name: str, data: bytes = b"evil", mode: int = 0o644) -> Adds:
    return lambda writer: writer.add_bytes(name, data, mode)


def same(name: str, target: str) -> Adds:
    return lambda writer: writer._put(ArchiveMember(name, "same", 0o644, 0, target), 0)


def made(path: Path, database: bytes, *adds: Adds, root: str = "/data") -> Path:
    """A backup that is whole: what is wrong with it is what is in it."""
    head = Head(created_at="then", predictd="1", root=root, machine=machine())
    with path.open("wb") as sink, writing(sink, head, io.BytesIO()) as writer:
        writer.add_bytes("predictd.db", database)
        for name in ("admin.key", "secret.key"):
            writer.add_bytes(name, b"ab" * 32)
        for add in adds:
            add(writer)
    return path


async def refused(backup: Path, target: Path) -> str:
    with pytest.raises(ArchiveDamaged) as caught:
        await restore(backup, target)
    assert not target.exists()
    return str(caught.value)


PLACES = [
    "builds",
    "projects",
    "snapshots",
    "logs",
    "experiments",
    "replicas",
    "predictd.db-wal",
    "lock",
    "gateway.json",
    f"builds/{ID}",
    f"builds/{ID}/code",
    f"environments/{ID}/environment",
    f"builds/{ID}/{SEAL}",
    f"projects/{ID}",
    f"snapshots/{ID}.git",
    f"snapshots/{ID}.git/objects",
    f"snapshots/{ID}.git/objects/ab",
    f"logs/builds/{ID}.log",
    f"experiments/{ID}/outputs",
    f"experiments/{ID}/outputs/model.pkl",
]


@pytest.mark.parametrize("place", PLACES)
async def test_our_own_layout_has_no_links(
    tmp_path: Path, database: bytes, target: Path, outside: Path, place: str
) -> None:
    """A link at a place of ours is refused, with or without something beneath it."""
    alone = made(tmp_path / "alone.tar", database, link(place, outside))
    assert place in await refused(alone, target)
    beneath = made(tmp_path / "beneath.tar", database, link(place, outside), file(f"{place}/x"))
    assert place in await refused(beneath, target)


@pytest.mark.parametrize("name", ["predictd.db", "admin.key", "secret.key"])
async def test_keys_and_database_are_files_that_come_once(
    tmp_path: Path, database: bytes, target: Path, outside: Path, name: str
) -> None:
    """A second one, a link or a folder of that name is refused."""
    for number, add in enumerate((file(name), link(name, outside / "kept"), a_folder(name))):
        assert name in await refused(made(tmp_path / f"{number}.tar", database, add), target)


@pytest.mark.parametrize(
    "name",
    [
        "hooks/post-update",
        "objects/info/alternates",
        "commondir",
        "info/attributes",
        "worktrees/x/gitdir",
    ],
)
async def test_a_store_of_snapshots_has_only_what_we_made(
    tmp_path: Path, database: bytes, target: Path, name: str
) -> None:
    """No hooks, no other stores, no settings that run something."""
    backup = made(tmp_path / "b.tar", database, file(f"snapshots/{ID}.git/{name}"))
    assert name in await refused(backup, target)


def test_settings_of_a_store() -> None:
    """Those that git makes for us are taken, all others refused."""
    ours = b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
    check_store_config("config", ours)
    check_store_config("config", ours + b"[extensions]\n\tobjectformat = sha256\n")
    for more in (b"\tfsmonitor = touch /evil\n", b"[include]\n\tpath = /x\n", b"[core]x = 1\n"):
        with pytest.raises(ValueError, match="settings"):
            check_store_config("config", ours + more)


@pytest.mark.parametrize(
    "names",
    [
        [f"projects/{ID}/a", f"projects/{ID}/a"],
        [f"projects/{ID}/a", f"projects/{ID}/a/b"],
        [f"logs/builds/{ID}.log", f"logs/builds/{ID}.log"],
    ],
)
async def test_names_that_come_twice(
    tmp_path: Path, database: bytes, target: Path, names: list[str]
) -> None:
    """A name that comes twice, or lies beneath a file, is refused, and nothing is left."""
    backup = made(tmp_path / "b.tar", database, *map(file, names))
    assert "comes twice, or beneath" in await refused(backup, target)


@pytest.mark.parametrize("first", [True, False])
async def test_what_lies_beneath_a_link(
    tmp_path: Path, database: bytes, target: Path, outside: Path, first: bool
) -> None:
    """Where links are legal, what is said to lie beneath one is refused, whichever comes first,
    and so is a link beneath a link."""
    name = f"projects/{ID}/link"
    for number, beneath in enumerate((file(f"{name}/x"), link(f"{name}/x", "y"))):
        adds = [link(name, outside), beneath]
        backup = made(tmp_path / f"{number}.tar", database, *(adds if first else adds[::-1]))
        assert "comes twice, or beneath" in await refused(backup, target)


async def test_names_that_the_file_system_takes_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file system folds case or forms of Unicode, the second name is in the way of the
    first and not taken for it."""
    (tmp_path / "root" / "projects" / ID).mkdir(parents=True)
    placing = Extraction(tmp_path / "root")
    with closing(placing):
        put = ArchiveMember(f"projects/{ID}/Name", "file", 0o644, 1, "")
        placing.put(put, 0, io.BytesIO(b"x"))
        # What such a file system does with "name".
        os.link(*(tmp_path / "root" / "projects" / ID / name for name in ("Name", "name")))
        with pytest.raises(ValueError, match="comes twice"):
            placing.put(msgspec.structs.replace(put, name=f"projects/{ID}/name"), 0, io.BytesIO())
        link = ArchiveMember(f"projects/{ID}/name", "link", 0o777, 0, "/etc")
        placing.put(link, 0, None)
        with pytest.raises(ValueError, match="comes twice"):
            placing.finish()


async def test_links_within_a_project_are_put_back(
    tmp_path: Path, database: bytes, target: Path, outside: Path
) -> None:
    """Links of a project's files are made as they were, wherever they lead, and not followed;
    modes let no other user write, and run nothing as us."""
    adds = [
        a_folder(f"projects/{ID}", 0o777),
        a_folder(f"projects/{ID}/sub", 0o2777),
        file(f"projects/{ID}/sub/run", b"x", 0o4777),
        link(f"projects/{ID}/sub/away", outside),
        link(f"projects/{ID}/up", "../../secret.key"),
    ]
    await restore(made(tmp_path / "b.tar", database, *adds), target)
    sub = target / "projects" / ID / "sub"
    assert os.readlink(sub / "away") == str(outside)
    assert os.readlink(sub.parent / "up") == "../../secret.key"
    assert [stat.S_IMODE(p.stat().st_mode) for p in (sub, sub / "run")] == [0o755, 0o755]
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    for name in ("predictd.db", "admin.key", "secret.key"):
        assert stat.S_IMODE((target / name).stat().st_mode) == 0o600


async def test_a_project_of_ours_that_lies_elsewhere(
    tmp_path: Path, database: bytes, target: Path, outside: Path
) -> None:
    """Files of a project that is ours go with it: a database that says they lie elsewhere is
    refused."""
    path = tmp_path / "predictd.db"
    path.write_bytes(database)
    async with store.open_database(path) as opened:
        project = store.Project(
            id=ID, name="x", path=str(outside), linked=False, creator="admin", template="python"
        )
        await opened.write(store.projects.insert, project)
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")
    backup = made(tmp_path / "b.tar", path.read_bytes())
    assert str(outside) in await refused(backup, target)


async def test_the_interpreter_is_one_of_this_machine(
    tmp_path: Path, database: bytes, target: Path
) -> None:
    """What a backup names as a build's interpreter is not run, and its folder not shown, unless it
    was found here; its build is rebuilt."""
    ran, program = tmp_path / "ran", tmp_path / "python3"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    manifest = Manifest(
        commit="x",
        file="x",
        function="x",
        model_root="x",
        script="x",
        home="x",
        interpreter=str(program),
        prefix="/root",
        version="3.11.2",
        started_at="x",
        sealed_at="x",
    )
    seal = file(f"builds/{ID}/{SEAL}", msgspec.json.encode(manifest))
    backup = made(tmp_path / "b.tar", database, seal, root=str(target))
    restored = await restore(backup, target)
    assert (restored.put_back, restored.to_rebuild) == (0, 1)
    assert not ran.exists()
    assert not (target / "builds" / ID).exists()


def raw(path: Path, *infos: tarfile.TarInfo, form: Literal[1, 2] = tarfile.PAX_FORMAT) -> Path:
    """A tar that begins as a backup does and continues with these entries."""
    head = msgspec.json.encode(Head(created_at="x", predictd="1", root="/data", machine="x"))
    with tarfile.open(path, "w", format=form) as tar:
        first = tarfile.TarInfo(HEAD)
        first.size = len(head)
        tar.addfile(first, io.BytesIO(head))
        assert tar.fileobj is not None
        for each in infos:
            tar.fileobj.write(each.tobuf(form))
            tar.fileobj.write(bytes(min(-(-each.size // BLOCK) * BLOCK, 1 << 20)))
    return path


def info(name: str = f"projects/{ID}/x", **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


@pytest.mark.parametrize("place", [*PLACES, f"projects/{ID}/x", "shared/1", "secret.key"])
async def test_only_files_of_sealed_folders_are_the_same_as_shared_ones(
    tmp_path: Path, database: bytes, target: Path, place: str
) -> None:
    """No file of predictd, of a project or of an experiment is a copy of a shared file."""
    backup = made(tmp_path / "b.tar", database, file("shared/0"), same(place, "shared/0"))
    assert place in await refused(backup, target)


OTHERS = [
    "secret.key",
    "/etc/passwd",
    "../outside/kept",
    "shared/../secret.key",
    "shared/00",
    "shared/-1",
    "shared/1/../../secret.key",
    f"environments/{ID}/environment/a",
    "shared/9999999999",
]


@pytest.mark.parametrize("other", OTHERS)
async def test_no_other_file_is_shared(
    tmp_path: Path, database: bytes, target: Path, outside: Path, other: str
) -> None:
    """A file is the same as nothing but a shared file: no secret, nothing outside."""
    backup = made(
        *(tmp_path / "b.tar", database, file("shared/0")),
        *(file(f"environments/{ID}/environment/a"), same(f"environments/{ID}/files/b", other)),
    )
    assert "neither a file, a folder nor a link" in await refused(backup, target)


@pytest.mark.parametrize("number", [1, 999_999_999])
async def test_shared_file_comes_before_what_is_the_same(
    tmp_path: Path, database: bytes, target: Path, number: int
) -> None:
    """One that comes later, or never, is refused before anything is written."""
    name = f"environments/{ID}/files/x"
    added = file("shared/0"), same(name, f"shared/{number}"), file("shared/1")
    assert "is not before it" in await refused(made(tmp_path / "b.tar", database, *added), target)


@pytest.mark.parametrize("name", ["shared/1", "shared/00", "shared/x", "shared", "shared/0/x"])
async def test_shared_files_are_numbered(
    tmp_path: Path, database: bytes, target: Path, name: str
) -> None:
    """Their names are numbers from 0, so no shared file replaces another one."""
    backup = made(tmp_path / "b.tar", database, file(name))
    assert name in await refused(backup, target)
    twice = made(tmp_path / "twice.tar", database, file("shared/0"), file("shared/0"))
    assert "not the next" in await refused(twice, target)


@pytest.mark.parametrize("kind", ["link", "folder"])
async def test_shared_file_is_no_link(
    tmp_path: Path, database: bytes, target: Path, outside: Path, kind: str
) -> None:
    """A link to a file outside is never read as a shared file."""
    made_so = link("shared/0", outside / "kept") if kind == "link" else a_folder("shared/0")
    backup = made(tmp_path / "b.tar", database, made_so, same(f"builds/{ID}/code/x", "shared/0"))
    assert "shared/0" in await refused(backup, target)


async def test_room_is_looked_for_before_shared_files_are_copied(
    tmp_path: Path, database: bytes, target: Path
) -> None:
    """A small backup whose copies would fill the disk is refused, and nothing is written."""
    free = os.statvfs(tmp_path)
    size = 4 * 1024 * 1024
    count = free.f_bavail * free.f_frsize // size + 100
    copies = (same(f"environments/{ID}/files/{n}", "shared/0") for n in range(count))
    backup = made(tmp_path / "b.tar", database, file("shared/0", b"\0" * size), *copies)
    with pytest.raises(RestoreRefused, match="room for"):
        await restore(backup, target)
    assert not target.exists()


async def test_shared_files_are_not_written_for_builds_that_are_not_put_back(
    tmp_path: Path, database: bytes, target: Path
) -> None:
    """Where no build is put back, neither shared files nor their copies are written."""
    name = f"environments/{ID}/files/x"
    added = file("shared/0"), same(name, "shared/0"), file(f"projects/{ID}/kept")
    await restore(made(tmp_path / "b.tar", database, *added), target)
    assert (target / f"projects/{ID}/kept").read_bytes() == b"evil"
    assert not (target / "shared").exists()
    assert not (target / name).exists()


def test_restored_files_are_copies_of_the_shared_one(target: Path) -> None:
    """Each is a file of its own, with its own mode: projects must not have one in common."""
    names = [f"environments/{ID}/files/{name}" for name in "ab"]
    target.mkdir()
    with closing(Extraction(target)) as placing:
        shared = ArchiveMember("shared/0", "file", 0o600, 4, "")
        placing.put(shared, 5, io.BytesIO(b"same"))
        for mode, name in zip((0o644, 0o755), names, strict=True):
            placing.put(ArchiveMember(name, "same", mode, 0, "shared/0"), 7, None)
        placing.finish()
    for mode, name in zip((0o644, 0o755), names, strict=True):
        facts = (target / name).stat()
        assert (target / name).read_bytes() == b"same"
        assert (stat.S_IMODE(facts.st_mode), facts.st_mtime, facts.st_nlink) == (mode, 7, 1)


KINDS = [
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.CONTTYPE,
    tarfile.GNUTYPE_SPARSE,
    b"V",
]


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_are_refused(tmp_path: Path, kind: bytes) -> None:
    """Hard links, devices, pipes, sparse files and unknown kinds are refused in a backup."""
    path = raw(tmp_path / "b.tar", info(type=kind, linkname="/etc/passwd"))
    with pytest.raises(ArchiveDamaged, match="neither a file, a folder nor a link"):
        read_archive(path)


NAMES = [
    "/etc/passwd",
    "../x",
    "projects/../../x",
    "./projects",
    "projects//x",
    "projects/./x",
    ".",
    "x" * 256,
    "x/" * 2047 + "xxx",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_the_one_way_to_say_it(tmp_path: Path, name: str) -> None:
    """A name that leads out, or could be written otherwise, or is longer than a name can be."""
    with pytest.raises(ArchiveDamaged, match=r"leads out|is no path"):
        read_archive(raw(tmp_path / "b.tar", info(name)))


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"},
        {"GNU.sparse.size": "9" * 18},
        {"mtime": "1e400"},
        {"comment": "x" * 100},
        {"path": "x" * 20_000},
        {"size": "-1"},
        {"size": "9" * 30},
    ],
)
def test_extended_headers_say_names_and_sizes(tmp_path: Path, headers: dict[str, str]) -> None:
    """And nothing else, in no more bytes than that takes."""
    with pytest.raises(ArchiveDamaged, match="extended header"):
        read_archive(raw(tmp_path / "b.tar", info(pax_headers=headers)))


def test_headers_for_all_that_follows_and_old_long_names(tmp_path: Path) -> None:
    """They are refused before what they hold is read."""
    long = info(f"projects/{ID}/" + "x" * 200)
    with pytest.raises(ArchiveDamaged, match="neither"):
        read_archive(raw(tmp_path / "gnu.tar", long, form=tarfile.GNU_FORMAT))
    with pytest.raises(ArchiveDamaged, match="neither"):
        read_archive(raw(tmp_path / "g.tar", info(type=tarfile.XGLTYPE, size=10)))
    chain = [info(type=tarfile.XHDTYPE, size=1) for _ in range(10_000)]
    with pytest.raises(ArchiveDamaged):
        read_archive(raw(tmp_path / "chain.tar", *chain))


@pytest.mark.parametrize("size", [1 << 40, 0o77777777777])
async def test_a_size_that_is_not_there(tmp_path: Path, size: int, target: Path) -> None:
    """A header that claims more than follows takes no memory and is told as cut short."""
    for name in ("predictd.db", "secret.key", f"builds/{ID}/{SEAL}", f"projects/{ID}/x"):
        backup = raw(tmp_path / "b.tar", info(name, size=size))
        with backup.open("r+b") as opened:
            opened.truncate(backup.stat().st_size // BLOCK * BLOCK)
        told = await refused(backup, target)
        assert "cut short" in told or "is larger than" in told


def test_the_number_of_entries_has_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: bytes
) -> None:
    """On both sides: what could not be read back is not written."""
    backup = made(tmp_path / "b.tar", database, *(file(f"projects/{ID}/{n}") for n in range(9)))
    monkeypatch.setattr(archive, "MOST_ENTRIES", 8)
    with pytest.raises(ArchiveDamaged, match="more than 8 entries"):
        read_archive(backup)
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(9):
        (tree / str(number)).touch()
    with pytest.raises(OSError, match="at most 8 entries"):
        made(tmp_path / "c.tar", database, lambda writer: writer.add_tree(f"projects/{ID}", tree))
    with pytest.raises(ArchiveDamaged, match="was given up: a backup has at most 8"):
        read_archive(tmp_path / "c.tar")


def test_what_could_not_be_restored_is_left_out_of_a_backup(tmp_path: Path) -> None:
    """A link at a place of ours is named as left out, and the backup is whole."""
    tree = tmp_path / "tree"
    (tree / "code").mkdir(parents=True)
    (tree / "code" / "link").symlink_to("x")
    (tree / "link").symlink_to("/etc")
    head = Head(created_at="then", predictd="1", root="/data", machine="x")
    with (
        (tmp_path / "b.tar").open("wb") as sink,
        writing(sink, head, io.BytesIO(), check_place) as writer,
    ):
        writer.add_tree(f"builds/{ID}", tree)
    outline = read_archive(tmp_path / "b.tar")
    assert outline.entries == 4
    assert outline.left_out == [f"builds/{ID}/link is a link, and in a backup there is none there"]


def test_the_layout() -> None:
    """Only what a project brought along may have links."""
    with_links = [
        f"projects/{ID}/x",
        f"builds/{ID}/code/x",
        f"environments/{ID}/environment/bin/python",
    ]
    assert all("link" in kinds_at(name) for name in with_links)
    assert not any("link" in kinds_at(name) for name in PLACES)
    for name in ("predictd.DB", f"projects/{ID.upper()}/x", f"builds/{ID}x", f"projects/{ID}\n"):
        assert not kinds_at(name), name


async def test_room_is_looked_for_before(
    tmp_path: Path, database: bytes, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the bytes, and for the number of entries."""
    backup = made(tmp_path / "b.tar", database)
    real = os.statvfs(tmp_path)

    class Full:
        f_bavail, f_frsize, f_files, f_favail = real.f_bavail, real.f_frsize, 1000, 2

    monkeypatch.setattr(os, "statvfs", lambda _: Full)
    with pytest.raises(RestoreRefused, match="room for"):
        await restore(backup, target)
