"""Only what is sealed and wanted stands on the shelf."""

import os
import stat
import struct
from pathlib import Path

import msgspec
import pytest

from builder.build_store import BuildStore, Manifest
from builder.errors import ScriptFailed
from builder.files.remove_tree import remove_tree
from builder.reuse.environment_store import EnvironmentStore
from builder.sealed_folders import seal, take_over, take_ownership
from tests.faults.matrix import fault
from tests.support.skipping import not_here

MANIFEST = Manifest(
    commit="c" * 40,
    file="model.py",
    function="predict",
    model_root="",
    script="cdsw-build.sh",
    interpreter="/usr/bin/python3.11",
    prefix="/usr",
    home="/home/cdsw",
    version="3.11.2",
    started_at="2026-11-21T02:35:00.123456Z",
    sealed_at="2026-11-21T02:36:00.123456Z",
)


@pytest.fixture
def shelf(tmp_path: Path) -> BuildStore:
    return BuildStore(tmp_path / "builds", EnvironmentStore(tmp_path / "environments"))


def half(shelf: BuildStore, name: str) -> Path:
    folder = shelf.folder(name)
    (folder / "code").mkdir(parents=True)
    (folder / "code/model.py").write_text("half")
    return folder


def test_environment_of_r_needs_its_r(shelf: BuildStore, tmp_path: Path) -> None:
    """An environment whose Python or R was removed has to be made again."""
    python, rscript = tmp_path / "python3", tmp_path / "Rscript"
    programs = shelf.environments.virtualenv("one") / "bin"
    programs.mkdir(parents=True)
    for program, name in ((python, "python"), (rscript, "Rscript")):
        program.touch(0o755)
        (programs / name).symlink_to(program)
    assert shelf.environments.has_interpreter("one")
    rscript.unlink()
    assert not shelf.environments.has_interpreter("one")
    (programs / "Rscript").unlink()
    assert shelf.environments.has_interpreter("one")
    python.unlink()
    assert not shelf.environments.has_interpreter("one")


async def test_build_is_sealed_once(shelf: BuildStore) -> None:
    """A build is sealed with its manifest, once."""
    folder = half(shelf, "one")
    assert shelf.sealed("one") is None
    await seal(folder, MANIFEST)
    assert shelf.sealed("one") == MANIFEST
    with pytest.raises(FileExistsError):
        await seal(folder, MANIFEST)


def _access_list(refused: int) -> bytes:
    """What `setfacl -m u:REFUSED:-` sets on a file of mode 644."""
    everyone = 0xFFFFFFFF
    entries = ((1, 6, everyone), (2, 0, refused), (4, 4, everyone), (16, 4, everyone))
    packed = [struct.pack("<HHI", *each) for each in (*entries, (32, 4, everyone))]
    return struct.pack("<I", 2) + b"".join(packed)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root takes the files of another user")
def test_access_lists_of_scripts_are_removed(tmp_path: Path) -> None:
    """A file that a script has made unreadable for one user is readable for all: projects share
    it."""
    folder = tmp_path / "environment"
    (folder / "inner").mkdir(parents=True)
    shared = folder / "inner/module.py"
    shared.write_text("VERSION = 1")
    try:
        for path, kind in ((shared, "access"), (folder / "inner", "default")):
            os.setxattr(path, f"system.posix_acl_{kind}", _access_list(12345))
        os.setxattr(shared, "user.note", b"x")
    except OSError as error:
        not_here(f"the file system has no access lists: {error.strerror}")
    take_ownership(folder)
    assert [os.listxattr(path) for path in (shared, folder / "inner")] == [[], []]
    assert stat.S_IMODE(shared.stat().st_mode) == 0o644


def test_files_with_outside_hard_links_are_refused(shelf: BuildStore, tmp_path: Path) -> None:
    """A file that has a second name elsewhere, where later builds may write, is not sealed. Second
    names within a build and its environment are fine."""
    code, environment = half(shelf, "one") / "code", tmp_path / "environment"
    environment.mkdir()
    os.link(code / "model.py", environment / "again.py")
    os.link(code / "model.py", tmp_path / "cached")
    with pytest.raises(ScriptFailed, match="hard link"):
        take_over(environment, code)
    (tmp_path / "cached").unlink()
    take_over(environment, code)


