"""What a model prints reaches the log in time and can stop nothing."""

from typing import Any

import pytest

from tests.workers.inside.conftest import Converse
from tests.workers.inside.conversation import ANSWER, READY, Conversation


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_was_printed_is_out_before_the_answer(badly: Conversation, stream: str) -> None:
    """When the caller has the answer the log has the output, its unfinished line included."""
    badly.predict({"do": stream, "text": "no end of line"})
    assert getattr(badly, stream).endswith("no end of line")


def test_a_line_is_out_before_a_crash(converse: Converse, write_model: Any) -> None:
    """A finished line is not lost with the process."""
    root = write_model("import os\ndef predict(args):\n    print('last words')\n    os._exit(1)\n")
    replica = converse()
    replica.start(root, "model.py", "predict")
    replica.send(2, 1, b"{}")
    assert replica.exit_status() == 1
    assert replica.stdout.endswith("last words\n")


def test_no_character_stops_a_print(badly: Conversation) -> None:
    """Half a surrogate pair, which no encoding can say, is printed in escaped form."""
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
def test_streams_may_be_broken(converse: Converse, write_model: Any, deed: str) -> None:
    """A model that does away with its streams is served all the same."""
    root = write_model(f"import sys\n{deed}\ndef predict(args):\n    return 1 / args\n")
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict(0).body["type"] == "ZeroDivisionError"
    assert replica.predict(1).kind == ANSWER


def test_a_flood_is_let_through(badly: Conversation) -> None:
    """Nothing of what is printed is lost or held back."""
    badly.predict({"do": "flood", "kilobytes": 2000})
    assert badly.stdout.count("x" * 1023) == 2000
