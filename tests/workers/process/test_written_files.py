"""Files that a script wrote: found by what differs from its build, kept within bounds."""

import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from workers import Keep
from workers.process.written_files import keep_written

MIB = 1 << 20


class Run:
    """A build's code, a working copy of it, and the folder for what is kept."""

    def __init__(self, folder: Path) -> None:
        self.code, self.copy, self.kept = (folder / name for name in ("code", "copy", "kept"))
        self.code.mkdir()
        self.kept.mkdir()
        (self.code / "old.txt").write_text("old")
        (self.code / "same.txt").write_text("same")
        (self.code / "data").mkdir()
        (self.code / "link").symlink_to("old.txt")
        shutil.copytree(self.code, self.copy, symlinks=True)

    def keep(self, **more: Any) -> list[str]:
        asked = {"patterns": ("*",), "most_files": 10, "most_bytes": MIB, **more}
        return keep_written(self.code, self.copy, Keep(folder=self.kept, **asked))

    def names(self) -> list[str]:
        files = (each for each in self.kept.rglob("*") if not each.is_dir())
        return sorted(str(each.relative_to(self.kept)) for each in files)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_new_and_changed_files_are_kept(run: Run) -> None:
    """A file that was only touched, or written with the same bytes, has not changed."""
    (run.copy / "old.txt").write_text("new")
    (run.copy / "same.txt").write_text("same")
    (run.copy / "data" / "deep").mkdir()
    (run.copy / "data" / "deep" / "model.pkl").write_bytes(b"x" * 2000)
    (run.copy / "data" / "__pycache__").mkdir()
    (run.copy / "data" / "__pycache__" / "a.pyc").write_text("")
    (run.copy / "venv").mkdir()
    (run.copy / "venv" / "pyvenv.cfg").write_text("")
    lines = run.keep(left_out=frozenset({"__pycache__"}))
    assert run.names() == ["data/deep/model.pkl", "old.txt"]
    assert (run.kept / "old.txt").read_text() == "new"
    assert (run.kept / "old.txt").stat().st_mode & 0o777 == 0o600
    assert len(lines) == 1
    assert lines[0].startswith("[predictd] kept 2 new or changed files, ")
    assert "data/deep/model.pkl (" in lines[0]


def test_nothing_written_says_nothing(run: Run) -> None:
    """The log has no line about no files."""
    assert run.keep() == []


def test_what_is_no_plain_file_of_its_own_is_not_kept(run: Run, tmp_path: Path) -> None:
    """Links could lead elsewhere, a pipe would be waited for, and a hard link is another's file."""
    outside = tmp_path / "outside"
    outside.write_text("theirs")
    (run.copy / "a-link").symlink_to(outside)
    (run.copy / "a-folder").symlink_to(tmp_path)
    os.mkfifo(run.copy / "pipe")
    os.link(outside, run.copy / "hard")
    (run.copy / "old.txt").unlink()
    (run.copy / "old.txt").symlink_to(outside)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(run.copy / "socket"))
    mode = outside.stat().st_mode
    lines = run.keep()
    assert run.names() == []
    assert (outside.read_text(), outside.stat().st_mode) == ("theirs", mode)
    assert any("not kept, 5 new or changed files" in line for line in lines)
    assert any("(it has another hard link): hard (" in line for line in lines)


def test_huge_sparse_file_is_not_kept(run: Run) -> None:
    """It counts by what a reader would get, not by its blocks."""
    with (run.copy / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    (run.copy / "z").write_text("fits")
    lines = run.keep()
    assert run.names() == ["z"]
    assert any("more than 1 MiB" in line and "sparse" in line for line in lines), lines


def test_bounds_in_number_and_size(run: Run) -> None:
    """What is beyond a bound is named and left; the list of names is bounded."""
    for number in range(30):
        (run.copy / f"f{number:02}").write_text("x")
    lines = run.keep(most_files=3)
    assert run.names() == ["f00", "f01", "f02"]
    assert "not kept, 27 new or changed files" in lines[1]
    assert "and 17 more" in lines[1]
    assert run.keep(most_files=0)[0].startswith("[predictd] not kept, 27")


def test_patterns_choose(run: Run) -> None:
    """A pattern without a slash is for names, one with a slash for paths."""
    (run.copy / "data" / "a.pkl").write_text("")
    (run.copy / "data" / "b.txt").write_text("")
    (run.copy / "b.txt").write_text("")
    run.keep(patterns=("*.pkl", "data/b*"))
    assert run.names() == ["data/a.pkl", "data/b.txt"]


def test_tracked_file_is_not_replaced(run: Run) -> None:
    """What the script saved itself wins over a file of the same name."""
    (run.kept / "model.pkl").write_text("tracked")
    (run.copy / "model.pkl").write_text("written")
    assert "tracked a file of this name" in run.keep()[0]
    assert (run.kept / "model.pkl").read_text() == "tracked"


def test_odd_names_stay_on_one_line(run: Run) -> None:
    """A name cannot write lines of the log of its own, nor control a terminal."""
    (run.copy / "a\nb\x1b[2J").write_text("")
    (run.copy / os.fsdecode(b"caf\xe9")).write_text("")
    [line] = run.keep()
    assert "\n" not in line
    assert "\x1b" not in line
    assert "caf\\xe9" in line


def test_folder_that_cannot_be_read(run: Run) -> None:
    """A script may have removed its own permissions."""
    (run.copy / "closed").mkdir()
    (run.copy / "closed" / "file").write_text("x")
    (run.copy / "closed").chmod(0)
    run.keep()
    assert run.names() == ["closed/file"]
