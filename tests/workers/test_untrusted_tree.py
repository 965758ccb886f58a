"""What others made of a folder is measured and removed, and nothing else is touched."""

import itertools
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from tests.faults.matrix import fault
from workers import untrusted_tree
from workers.sizes import MIB
from workers.untrusted_tree import measure, open_folder


def dig(folder: Path, depth: int) -> None:
    """Folders in each other, deeper than any path leads."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def test_size_of_a_folder_counts_blocks_and_names(tmp_path: Path) -> None:
    """Blocks count, not lengths; each name counts something; links are not followed."""
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/b").write_bytes(b"x" * 50_000)
    (tmp_path / "link").symlink_to("/usr")
    with open(tmp_path / "sparse", "wb") as sparse:
        sparse.truncate(1 << 30)
    assert 150_000 <= measure(tmp_path) <= 200_000
    for number in range(100):
        (tmp_path / f"empty{number}").touch()
    assert measure(tmp_path) >= 150_000 + 100 * 4096
    assert measure(tmp_path, enough=1000) > 1000
    assert measure(tmp_path / "nothing") == 0


@fault(
    "folders nested by the thousand",
    injection="2,500 of them",
    bound="measured, given and removed",
)
def test_folders_of_any_depth_are_processed(tmp_path: Path) -> None:
    """Folders nested by the thousand, deeper than any path, are measured, given and removed; few
    descriptors are open meanwhile, and none is kept."""
    before, most = len(os.listdir("/proc/self/fd")), 0
    for branch, depth in (("a", 2500), ("b", 500)):
        (tmp_path / branch).mkdir()
        dig(tmp_path / branch, depth)
    assert measure(tmp_path, enough=50 * MIB) == 3002 * 4096
    assert 10 * MIB < measure(tmp_path, enough=10 * MIB) < 11 * MIB
    found = 0
    for _ in untrusted_tree.entries(tmp_path):
        found += 1
        if found % 400 == 0:
            most = max(most, len(os.listdir("/proc/self/fd")))
    assert found == 3002
    assert most < before + 250
    untrusted_tree.chown_tree(tmp_path, os.geteuid())
    for branch in ("a", "b"):
        untrusted_tree.remove(tmp_path / branch)
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


@fault(
    "folders moved while they are measured",
    injection="300 deep",
    bound="they count as too much",
)
def test_folder_moved_during_a_walk_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is moved while its depths are walked leads nowhere else: it counts as too
    large, and nothing at its new place is given."""
    dig(tmp_path, 300)
    (tmp_path / "elsewhere").mkdir()
    enter, count = untrusted_tree.open_folder, itertools.count()

    def moving(name: str, above: int | None = None) -> int:
        descriptor = enter(name, above)
        if next(count) == 295:
            os.rename(tmp_path / "/".join("d" * 10), tmp_path / "elsewhere" / "d")
        return descriptor

    monkeypatch.setattr(untrusted_tree, "open_folder", moving)
    assert measure(tmp_path, enough=50 * MIB) > 50 * MIB


def test_folder_of_many_files_is_not_listed_in_memory(tmp_path: Path) -> None:
    """A folder with many files is measured and given without a list of them."""
    top = os.open(tmp_path, os.O_RDONLY)
    for number in range(20_000):
        os.close(os.open(f"file{number}", os.O_CREAT | os.O_WRONLY, dir_fd=top))
    os.close(top)
    tracemalloc.start()
    try:
        assert measure(tmp_path) == 20_000 * 4096
        untrusted_tree.chown_tree(tmp_path, os.geteuid())
        assert tracemalloc.get_traced_memory()[1] < MIB // 4
    finally:
        tracemalloc.stop()


