"""What a removal frees is counted as `gc` shows it."""

import os
from pathlib import Path

from gateway.control.storage.disk_space import size_of


def test_size_counts_a_file_once(tmp_path: Path) -> None:
    """What two names share is counted once; links are not followed; what is gone takes nothing."""
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    alone = size_of([tmp_path])
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "c").symlink_to("/usr")
    assert 100_000 <= alone <= size_of([tmp_path]) < 200_000
    assert size_of([tmp_path / "gone"]) == 0


def test_size_leaves_out_what_others_share(tmp_path: Path) -> None:
    """A file of the store counts with its last environment only: then its removal frees space."""
    for name in ("one", "two", "store"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/file").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "one/file", tmp_path / "store/file")
    assert size_of([tmp_path / "one"]) > 100_000
    os.link(tmp_path / "one/file", tmp_path / "two/file")
    assert size_of([tmp_path / "one"]) < 100_000
    assert size_of([tmp_path / "one", tmp_path / "two"]) > 100_000
