"""Describing a failure never fails."""

from typing import Any

import msgspec
import pytest

from tests.workers.inside.conftest import Converse
from tests.workers.inside.conversation import FAILED, PREDICT, RAISED, READY
from workers.replica.wire import LARGEST


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
    assert "its __str__ raised" in raised.body["message"]


TEXTS = {
    "half a surrogate pair": ("'\\ud83d'", "\\ud83d"),
    "halves in the wrong order": ("'\\ude00\\ud83d'", "\\ude00\\ud83d"),
    "a NUL and what terminals obey": ("'a\\0b\\x1b[2J'", "a\0b\x1b[2J"),
    "bytes": ("b'\\xff'", "b'\\xff'"),
    "a kind of str": ("Text('\\ud83d')", "\\ud83d"),
}


@pytest.mark.parametrize(("given", "expected"), TEXTS.values(), ids=list(TEXTS))
def test_exception_text_may_be_any_text(
    converse: Converse, write_model: Any, given: str, expected: str
) -> None:
    """Any text of an exception is sent in UTF-8, raised by the function or the file; the replica
    still serves."""
    root = write_model(
        "class Text(str):\n"
        "    def encode(self, *args):\n        raise RuntimeError\n"
        "    def __len__(self):\n        return 0\n"
        f"def predict(args):\n    raise ValueError({given})\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    replica.send(PREDICT, 1, b"null")
    frame = replica.receive_bytes()[13:]
    assert read_strictly(frame) == {"type": "ValueError", "message": expected}
    assert replica.predict(None).kind == RAISED
    root = write_model(f"raise ValueError({given if 'Text' not in given else repr(expected)})\n")
    failed = converse().start(root, "model.py", "predict")
    assert failed.kind == FAILED
    assert failed.body["message"].encode().decode() == expected
    assert failed.body["traceback"].encode().decode().endswith(f"ValueError: {expected}\n")


@pytest.mark.parametrize("character", ["\\U0001f600", "\\0", "\\ud800"])
def test_longest_failure_text_fits_the_wire(
    converse: Converse, write_model: Any, character: str
) -> None:
    """With any characters, the text of a failure is no longer than the gateway reads."""
    raising = f"raise ValueError('{character}' * 100_000)\n"
    failing = converse()
    failing.say_start(write_model(raising, "failing.py"), "failing.py", "predict")
    assert len(failing.receive_bytes()) - 13 < LARGEST[FAILED]
    replica = converse()
    root = write_model(f"def predict(args):\n    {raising}")
    assert replica.start(root, "model.py", "predict").kind == READY
    replica.send(PREDICT, 1, b"null")
    assert len(replica.receive_bytes()) - 13 < LARGEST[RAISED]


def read_strictly(body: bytes) -> Any:
    """JSON as the gateway reads it."""
    return msgspec.json.decode(body)


def test_exception_is_named_by_its_type(converse: Converse, write_model: Any) -> None:
    """A metaclass that gives another name breaks nothing."""
    root = write_model(
        "class Meta(type):\n    @property\n    def __name__(cls):\n        return b'?'\n"
        "class Odd(Exception, metaclass=Meta): ...\n"
        "def predict(args):\n    raise Odd('text')\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict(None).body["type"] == "Odd"


def test_project_may_shadow_the_traceback_module(converse: Converse, write_model: Any) -> None:
    """A project's own traceback.py costs it the traceback, not the report."""
    write_model("", "traceback.py")
    root = write_model("raise ValueError('no weights')\n")
    failed = converse().start(root, "model.py", "predict")
    assert (failed.kind, failed.body["type"]) == (FAILED, "ValueError")
    assert failed.body["traceback"].startswith("ValueError: no weights\n(no traceback, as")


def test_exception_chain_is_logged_whole(converse: Converse, write_model: Any) -> None:
    """The cause of an exception is in the log too, and no frame of ours."""
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