def test_folder_replaced_by_a_link_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that becomes a link during a walk is neither measured nor removed through the
    link."""
    outside = tmp_path / "outside" / "inner"
    outside.mkdir(parents=True)
    (outside / "big").write_bytes(b"x" * MIB)
    for name in ("measured", "removed"):
        (tmp_path / name / "middle" / "inner").mkdir(parents=True)
        (tmp_path / name / "middle" / "inner" / "small").write_bytes(b"x")

    def swapping(name: str, above: int | None = None) -> int:
        if name == "inner":
            middle = tmp_path / walked / "middle"
            middle.rename(tmp_path / walked / "moved")
            middle.symlink_to(outside.parent)
        return open_folder(name, above)

    monkeypatch.setattr(untrusted_tree, "open_folder", swapping)
    walked = "measured"
    assert measure(tmp_path / walked) < MIB
    walked = "removed"
    untrusted_tree.remove(tmp_path / walked)
    assert (outside / "big").exists()
    with pytest.raises(NotADirectoryError):
        open_folder(str(tmp_path / "measured" / "middle"))


def test_deep_folders_are_removed(tmp_path: Path) -> None:
    """Folders by the thousand are removed, with few descriptors and no error."""
    dig(tmp_path, 3000)
    (tmp_path / "d" / "d" / "file").touch()
    (tmp_path / "d" / "pipe").mkdir()
    before = os.listdir("/proc/self/fd")
    untrusted_tree.remove(tmp_path)
    assert not tmp_path.exists()
    assert os.listdir("/proc/self/fd") == before


def test_missing_folder_may_be_removed(tmp_path: Path) -> None:
    """remove accepts a folder that was never made."""
    untrusted_tree.remove(tmp_path / "nothing")


REMOVE = """
import os, sys
from pathlib import Path
from workers import untrusted_tree
folder = Path("copy")
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
(folder / "a" / "b").mkdir(parents=True)
(folder / "a" / "b" / "file").write_text("x")
(folder / "a" / "link").symlink_to(sys.argv[1])
(folder / "listed" / "only").mkdir(parents=True)
(folder / "listed").chmod(0o400)
(folder / "a" / "b").chmod(0)
(folder / "a").chmod(0o500)
folder.chmod(0)
assert untrusted_tree.measure(folder) == 5 * 4096 + 4096
folder.chmod(0)
untrusted_tree.remove(folder)
"""


def test_folders_without_permissions_are_removed(tmp_path: Path) -> None:
    """Folders that a model closed are opened and removed; the targets of its links are left
    alone."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work").chmod(0o777)
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o500)
    subprocess.run(
        [sys.executable, "-c", REMOVE, outside],
        check=True,
        cwd=tmp_path / "work",  # relative paths need no permission above
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert not (tmp_path / "work" / "copy").exists()
    assert outside.stat().st_mode & 0o777 == 0o500


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives")
def test_folder_is_given_with_all_in_it(tmp_path: Path) -> None:
    """All files become the new owner's, links themselves and not their targets; a file with a name
    elsewhere keeps its owner."""
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "file").touch()
    outside.touch()
    (folder / "link").symlink_to(outside)
    (folder / "hard").hardlink_to(outside)
    untrusted_tree.chown_tree(folder, 4242)
    owners = {path.name: path.lstat().st_uid for path in (folder, *folder.rglob("*"))}
    assert owners == {"folder": 4242, "in": 4242, "file": 4242, "link": 4242, "hard": 0}
    assert outside.stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives")
@pytest.mark.parametrize("work", ["give", "make_plain"])
def test_folder_swapped_for_a_link_is_not_given(
    work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that becomes a link after it was inspected is not followed."""
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").touch(mode=0o644)
    real = untrusted_tree.open_folder

    def swaps(name: str, above: int | None = None) -> int:
        if name == "in" and not (folder / "in").is_symlink():
            (folder / "in").rename(folder / "away")
            (folder / "in").symlink_to(outside)
        return real(name, above)

    monkeypatch.setattr(untrusted_tree, "open_folder", swaps)
    with pytest.raises(OSError, match="in"):
        untrusted_tree.chown_tree(folder, 4242) if work == "give" else untrusted_tree.make_plain(
            folder
        )
    assert ((outside / "file").stat().st_uid, (outside / "file").stat().st_mode) == (0, 0o100644)


def test_kept_files_are_plain(tmp_path: Path) -> None:
    """Folders and files of any mode are ours alone afterwards; other kinds are removed; too deep is
    an error."""
    (tmp_path / "shut" / "er").mkdir(parents=True)
    (tmp_path / "shut" / "er" / "file").write_text("kept")
    (tmp_path / "shut" / "er" / "file").chmod(0o6777)
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "shut" / "er").chmod(0)
    (tmp_path / "shut").chmod(0)
    untrusted_tree.make_plain(tmp_path)
    modes = {path.name: path.lstat().st_mode & 0o7777 for path in tmp_path.rglob("*")}
    assert modes == {"shut": 0o700, "er": 0o700, "file": 0o600}
    dig(tmp_path, 250)
    with pytest.raises(OSError, match="deep"):
        untrusted_tree.make_plain(tmp_path)
    untrusted_tree.remove(tmp_path / "d")
