"""Reads a file of the project to run, as bytes: Python finds its encoding."""

from __future__ import annotations

import io

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_source(path: str) -> bytes:
    """Its content. Raises OSError, and SyntaxError for UTF-16, where Python names null bytes."""
    with io.open_code(path) as stream:
        source = stream.read()
    if source.startswith(_UTF_16):
        raise SyntaxError("the file is UTF-16, which Python does not read: save it as UTF-8")
    return source
