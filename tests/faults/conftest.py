"""For the faults: how a test says what it saw, and the gateway that most of them share."""

from collections.abc import Callable, Iterator

import pytest

from tests.faults.bench import Bench, open_bench
from tests.support.folders import NewFolder

Observe = Callable[[str], None]


@pytest.fixture
def observe(record_property: Callable[[str, object], None]) -> Observe:
    """Says what came of the fault, for the matrix."""
    return lambda text: record_property("observed", text)


@pytest.fixture(scope="module")
def bench(new_folder: NewFolder) -> Iterator[Bench]:
    """A gateway with a model that misbehaves and two that must never notice."""
    with open_bench(new_folder("bench")) as opened:
        yield opened


@pytest.fixture(scope="module")
def patient_bench(new_folder: NewFolder) -> Iterator[Bench]:
    """A bench at which a request may take a minute: nothing here is cut off by its time."""
    with open_bench(new_folder("patient"), model_request_timeout="60") as opened:
        yield opened
