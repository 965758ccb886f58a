"""Parses what users type: each function is the type of an argument.

They raise `ArgumentTypeError`, which argparse shows with the usage (exit code 2), before any
request to the gateway.
"""

import json
import math
import re
import sys
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.suggested_command import suggested

_GIB_OF = {"": 1.0, "g": 1.0, "m": 1 / 1024, "t": 1024.0}
_SPANS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}


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


def variable_name(text: str) -> str:
    """The NAME of a variable, without a value: arguments are visible to all users."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        return text
    if "=" in text:
        raise ArgumentTypeError("give NAME only: its value is asked for, or read from stdin")
    raise ArgumentTypeError(f"{text!r} is not the name of a variable")


def memory(text: str) -> float:
    """An amount of memory in GiB, the default unit. GB means GiB, as in CDSW."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([gmt]?)(?:i?b)?", text.strip().lower())
    if not match or not float(match[1]):
        raise ArgumentTypeError(f"{text!r} is not an amount of memory, such as 2GiB or 512MiB")
    return float(match[1]) * _GIB_OF[match[2]]


def cpu(text: str) -> float:
    """A number of virtual CPUs, such as 0.5."""
    if not re.fullmatch(r"\d+(\.\d+)?|\.\d+", text) or not float(text):
        raise ArgumentTypeError(f"{text!r} is not a number of CPUs, such as 1 or 0.5")
    return float(text)


def replicas(text: str) -> int:
    """A number of replicas; the gateway checks its limit."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise ArgumentTypeError(f"{text!r} is not a number of replicas, such as 2")
    return int(text)


def gpus(text: str) -> int:
    """A number of whole GPUs; the gateway checks what the machine has."""
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise ArgumentTypeError(f"{text!r} is not a number of GPUs, such as 1")
    return int(text)


def duration(text: str) -> float:
    """A duration in seconds: `90s`, `10m`, `1.5h`."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smh])", text)
    if not match or not float(match[1]):
        raise ArgumentTypeError(f"{text!r} is not a duration, such as 90s, 10m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def moment(text: str) -> int:
    """A time as `since` reads it, in milliseconds of Unix time."""
    milliseconds = int(datetime.fromisoformat(since(text)).timestamp() * 1000)
    if milliseconds < 0:
        raise ArgumentTypeError(f"{text!r} is before 1970")
    return milliseconds


def count(text: str) -> int:
    """A positive integer."""
    if not re.fullmatch(r"[0-9]{1,18}", text) or not int(text):
        raise ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


# What users look for among the settings of a model, by the flags of a deployment.
_OF_DEPLOYMENTS = {
    name: f"--{name.removeprefix('nvidia_')}"
    for name in ("replicas", "cpu", "memory", "gpus", "nvidia_gpus", "network", "env")
}


def model_setting(text: str) -> tuple[str, object]:
    """`NAME=VALUE` of a model, as its API has it. `default` stands for the site's retention."""
    name, _, value = text.partition("=")
    if name == "description" and "=" in text:
        return name, value
    if name == "visibility" and value in ("private", "public"):
        return name, value
    if name in ("keep_builds", "keep_builds_days"):
        if value == "default":
            return name, -1
        if re.fullmatch(r"[0-9]{1,6}", value):
            return name, int(value)
    if name == "request_log" and value in ("on", "off"):
        return name, value == "on"
    if flag := _OF_DEPLOYMENTS.get(name):
        raise ArgumentTypeError(
            f"{name} belongs to a deployment, not to the model: use "
            f"{suggested('model redeploy', 'MODEL', flag, value)}"
        )
    raise ArgumentTypeError(
        f"{text!r} is not description=TEXT, visibility=private|public, keep_builds=N, "
        "keep_builds_days=N (or =default) or request_log=on|off"
    )


def setting(text: str) -> tuple[str, object]:
    """`NAME=VALUE`; a VALUE that is JSON, `@FILE` or `-` is read as JSON, as variables are."""
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[a-z_]+", name):
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as max_replicas=4")
    if value == "-" or value.startswith(("{", "[", "@")):
        return name, json_value(value)
    return name, value


def since(text: str) -> str:
    """A time: a duration ago (`30m`, `2h`, `7d`), or a date, in UTC unless it has an offset."""
    return _moment(text, -1, "a time, such as 2h, 7d or 2027-01-31")


def expiry(text: str) -> str:
    """An expiry: in a duration (`12h`, `30d`, `1y`), at a date as above, or `never`."""
    if text == "never":
        return text
    return _moment(text, 1, "30d, 1y, never, or a date such as 2027-01-31")


def _moment(text: str, sign: int, expected: str) -> str:
    """A duration from now, into the past or the future, or a date."""
    try:
        if match := re.fullmatch(r"(\d{1,6})([smhdwy])", text):
            moment = datetime.now(UTC) + sign * int(match[1]) * _SPANS[match[2]]
        else:
            moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text!r} is not {expected}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def json_value(text: str) -> object:
    """A JSON value; `@FILE` reads it from a file, `-` from stdin."""
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except OSError as error:
        raise ArgumentTypeError(f"cannot read {text[1:]}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise ArgumentTypeError(f"{shown!r} is not JSON: {error}") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    """A number that can be sent as JSON again: `1e999` is none."""
    if math.isinf(number := float(text)):
        raise ValueError(f"{text} is larger than any number")
    return number
