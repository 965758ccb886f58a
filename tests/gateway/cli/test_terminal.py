"""The terminal: results apart from progress, and a spinner on terminals only."""

import io
import json
import threading

import pytest

from gateway.cli.terminal import Terminal, facts, printable, table


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if "waiting" in text:
            self.drawn.set()
        return super().write(text)


def terminal(out: io.StringIO, err: io.StringIO, **environment: str) -> Terminal:
    return Terminal(io.StringIO(), out, err, as_json=False, environment=environment)


def test_results_and_progress_are_apart() -> None:
    """stdout has the result, stderr the rest."""
    out, err = io.StringIO(), io.StringIO()
    screen = terminal(out, err)
    with screen.spinner("waiting"):
        screen.say("progress")
    screen.result({}, "result")
    assert (out.getvalue(), err.getvalue()) == ("result\n", "progress\n")


def test_lines_for_programs() -> None:
    """Output to a program is unchanged; none of it controls a terminal."""
    for out, shown in ((io.StringIO(), "a\x1b[2J\r\nb\n"), (Screen(), "a\ufffd[2J\ufffd\nb\n")):
        terminal(out, io.StringIO()).lines_for_programs("a\x1b[2J\r\nb")
        assert out.getvalue() == shown


def test_the_spinner() -> None:
    """On a terminal the spinner is drawn, gives way to other lines, and leaves nothing."""
    out, err = Screen(), Screen()
    screen = terminal(out, err)
    with screen.spinner("waiting") as spinner:
        assert err.drawn.wait(10)
        err.drawn.clear()
        spinner.label = "still waiting"
        screen.say("a line")
        assert err.drawn.wait(10)
    text = err.getvalue()
    assert "\r\x1b[2Ka line\n" in text
    assert "still waiting  0 s" in text
    assert text.endswith("\r\x1b[2K")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_refused(environment: dict[str, str]) -> None:
    """Colours are for terminals, and only if the user allows them."""
    assert terminal(Screen(), Screen()).style.bad("no") == "\x1b[31mno\x1b[0m"
    assert terminal(Screen(), Screen(), **environment).style.bad("no") == "no"
    assert terminal(Screen(), io.StringIO()).style.bad("no") == "no"


def test_foreign_text_cannot_steer_the_terminal() -> None:
    """Every control character but the tab becomes visible."""
    assert printable("a\x1b[2J\r\n\x07\x9bb\tc") == "a�[2J����b\tc"
    assert "\x1b" not in table(("NAME",), [("\x1b[31mred",)])
    assert "\x1b" not in table(("\x1b[31mNAME",), [])
    assert "\x1b" not in facts({"name": "\x1b[31mred"})


def test_json_cannot_steer_the_terminal() -> None:
    """Control characters are escaped in JSON too, those above ASCII as well, and read back so."""
    out = io.StringIO()
    text = "a\x1b\x7f\x9b\u00e9"
    made = Terminal(io.StringIO(), out, io.StringIO(), as_json=True, environment={})
    made.result({text: text}, "")
    assert not set(out.getvalue()) & {"\x1b", "\x7f", "\x9b"}
    assert json.loads(out.getvalue()) == {text: text}


def test_tables_are_aligned() -> None:
    """Columns start below each other; no line has blanks at its end."""
    text = table(("A", "LONGER", "C"), [("wide cell", 1, ""), ("x", 22, "end")])
    assert text.splitlines() == [
        "A          LONGER  C",
        "wide cell  1",
        "x          22      end",
    ]


def test_facts_leave_out_what_is_not_there() -> None:
    """Empty values are no facts; zero is."""
    assert facts({"a": "", "long": 0, "b": None}) == "long  0"
