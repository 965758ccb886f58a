"""What the model prints, and the few lines that we print among it.

The model may have replaced, closed or broken its streams; nothing here minds.
"""

from __future__ import annotations

import os
import sys
import time


def by_lines() -> None:
    """Let every finished line out at once, and no character that cannot be said stop a print."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(  # type: ignore[union-attr]  # TextIOWrapper, until the model is loaded
            encoding="utf-8", errors="backslashreplace", line_buffering=True
        )


def flush() -> None:
    """Let out what waits for the end of its line."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            continue


def say(line: str) -> None:
    """A bare line for the log of the replica, on stdout."""
    _write(sys.stdout, line + "\n")


def log(event: str) -> None:
    """A dated line in the form that readers of such logs know."""
    now = time.time()
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    milliseconds = int(now % 1 * 1000)
    say(f"{moment},{milliseconds:03} {os.getpid():<7} INFO      Model.Runtime      {event}")


def write_stderr(text: str) -> None:
    """Text for the author of the model, on stderr."""
    _write(sys.stderr, text)


def _write(stream: object, text: str) -> None:
    try:
        print(text, end="", file=stream, flush=True)  # type: ignore[call-overload]
    except Exception:
        return
