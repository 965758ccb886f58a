"""What users type, turned into values: each function is the type of an argument.

They raise `ArgumentTypeError`, which argparse shows together with the usage (exit code 2), so that
a slip of the pen is told before anything has been asked of the gateway.
"""

import json
import re
import sys
import time
from argparse import ArgumentTypeError
from datetime import UTC, datetime
from pathlib import Path

UNITS = {"": 1.0, "g": 1.0, "m": 1 / 1024, "t": 1024.0}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MOST_REPLICAS = 9


def file_and_function(text: str) -> tuple[str, str]:
    """`predict.py:predict`, split at its last colon."""
    file, _, function = text.rpartition(":")
    if not file or not function.isidentifier():
        raise ArgumentTypeError(f"{text!r} is not FILE:FUNCTION, such as predict.py:predict")
    return file, function


def variable(text: str) -> tuple[str, str]:
    """`NAME=VALUE`, split at its first equals sign."""
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def memory(text: str) -> float:
    """An amount of memory in GiB; a bare number is GiB, and GB means GiB as it does to CDSW."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([gmt]?)(?:i?b)?", text.strip().lower())
    if not match or not float(match[1]):
        raise ArgumentTypeError(f"{text!r} is not an amount of memory, such as 2GiB or 512MiB")
    return float(match[1]) * UNITS[match[2]]


def cpu(text: str) -> float:
    """A number of virtual CPUs, such as 0.5."""
    if not re.fullmatch(r"\d+(\.\d+)?|\.\d+", text) or not float(text):
        raise ArgumentTypeError(f"{text!r} is not a number of CPUs, such as 1 or 0.5")
    return float(text)


def replicas(text: str) -> int:
    """A number of replicas, 1 to 9."""
    if not re.fullmatch(r"[0-9]+", text) or not 1 <= int(text) <= MOST_REPLICAS:
        raise ArgumentTypeError(f"{text!r} is not a number of replicas, 1 to {MOST_REPLICAS}")
    return int(text)


def moment(text: str) -> int:
    """A time in milliseconds of Unix time: a date, a date and time in UTC, or so long ago."""
    try:
        milliseconds = int(_seconds(text.strip()) * 1000)
        if milliseconds >= 0:
            return milliseconds
    except (ValueError, OverflowError):
        pass  # as below: a time before 1970
    wanted = "2026-11-21, 2026-11-21T09:30, or 90m, 24h, 7d ago"
    raise ArgumentTypeError(f"{text!r} is not a time such as {wanted}")


def _seconds(text: str) -> float:
    if match := re.fullmatch(r"(\d{1,9})([smhd])", text):
        return time.time() - int(match[1]) * SECONDS[match[2]]
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def count(text: str) -> int:
    """A whole number from 1 on."""
    if not re.fullmatch(r"[0-9]{1,18}", text) or not int(text):
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def json_value(text: str) -> object:
    """A JSON value; `@FILE` reads it from a file, `-` from stdin."""
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        return json.loads(text, parse_constant=_refuse)
    except OSError as error:
        raise ArgumentTypeError(f"{text[1:]} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise ArgumentTypeError(f"{shown!r} is not JSON: {error}") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")
