"""What a model prints reaches the log in time and can stop nothing."""

from typing import Any

import pytest

from tests.workers.inside.conftest import Converse
from tests.workers.inside.conversation import ANSWER, READY, Conversation


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_is_logged_before_the_answer(badly: Conversation, stream: str) -> None:
    """When the caller has the answer the log has the output, with its unfinished line."""
    badly.predict({"do": stream, "text": "no end of line"})
    assert getattr(badly, stream).endswith("no end of line")


def test_finished_line_survives_a_crash(converse: Converse, write_model: Any) -> None:
    """A finished line is not lost with the process."""
    root = write_model("import os\ndef predict(args):\n    print('last words')\n    os._exit(1)\n")
    replica = converse()
    replica.start(root, "model.py", "predict")
    replica.send(2, 1, b"{}")
    assert replica.exit_status() == 1
    assert replica.stdout.endswith("last words\n")


def test_lone_surrogate_is_printed_escaped(badly: Conversation) -> None:
    """A lone surrogate, which no encoding has, is printed in escaped form."""
    assert badly.predict({"do": "stdout", "text": "\ud800"}).kind == ANSWER
    assert badly.stdout.endswith("\\ud800")


@pytest.mark.parametrize(
    "deed",
    [
        "sys.stdout = sys.stderr = None",
        "sys.stdout.close(); sys.stderr.close()",
        "sys.stdout = sys.stderr = object()",
    ],
)
def test_model_without_streams_is_served(converse: Converse, write_model: Any, deed: str) -> None:
    """A model that closes or replaces its streams is still served."""
    root = write_model(f"import sys\n{deed}\ndef predict(args):\n    return 1 / args\n")
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict(0).body["type"] == "ZeroDivisionError"
    assert replica.predict(1).kind == ANSWER


def test_replica_drops_no_output(badly: Conversation) -> None:
    """A replica neither drops nor delays what is printed."""
    badly.predict({"do": "flood", "kilobytes": 2000})
    assert badly.stdout.count("x" * 1023) == 2000
