"""What the user sees: results on stdout, progress and errors on stderr.

Law: stdout carries the result and nothing else, so that it can be piped; with `--json` it is
exactly one JSON document, and a log, which may have no end, has one for each line. Colours
and the spinner appear on a terminal only. Text of models and build scripts cannot control the
terminal: control characters are replaced by visible ones.
"""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO, TextIO

MIB = 1 << 20
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
VISIBLE = {
    code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if code != 9
}
_ESCAPED = {code: f"\\u{code:04x}" for code in range(127, 160)}
ERASE_LINE = "\r\x1b[2K"


class Style:
    """Colours for one stream, or none of them."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def bold(self, text: str) -> str:
        return self._in("1", text)

    def dim(self, text: str) -> str:
        return self._in("2", text)

    def good(self, text: str) -> str:
        return self._in("32", text)

    def bad(self, text: str) -> str:
        return self._in("31", text)

    def _in(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text


class Spinner:
    """The last line of a terminal: what the command waits for, and for how long. A `progress`
    replaces both: it is an object that shows both as its `str`."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.progress: object = None
        self._since = time.monotonic()

    def __str__(self) -> str:
        seconds = time.monotonic() - self._since
        frame = FRAMES[int(seconds * 10) % len(FRAMES)]
        text = f"{self.label}  {seconds:.0f} s" if self.progress is None else str(self.progress)
        return f"{frame} {printable(text)}"[: shutil.get_terminal_size().columns - 1]


class CannotWrite(OSError):
    """Stdout takes no more, such as a file on a full disk."""


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
        use_colours = not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        self.as_json = as_json
        self.style = Style(use_colours and err.isatty())
        self._stdin, self._out, self._err = stdin, out, err
        self._animated = err.isatty() and environment.get("TERM") != "dumb"
        self._lock = threading.RLock()
        self._spinner: Spinner | None = None

    def result(self, document: object, text: str) -> None:
        """Prints the command's result: `document` with `--json`, else `text`."""
        self.line(_json(document) if self.as_json else text)

    def line(self, text: str) -> None:
        """Prints one more line of a growing result, such as a log. Raises BrokenPipeError,
        CannotWrite."""
        try:
            self._write(self._out, text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CannotWrite(error.errno, error.strerror) from error

    @property
    def binary(self) -> BinaryIO:
        """Stdout for bytes, such as a file."""
        self._out.flush()
        return self._out.buffer

    def lines_for_programs(self, text: str) -> None:
        """Prints lines of a model: unchanged for another program, printable on a terminal."""
        shown = map(printable, text.split("\n")) if self._out.isatty() else [text]
        self.line("\n".join(shown))

    def say(self, text: str) -> None:
        """Prints progress to stderr."""
        self._write(self._err, text)

    def failed(self, message: str, advice: str) -> None:
        """Says what failed, and the next step."""
        shown = "\n".join(map(printable, message.splitlines()))
        self.say(f"{self.style.bad('error:')} {shown}")
        if advice:
            self.say(f"{self.style.bold('hint:')} {printable(advice)}")

    def confirm(self, question: str) -> bool | None:
        """What the user answers; None without a terminal."""
        if not (self._stdin.isatty() and self._err.isatty()):
            return None
        self._err.write(f"{question} [y/N] ")
        self._err.flush()
        return self._stdin.readline().strip().lower() in ("y", "yes")

    @property
    def is_animated(self) -> bool:
        """Whether a user watches progress: stderr is a terminal that can redraw a line."""
        return self._animated

    @property
    def is_interactive(self) -> bool:
        """Whether a user can type an answer."""
        return self._stdin.isatty()

    def secret(self, question: str) -> str:
        """What the user types, not echoed; without a terminal the first line of stdin."""
        if not self.is_interactive:
            return self._stdin.readline().rstrip("\r\n")
        from getpass import getpass

        return getpass(f"{question}: ", self._err)

    def whole_secret(self, question: str) -> str:
        """As `secret`, but without a terminal all of stdin, but for one line end at its end."""
        if self.is_interactive:
            return self.secret(question)
        return self._stdin.read().removesuffix("\n").removesuffix("\r")

    @contextmanager
    def spinner(self, label: str) -> Iterator[Spinner]:
        """Shows a spinner while the block runs; its `label` may change."""
        spinner = Spinner(label)
        if not self._animated:
            yield spinner
            return
        # The main thread waits for the network: gotcha G2 in README.
        done = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(done,), daemon=True)
        self._spinner = spinner
        ticker.start()
        try:
            yield spinner
        finally:
            done.set()
            ticker.join()
            with self._lock:
                self._spinner = None
                self._err.write(ERASE_LINE)
                self._err.flush()

    def _tick(self, done: threading.Event) -> None:
        while not done.wait(0.1):
            with self._lock:
                self._err.write(f"{ERASE_LINE}{self._spinner}")
                self._err.flush()

    def _write(self, stream: TextIO, text: str) -> None:
        with self._lock:
            if self._spinner:
                self._err.write(ERASE_LINE)
                self._err.flush()
            stream.write(text + "\n")
            stream.flush()


def discard_output() -> None:
    """Sends what stdout has not written yet, and all later output, to /dev/null."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _json(document: object) -> str:
    # JSON escapes the control characters of ASCII by itself, but not those above.
    return json.dumps(document, ensure_ascii=False).translate(_ESCAPED)


def printable(text: str) -> str:
    """The text without characters that move the cursor or change colours."""
    return text.translate(VISIBLE)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns, two spaces apart; without rows only the headings."""
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
    """One line for each name and value; a value that is None or empty is left out."""
    width = max(map(len, pairs))
    return "\n".join(
        f"{name.ljust(width)}  {printable(str(value))}"
        for name, value in pairs.items()
        if value not in (None, "")
    )


def when(time_text: str | None) -> str:
    """`2026-11-21 02:35:00`, of a time as the API gives it."""
    return (time_text or "")[:19].replace("T", " ")


def mib(size: int, digits: int = 1) -> str:
    """`1,234.5 MiB`, of a size in bytes."""
    return f"{size / MIB:,.{digits}f} MiB"


def plural(count: int, noun: str) -> str:
    """`1 replica`, `2 replicas`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
