"""What the tests of the workers share: a stage for plays."""

from collections.abc import Iterator

import pytest

from tests.support.reactor_stage import Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()
