"""The metrics and files that an experiment's script adds to its run.

Two variables describe a run: `PREDICTD_RUN_METRICS`, the file that gets each metric as a line of
JSON, and `CDSW_OUTPUT_DIR`, the folder of its kept files. Each line is one write, so the lines of
several processes do not mix.
"""

from __future__ import annotations

import json
import os
import time

from ..tracking import key_of, text_of

METRICS = "PREDICTD_RUN_METRICS"
OUTPUT = "CDSW_OUTPUT_DIR"
# The gateway ignores longer ones (its control/tracked.py).
LONGEST_KEY = 200  # characters
LONGEST_LINE = 8_192  # bytes
# Bound now (gotcha G11 in README).
_say = json.JSONEncoder().encode


def is_run() -> bool:
    return METRICS in os.environ


def track_metric(key: str, value: object) -> None:
    """Adds a metric to the run. Raises TypeError or ValueError for anything but a single value."""
    name, text = key_of(key), text_of(key, value)
    # The JSON shows more than the type: an array of numpy is a list.
    if text[:1] in b"[{":
        kind = type(value).__name__
        raise TypeError(
            f"track_metric({name!r}): a value of type {kind!r} is not a single one; in an"
            " experiment it must be text, a number, True, False or None"
        )
    line = b'{"key":%b,"value":%b,"time":%d}\n' % (
        _say(name).encode(),
        text,
        time.time_ns() // 1_000_000,
    )
    if len(name) > LONGEST_KEY:
        raise ValueError(
            f"track_metric: a key of {len(name)} characters is more than {LONGEST_KEY}"
        )
    if len(line) > LONGEST_LINE:
        raise ValueError(f"track_metric({name!r}): {len(line)} bytes are more than {LONGEST_LINE}")
    file = os.open(os.environ[METRICS], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def track_file(path: str | os.PathLike[str]) -> None:
    """Keeps a file (or a folder) with the run of an experiment; users can download it there and
    add it to the project.

    It is copied as it is now, under its name relative to the current folder. Outside an experiment
    this does nothing. Raises OSError where it cannot be read.
    """
    if not is_run():
        return
    import shutil

    source, output = os.path.abspath(path), os.path.abspath(os.environ[OUTPUT])
    if source == output or source.startswith(output + os.sep):
        return
    name = os.path.relpath(source)
    if name.split(os.sep)[0] == os.pardir:
        name = os.path.basename(source)
    target = os.path.join(output, name)
    if os.path.isdir(source):
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(source, target)
