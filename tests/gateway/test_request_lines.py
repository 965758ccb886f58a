"""Which lines of a log belong to a failed request."""

from typing import NamedTuple

from gateway.request_lines import RequestLines

ID = "0123456789abcdef" * 2


class Line(NamedTuple):
    stream: str
    text: str


def test_the_lines_that_a_request_announces_are_its_own() -> None:
    """The announcing line and as many lines of stderr as it says; stdout does not count."""
    reader = RequestLines()
    lines = [
        (Line("stderr", "before"), ""),
        (Line("stderr", f"[predictd] request {ID} failed, 2 lines:"), ID),
        (Line("stderr", "Traceback"), ID),
        (Line("stdout", "printed meanwhile"), ""),
        (Line("stderr", "KeyError: 'x'"), ID),
        (Line("stderr", "after"), ""),
        (Line("stderr", f"[predictd] request {ID} ended the replica: killed"), ID),
        (Line("stderr", "after"), ""),
        (Line("stderr", "[predictd] request nonsense failed, 9 lines:"), ""),
    ]
    assert [reader.request_of(line) for line, _ in lines] == [request for _, request in lines]