TORN = msgspec.json.encode(MANIFEST)[:-5]
CONTENTS = {
    "torn": TORN,
    "empty": b"",
    "not UTF-8": TORN[:-5] + b'\xff"}',
    "deep": b'{"x":' + b"[" * 50_000,
    "large": bytes(100_000),
}
LINKS = {"nowhere": "nowhere", "itself": "sealed", "a device": "/proc/self/mem"}


def damage(seal: Path, how: str) -> None:
    if how in CONTENTS:
        seal.write_bytes(CONTENTS[how])
        return
    seal.unlink()
    if how == "folder":
        seal.mkdir()
    elif how == "pipe":
        os.mkfifo(seal)
    else:
        seal.symlink_to(LINKS[how])


@fault(
    "a damaged seal",
    injection="torn, empty, garbage, large, deep, a folder, a pipe, a link, a device",
    bound="the build is not served and not removed",
)
@pytest.mark.parametrize("how", [*CONTENTS, *LINKS, "folder", "pipe"])
async def test_damaged_seal_is_reported(shelf: BuildStore, how: str) -> None:
    """A build with a seal that cannot be read is not whole, and its damage is told."""
    folder = half(shelf, "one")
    await seal(folder, MANIFEST)
    assert shelf.damage("one") == ""
    damage(folder / "sealed", how)
    assert (shelf.sealed("one"), shelf.prefix("one")) == (None, None)
    assert shelf.damage("one")
    await shelf.remove("one")
    assert not folder.exists()


@pytest.mark.parametrize("kind", ["file", "pipe", "link"])
def test_build_that_is_no_folder_is_damage(shelf: BuildStore, kind: str) -> None:
    """Another kind of file in the place of a build's folder is damage."""
    shelf.root.mkdir()
    match kind:
        case "file":
            shelf.folder("one").touch()
        case "pipe":
            os.mkfifo(shelf.folder("one"))
        case _:
            shelf.folder("one").symlink_to("nowhere")
    assert shelf.sealed("one") is None
    assert shelf.damage("one")


async def test_kill_leaves_no_torn_seal(shelf: BuildStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seal has its name only when its bytes are on the disk."""
    folder = half(shelf, "one")

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        await seal(folder, MANIFEST)
    assert shelf.damage("one") == ""
    assert shelf.sealed("one") is None


async def test_names(shelf: BuildStore) -> None:
    """All builds are listed, sealed or not; a store that was never used is empty."""
    assert shelf.names() == []
    for name in ("half", "kept"):
        half(shelf, name)
    await seal(shelf.folder("kept"), MANIFEST)
    (shelf.root / "stray").write_text("")
    assert shelf.names() == ["half", "kept", "stray"]


async def test_removed_build_is_deleted_whole(shelf: BuildStore, tmp_path: Path) -> None:
    """A build is deleted with all its files, and nothing that its links lead to; a second removal
    is accepted."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("")
    folder = half(shelf, "one")
    (folder / "code/link").symlink_to(outside)
    (folder / "code/closed/inner").mkdir(parents=True)
    (folder / "code/closed").chmod(0o000)
    (folder / "code").chmod(0o500)
    await shelf.remove("one")
    await shelf.remove("one")
    assert not folder.exists()
    assert (outside / "precious").exists()


async def test_deep_build_can_be_removed(shelf: BuildStore) -> None:
    """Folders nested by the thousand are not sealed, and can be removed."""
    folder = half(shelf, "one")
    here = os.open(folder / "code", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(ScriptFailed, match="too deep"):
        take_over(folder / "code")
    await shelf.remove("one")
    assert not folder.exists()


async def test_failed_removal_names_what_stays(shelf: BuildStore) -> None:
    """A removal that fails raises, with what stays."""
    with pytest.raises(OSError, match="proc"):
        remove_tree(Path("/proc/self/task"))


async def test_seal_is_removed_first(shelf: BuildStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal that is interrupted leaves a build without its seal."""
    folder = half(shelf, "one")
    await seal(folder, MANIFEST)

    def interrupted(_: Path) -> None:
        raise OSError("no more")

    monkeypatch.setattr("builder.sealed_folders.remove_tree", interrupted)
    with pytest.raises(OSError, match="no more"):
        await shelf.remove("one")
    assert shelf.sealed("one") is None
