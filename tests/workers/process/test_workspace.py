"""A working copy is the build, to be spoilt and thrown away."""

import os
import socket
from pathlib import Path

import pytest

from tests.workers.test_untrusted_tree import dig
from workers import untrusted_tree
from workers.confinement import HOME
from workers.process import workspace


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A small build."""
    code = tmp_path / "build" / "code"
    (code / "data" / "empty").mkdir(parents=True)
    (code / "model.py").write_bytes(b"def predict(args): ...\n")
    (code / "run.sh").write_bytes(b"#!/bin/sh\n")
    (code / "run.sh").chmod(0o755)
    (code / "data" / "big").write_bytes(os.urandom(300_000))
    (code / "link").symlink_to("data/big")
    return code


def test_working_copy_is_equal_to_the_build(code: Path, tmp_path: Path) -> None:
    """Contents, modes, links and empty folders are copied, and a tmp lies beside them."""
    copy = workspace.make(code, tmp_path / "replica", HOME)
    assert (copy / "model.py").read_bytes() == (code / "model.py").read_bytes()
    assert (copy / "data" / "big").read_bytes() == (code / "data" / "big").read_bytes()
    assert os.access(copy / "run.sh", os.X_OK)
    assert (copy / "link").readlink() == Path("data/big")
    assert (copy / "data" / "empty").is_dir()
    assert list((tmp_path / "replica" / "tmp").iterdir()) == []


def test_links_into_the_home_lead_into_the_working_copy(code: Path, tmp_path: Path) -> None:
    """A link that a script made by any absolute path of its folder leads into the copy; other links
    are unchanged."""
    for home in (HOME, code):
        inner = code / f"in{len(home.parts)}"
        (inner / "deep").mkdir(parents=True)
        (inner / "deep/file").symlink_to(home / "data/big")
        (inner / "deep/top").symlink_to(home)
        (inner / "other").symlink_to(f"{home}-not/x")
        copy = workspace.make(code, tmp_path / f"replica-{inner.name}", home)
        assert (copy / inner.name / "deep/file").resolve() == copy.resolve() / "data/big"
        assert (copy / inner.name / "deep/top").resolve() == copy.resolve()
        assert (copy / inner.name / "other").readlink() == Path(f"{home}-not/x")


def test_changes_of_a_working_copy_leave_the_build(code: Path, tmp_path: Path) -> None:
    """Changes in the copy stay in it, though the two may share blocks."""
    before = (code / "data" / "big").read_bytes()
    copy = workspace.make(code, tmp_path / "replica", HOME)
    (copy / "data" / "big").write_bytes(b"spoilt")
    (copy / "model.py").unlink()
    assert (code / "data" / "big").read_bytes() == before
    assert (code / "model.py").exists()


def test_pipes_and_sockets_are_left_out(code: Path, tmp_path: Path) -> None:
    """Files that block when opened are not copied; the files beside them are."""
    os.mkfifo(code / "pipe")
    os.mkfifo(code / "data" / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(code / "socket"))
    (code / "to-pipe").symlink_to("pipe")
    copy = workspace.make(code, tmp_path / "replica", HOME)
    assert sorted(os.listdir(copy)) == ["data", "link", "model.py", "run.sh", "to-pipe"]
    assert sorted(os.listdir(copy / "data")) == ["big", "empty"]


def test_copy_of_a_missing_build_leaves_nothing(tmp_path: Path) -> None:
    """A copy that fails raises, and no part of it stays."""
    with pytest.raises(OSError, match="nowhere"):
        workspace.make(tmp_path / "nowhere", tmp_path / "replica", HOME)
    assert not (tmp_path / "replica").exists()


def test_copy_of_a_build_too_deep_is_an_error(code: Path, tmp_path: Path) -> None:
    """Folders by the thousand, which a build script can make, are refused; no part of the copy
    stays."""
    dig(code, 3000)
    with pytest.raises(OSError, match="too deep"):
        workspace.make(code, tmp_path / "copy", HOME)
    assert not (tmp_path / "copy").exists()
    untrusted_tree.remove(code)  # pytest could not
