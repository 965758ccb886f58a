"""Reads a `.env` file, strictly: what other tools read differently is refused with its line.

    # a comment, on a line of its own
    NAME=value            blanks at both ends of the value do not count
    export NAME=value     `export` is ignored
    NAME='literal $5 #'   single quotes: as it is
    NAME="two\nlines"     double quotes: \n \r \t \\ \" \\$ are escapes, no others

An unquoted value has no quotes, `$`, backslash, or `#` after a blank, and a double-quoted one no
bare `$`: some tools substitute variables there, others do not. A value is on one line. After a
quoted value only a comment may follow. A name occurs once. No message contains a value.
"""

import re

_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=[ \t]*(.*)")
_SINGLE = re.compile(r"'([^']*)'[ \t]*(?:#.*)?")
_DOUBLE = re.compile(r'"((?:[^"\\$]|\\[nrt\\"$])*)"[ \t]*(?:#.*)?')
_AMBIGUOUS = re.compile(r"""['"$\\`]|(?:^|[ \t])#""")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse_env_file(text: str) -> dict[str, str]:
    """The variables of the text, in its order. Raises ValueError, which names the line."""
    found: dict[str, str] = {}
    for number, whole in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = whole.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        if not (match := _LINE.fullmatch(line)):
            raise ValueError(f"line {number} is not NAME=VALUE")
        name, value = match[1], match[2]
        if name in found:
            raise ValueError(f"line {number} sets {name} a second time")
        found[name] = _value(f"line {number}: the value of {name}", value)
    return found


def _value(what: str, text: str) -> str:
    if text.startswith("'"):
        if match := _SINGLE.fullmatch(text):
            return match[1]
        raise ValueError(f"{what} has no closing single quote, or text behind it")
    if text.startswith('"'):
        if match := _DOUBLE.fullmatch(text):
            return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), match[1])
        raise ValueError(
            f"{what} has no closing double quote, text behind it, an unknown escape or a bare $"
        )
    if _AMBIGUOUS.search(text):
        raise ValueError(f"{what} has a quote, $, backslash or comment: put it in single quotes")
    return text
