"""A bench for every test of the builder."""

from pathlib import Path

import pytest

from tests.builder.kit import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
