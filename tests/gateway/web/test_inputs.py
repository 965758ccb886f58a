"""What an open page is made from: from the same it is not rendered again."""

import pytest

from gateway.web.inputs import PageInputs, Unchanged


def run(inputs: PageInputs, *answers: bytes, checks: int = 2) -> str:
    """A handler that reads something before each of its checks, the last of which is that of the
    rendering. Returns how far it got."""
    reached = 0
    try:
        with inputs.run():
            for answer in answers[:checks]:
                inputs.note("/path", answer)
                inputs.check()
                reached += 1
    except Unchanged:
        return f"ended at check {reached + 1}"
    return "rendered"


def test_equal_inputs_are_rendered_once() -> None:
    """A run ends at the first check after which nothing new can follow."""
    inputs = PageInputs()
    assert run(inputs, b"a", b"b") == "rendered"
    assert run(inputs, b"a", b"b") == "ended at check 1"
    assert run(inputs, b"c", b"b") == "rendered"
    assert run(inputs, b"c", b"b") == "ended at check 1"


def test_page_that_returns_to_what_it_was_is_rendered() -> None:
    """Only the last rendering counts: that is what the browser shows."""
    inputs = PageInputs()
    assert [run(inputs, each, b"") for each in (b"a", b"b", b"a")] == ["rendered"] * 3


def test_run_that_fails_is_not_remembered() -> None:
    """What raised was not rendered, so the next run is."""
    inputs = PageInputs()

    def refused() -> None:
        with inputs.run():
            inputs.note("/path", b"a")
            inputs.check()
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        refused()
    assert run(inputs, b"a", b"b") == "rendered"


def test_answers_are_kept_apart() -> None:
    """Two answers are not others that are as long together."""
    inputs = PageInputs()
    assert run(inputs, b"a", b"bc") == "rendered"
    with inputs.run():
        inputs.note("/path", b"ab")
        inputs.note("/path", b"c")
        inputs.check()
