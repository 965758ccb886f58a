"""What every test of the builder starts from."""

from pathlib import Path

import pytest

from tests.support.builder import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A bench in a folder whose name has to be quoted."""
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    return Bench(folder)
