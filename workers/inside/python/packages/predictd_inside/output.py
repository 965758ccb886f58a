"""The model's printed lines, and the few lines that we print among them.

The model may replace, close or break its streams; these functions still do not fail.
"""

from __future__ import annotations

import os
import sys
import time


def by_lines() -> None:
    """Writes every finished line at once; escapes characters that UTF-8 cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(  # type: ignore[union-attr]  # TextIOWrapper, until the model is loaded
            encoding="utf-8", errors="backslashreplace", line_buffering=True
        )


def flush() -> None:
    """Writes the buffered text of unfinished lines."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            continue


def say(line: str) -> None:
    """Prints a bare line for the replica's log, on stdout."""
    _write(sys.stdout, line + "\n")


def log(event: str) -> None:
    """Prints a dated line, in the format that readers of such logs know."""
    now = time.time()
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    milliseconds = int(now % 1 * 1000)
    say(f"{moment},{milliseconds:03} {os.getpid():<7} INFO      Model.Runtime      {event}")


def write_stderr(text: str) -> None:
    """Prints text for the author of the model, on stderr."""
    _write(sys.stderr, text)


def _write(stream: object, text: str) -> None:
    try:
        print(text, end="", file=stream, flush=True)  # type: ignore[call-overload]
    except Exception:
        return
