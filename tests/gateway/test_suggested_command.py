"""Commands that messages suggest can be pasted."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from gateway.suggested_command import sentences, suggested

GATEWAY = Path(__file__).parents[2] / "gateway"
SOURCES = sorted(GATEWAY.rglob("*.py"))


def test_each_word_is_quoted() -> None:
    """A shell reads each word as one argument, with any characters in it."""
    odd = "Zákazníci & co $(x) `y`"
    text = suggested("model redeploy", odd, "--build", 3)
    assert (text[0], text[-1]) == ("`", "`")
    assert shlex.split(text[1:-1]) == ["predictd", "model", "redeploy", odd, "--build", "3"]
    assert suggested("deploy", "FILE:FUNCTION") == "`predictd deploy FILE:FUNCTION`"


def test_pieces_of_advice_become_sentences() -> None:
    """Each piece but the first begins with a capital, and each but the last ends."""
    assert sentences("choose another", "", "print the log") == "choose another. Print the log"
    assert sentences("Correct it.", "print it") == "Correct it. Print it"
    assert sentences("", "print it") == "print it"
    assert sentences("") == ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(GATEWAY)))
def test_no_other_message_builds_a_command(path: Path) -> None:
    """A value enters a suggested command only through `suggested`, which quotes it."""
    if path.name == "suggested_command.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values
            )
            built = re.findall(r"`predictd [^`]*\{\}|^predictd [^ ]+ .*\{\}", text)
            assert not built, f"{path}:{node.lineno}: use suggested(): {built}"
