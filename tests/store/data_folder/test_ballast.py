"""Ballast takes room and gives it back."""

import os
from pathlib import Path

import pytest

from store.data_folder.ballast import Ballast
from tests.support.disks import small_disk


def free(folder: Path) -> tuple[int, int]:
    """Bytes and inodes."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize, state.f_favail


def test_ballast_takes_and_frees_its_space(tmp_path: Path) -> None:
    """Ballast takes its bytes and inodes; when it is removed, all of them are free again."""
    with small_disk(tmp_path / "disk", "size=60m") as disk:
        before = free(disk)
        ballast = Ballast(disk / "ballast")
        assert not ballast.release()
        for _ in range(2):  # what is there already is not taken twice
            ballast.allocate()
            assert ballast.allocated
            assert free(disk) == (before[0] - Ballast.BYTES, before[1] - Ballast.FILES - 1)
        assert ballast.release()
        assert not ballast.allocated
        assert free(disk) == before


@pytest.mark.parametrize("options", ["size=8m", "size=60m,nr_inodes=9"])
def test_ballast_that_does_not_fit_leaves_nothing(tmp_path: Path, options: str) -> None:
    """Ballast that does not fit leaves nothing that would fill the disk."""
    with small_disk(tmp_path / "disk", options) as disk:
        before = free(disk)
        with pytest.raises(OSError, match="No space left"):
            Ballast(disk / "ballast").allocate()
        assert free(disk) == before
