"""What others made of a folder is measured and removed, and nothing else is touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers import folders
from workers.folders import measure, open_folder
from workers.limits import MIB


def dig(folder: Path, depth: int) -> None:
    """Folders in each other, deeper than any path leads."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def test_what_a_folder_takes(tmp_path: Path) -> None:
    """Blocks count, not lengths; each name counts something; links lead nowhere."""
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


def test_a_folder_too_deep_to_be_measured(tmp_path: Path) -> None:
    """Who hides files deeper than anybody would has too many; no descriptor is kept."""
    before = os.listdir("/proc/self/fd")
    dig(tmp_path, 150)
    assert measure(tmp_path, enough=10 * MIB) == 150 * 4096
    (tmp_path / "more").mkdir()
    dig(tmp_path / "more", 3000)
    assert measure(tmp_path, enough=10 * MIB) > 10 * MIB
    assert measure(tmp_path) > 0
    assert os.listdir("/proc/self/fd") == before
    folders.remove(tmp_path / "more")


def test_a_link_in_the_place_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that becomes a link while one walks leads nowhere: neither what is looked at in it,
    nor what is removed."""
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

    monkeypatch.setattr(folders, "open_folder", swapping)
    walked = "measured"
    assert measure(tmp_path / walked) < MIB
    walked = "removed"
    folders.remove(tmp_path / walked)
    assert (outside / "big").exists()
    with pytest.raises(NotADirectoryError):
        open_folder(str(tmp_path / "measured" / "middle"))


def test_depth_keeps_no_folder(tmp_path: Path) -> None:
    """Folders by the thousand are removed, with few descriptors and no error."""
    dig(tmp_path, 3000)
    (tmp_path / "d" / "d" / "file").touch()
    (tmp_path / "d" / "pipe").mkdir()
    before = os.listdir("/proc/self/fd")
    folders.remove(tmp_path)
    assert not tmp_path.exists()
    assert os.listdir("/proc/self/fd") == before


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    """remove can be called for what was never made."""
    folders.remove(tmp_path / "nothing")


REMOVE = """
import os, sys
from pathlib import Path
from workers import folders
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
assert folders.measure(folder) == 5 * 4096 + 4096
folder.chmod(0)
folders.remove(folder)
"""


def test_no_permission_keeps_a_folder(tmp_path: Path) -> None:
    """Folders that a model closed are opened and removed; where its links lead is left alone."""
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
