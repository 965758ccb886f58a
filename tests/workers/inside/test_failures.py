"""Describing a failure never fails."""

from typing import Any

from tests.workers.inside.conftest import Converse
from tests.workers.inside.conversation import FAILED, RAISED, READY


def test_an_exception_without_text(converse: Converse, write_model: Any) -> None:
    """An exception whose __str__ raises is reported by its type."""
    root = write_model(
        "class Mute(Exception):\n    def __str__(self):\n        return 1 / 0\n"
        "def predict(args):\n    raise Mute\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    raised = replica.predict(None)
    assert (raised.kind, raised.body["type"]) == (RAISED, "Mute")
    assert "cannot be had" in raised.body["message"]


def test_a_project_may_shadow_what_tracebacks_need(converse: Converse, write_model: Any) -> None:
    """A project's own traceback.py costs it the traceback, not the report."""
    write_model("", "traceback.py")
    root = write_model("raise ValueError('no weights')\n")
    failed = converse().start(root, "model.py", "predict")
    assert (failed.kind, failed.body["type"]) == (FAILED, "ValueError")
    assert failed.body["traceback"].startswith("ValueError: no weights\n(no traceback, as")


def test_a_chain_of_exceptions_is_told_whole(converse: Converse, write_model: Any) -> None:
    """The cause of an exception is in the log too, and none of our frames."""
    root = write_model(
        "def predict(args):\n"
        "    try:\n        {}['weights']\n"
        "    except KeyError as missing:\n        raise ValueError('incomplete') from missing\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict(None).kind == RAISED
    assert "KeyError: 'weights'" in replica.stderr
    assert replica.stderr.endswith("ValueError: incomplete\n")
    assert "predictd_inside" not in replica.stderr


def test_endless_recursion_is_an_exception(converse: Converse, write_model: Any) -> None:
    """A function that calls itself for ever is reported in bounded length."""
    root = write_model("def predict(args):\n    return predict(args)\n")
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict(None).body["type"] == "RecursionError"
    assert len(replica.stderr) < 70_000
