"""What the user sees: results on stdout, progress and trouble on stderr.

Law: stdout carries the result and nothing else, so that it can be piped; with `--json` it is
exactly one JSON document. Colours and the live line appear only where somebody looks at a terminal,
and what models and build scripts print can never steer it: control characters are made visible.
"""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
VISIBLE = {
    code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if code != 9
}
_ESCAPED = {code: f"\\u{code:04x}" for code in range(127, 160)}
ERASE_LINE = "\r\x1b[2K"


class Style:
    """Colours for one stream; leaves text alone where colours are not wanted."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted

    def bold(self, text: str) -> str:
        return self._in("1", text)

    def dim(self, text: str) -> str:
        return self._in("2", text)

    def good(self, text: str) -> str:
        return self._in("32", text)

    def bad(self, text: str) -> str:
        return self._in("31", text)

    def _in(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._wanted else text


class Spinner:
    """The line at the foot of a terminal that shows what is being waited for, and for how long."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._since = time.monotonic()

    def __str__(self) -> str:
        seconds = time.monotonic() - self._since
        frame = FRAMES[int(seconds * 10) % len(FRAMES)]
        line = f"{frame} {printable(self.label)}  {seconds:.0f} s"
        return line[: shutil.get_terminal_size().columns - 1]


class Terminal:
    """The three streams of one command."""

    def __init__(
        self,
        stdin: TextIO,
        out: TextIO,
        err: TextIO,
        *,
        as_json: bool,
        environment: Mapping[str, str],
    ) -> None:
        colourful = not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        self.as_json = as_json
        self.paint = Style(colourful and err.isatty())
        self._stdin, self._out, self._err = stdin, out, err
        self._lively = err.isatty() and environment.get("TERM") != "dumb"
        self._lock = threading.RLock()
        self._live: Spinner | None = None

    def result(self, document: object, text: str) -> None:
        """The command's outcome: `document` with `--json`, else `text`."""
        self.line(_json(document) if self.as_json else text)

    def line(self, text: str) -> None:
        """One more line of a result that comes bit by bit, such as a log."""
        self._write(self._out, text)

    def lines_for_programs(self, text: str) -> None:
        """Foreign lines that go to another program to the letter, and to a terminal visibly."""
        shown = map(printable, text.split("\n")) if self._out.isatty() else [text]
        self.line("\n".join(shown))

    def say(self, text: str) -> None:
        """Progress, for whoever watches."""
        self._write(self._err, text)

    def confirm(self, question: str) -> bool | None:
        """What the user answers; None when nobody is there to ask."""
        if not (self._stdin.isatty() and self._err.isatty()):
            return None
        self._err.write(f"{question} [y/N] ")
        self._err.flush()
        return self._stdin.readline().strip().lower() in ("y", "yes")

    @property
    def is_asked(self) -> bool:
        """Whether somebody is there to type an answer."""
        return self._stdin.isatty()

    def secret(self, question: str) -> str:
        """What the user types without its being shown; else the first line of stdin."""
        if not self.is_asked:
            return self._stdin.readline().rstrip("\r\n")
        from getpass import getpass

        return getpass(f"{question}: ", self._err)

    @contextmanager
    def live(self, label: str) -> Iterator[Spinner]:
        """Shows a live line while the block runs; set the label of what is given to change it."""
        live = Spinner(label)
        if not self._lively:
            yield live
            return
        # The main thread waits for the network: gotcha G2 in README.
        done = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(done,), daemon=True)
        self._live = live
        ticker.start()
        try:
            yield live
        finally:
            done.set()
            ticker.join()
            with self._lock:
                self._live = None
                self._err.write(ERASE_LINE)
                self._err.flush()

    def _tick(self, done: threading.Event) -> None:
        while not done.wait(0.1):
            with self._lock:
                self._err.write(f"{ERASE_LINE}{self._live}")
                self._err.flush()

    def _write(self, stream: TextIO, text: str) -> None:
        with self._lock:
            if self._live:
                self._err.write(ERASE_LINE)
                self._err.flush()
            stream.write(text + "\n")
            stream.flush()


def discard_output() -> None:
    """Sends what stdout has still to write, and all that follows, to /dev/null."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _json(document: object) -> str:
    # JSON escapes the control characters of ASCII by itself, but not those above.
    return json.dumps(document, ensure_ascii=False).translate(_ESCAPED)


def printable(text: str) -> str:
    """Foreign text in which no character can move the cursor or change colours."""
    return text.translate(VISIBLE)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns, two blanks apart; just the headings when there are no rows."""
    lines = [
        [printable(each) for each in headings],
        *([printable(str(cell)) for cell in row] for row in rows),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def facts(pairs: Mapping[str, object]) -> str:
    """Names and values below each other; a value that is None or empty is left out."""
    width = max(map(len, pairs))
    return "\n".join(
        f"{name.ljust(width)}  {printable(str(value))}"
        for name, value in pairs.items()
        if value not in (None, "")
    )
