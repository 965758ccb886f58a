"""Reads a file of the project that is to be run, as bytes: Python finds out how it is encoded."""

from __future__ import annotations

import io

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_source(path: str) -> bytes:
    """What is in it. Raises OSError, and SyntaxError for what Python would only call null bytes."""
    with io.open_code(path) as stream:
        source = stream.read()
    if source.startswith(_UTF_16):
        raise SyntaxError("the file is UTF-16, which Python does not read: save it as UTF-8")
    return source
