"""Reads TOML that is not trusted.

`tomllib` takes time with the square of the parts of a dotted key: 18 s for 40,000 parts, hours for
a megabyte. So a text with such a key is refused before it is read. All other texts take a time that
grows with their length.

All of this blocks.
"""

import re
import tomllib
from typing import Any

# The most parts of a key, such as 3 in `tool.uv.sources`.
MOST_PARTS = 100
# The most characters of a line that may have such a key: a search stops all threads, for 10 ms.
MOST_IN_LINE = 4096
_PART = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\]|\\.)*+"|'[^']*+')"""
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_.\\-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MOST_PARTS}}}")


def read_toml(text: str) -> dict[str, Any]:
    """Return the content of a text. Raises ValueError, RecursionError."""
    for line in text.split("\n"):
        if line.count(".") >= MOST_PARTS and _may_be_long(line):
            raise ValueError(f"a key has more than {MOST_PARTS} parts")
    return tomllib.loads(text)


def _may_be_long(line: str) -> bool:
    return len(line) > MOST_IN_LINE or _LONG_KEY.search(line) is not None
