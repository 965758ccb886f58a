"""Gateways for the tests of the whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.served_gateway import Gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway of the test's own, with nothing in it."""
    with Gateway(tmp_path / "data") as running:
        yield running
