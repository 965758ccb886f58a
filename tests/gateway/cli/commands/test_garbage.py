"""gc: what would be deleted is listed once, and each build by its project and model."""

from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import State

MIB = 1 << 20


def test_gc_lists_once_and_names_the_project(state: State, predictd: Predictd) -> None:
    """The table is shown before the question, and what was deleted is one line."""
    build = {"kind": "build", "name": "id", "bytes": 3 * MIB, "number": 7, "reason": ""}
    named = {**build, "project": "iris", "model": "predict"}
    cache = {
        "kind": "cache",
        "name": "cache/pip",
        "bytes": MIB,
        "project": "",
        "model": "",
        "reason": "",
    }
    state.garbage = [named, cache]
    outcome = predictd("gc", "--yes")
    assert outcome.err.count("iris/predict build 7") == 1
    assert outcome.out == "Deleted 2 items, 4.0 MiB.\n"
    assert predictd("gc").out == "Nothing to delete.\n"
