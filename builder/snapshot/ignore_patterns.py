"""The patterns of `.gitignore`, compiled to regular expressions exactly as git matches them.

Names are bytes, as in git: `?` is one byte. Git's rules are those of `dir.c` and `wildmatch.c`,
and not all are documented: a class such as `[z-a]` is valid and empty, `***/` is `**/`, an
unfinished class or a backslash at the end makes a pattern that matches nothing. No library was
found that agrees with git on these; a test compares this file with git on random patterns.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_MARK = b"\xef\xbb\xbf"
_SPECIAL = re.compile(rb"[*?\[\\]")
_CLASSES: dict[bytes, bytes] = {
    b"alnum": rb"[0-9A-Za-z]",
    b"alpha": rb"[A-Za-z]",
    b"blank": rb"[ \t]",
    b"cntrl": rb"[\x00-\x1f\x7f]",
    b"digit": rb"[0-9]",
    b"graph": rb"[!-~]",
    b"lower": rb"[a-z]",
    b"print": rb"[ -~]",
    b"punct": rb"[!-/:-@\[-`{-~]",
    b"space": rb"[ \t\n\r]",
    b"upper": rb"[A-Z]",
    b"xdigit": rb"[0-9A-Fa-f]",
}


class Pattern(NamedTuple):
    """Line `number` of an ignore file, whose text is `line`. `in_any_folder`: it is compared with
    the name alone."""

    number: int
    line: bytes
    regex: re.Pattern[bytes]
    excludes: bool
    folders_only: bool
    in_any_folder: bool

    def matches(self, path: bytes, is_folder: bool) -> bool:
        """Whether it matches a path, relative to the folder of the ignore file."""
        if self.folders_only and not is_folder:
            return False
        name = path.rpartition(b"/")[2] if self.in_any_folder else path
        return self.regex.fullmatch(name) is not None


def patterns(content: bytes) -> Iterator[Pattern]:
    """Yield the patterns of an ignore file, without those that match nothing."""
    for number, raw in enumerate(content.removeprefix(_MARK).split(b"\n"), 1):
        line = _without_spaces(raw.removesuffix(b"\r").partition(b"\0")[0])
        if line.startswith(b"#"):
            continue
        text = line.removeprefix(b"!")
        folders_only = text.endswith(b"/")
        text = text.removesuffix(b"/")
        in_any_folder = b"/" not in text
        # Git compares a path up to the first special character apart from the rest. So `a**/b` is
        # `a` and `**/b`, and matches `ax/y/b`.
        text = text.removeprefix(b"/")
        special = _SPECIAL.search(text)
        split = 0 if in_any_folder else special.start() if special else len(text)
        regex = _translated(text[split:])
        if text and regex is not None:
            compiled = re.compile(re.escape(text[:split]) + regex, re.DOTALL)
            excludes = not line.startswith(b"!")
            yield Pattern(number, line, compiled, excludes, folders_only, in_any_folder)


def _without_spaces(line: bytes) -> bytes:
    """The line without spaces at its end, unless a backslash protects them."""
    end = at = 0
    while at < len(line):
        if line[at : at + 1] == b"\\":
            at += 1
            if at == len(line):
                return line
        if line[at : at + 1] != b" " or line[at - 1 : at] == b"\\":
            end = at + 1
        at += 1
    return line[:end]


def _translated(pattern: bytes) -> bytes | None:
    """The regular expression of a pattern, or None if it matches nothing."""
    found = b""
    at = 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        if char == b"*":
            stars = at
            while pattern[at : at + 1] == b"*":
                at += 1
            begins = stars == 0 or pattern[stars - 1 : stars] == b"/"
            whole = begins and (at == len(pattern) or pattern.startswith((b"/", b"\\/"), at))
            if at - stars > 1 and whole and pattern.startswith(b"/", at):
                found += rb"(?:.*/)?"
                at += 1
            else:
                found += rb".*" if at - stars > 1 and whole else rb"[^/]*"
            continue
        if char == b"?":
            found += rb"[^/]"
        elif char == b"[":
            if (parsed := _set(pattern, at + 1)) is None:
                return None
            members, at = parsed
            found += _any_of(members)
        else:
            if char == b"\\":
                at += 1
            if at == len(pattern):
                return None
            found += re.escape(pattern[at : at + 1])
        at += 1
    return found


def _set(pattern: bytes, at: int) -> tuple[set[int], int] | None:
    """The bytes that a class matches, and where its `]` is; None if it is unfinished."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    members = set[int]()
    previous = -1
    first = True
    while first or pattern[at : at + 1] != b"]":
        first = False
        if at >= len(pattern):
            return None
        char, follows = pattern[at], pattern[at + 1 : at + 2]
        if char == ord("-") and previous >= 0 and follows not in (b"", b"]"):
            at += 1
            if pattern[at] == ord("\\"):
                at += 1
            if at >= len(pattern):
                return None
            members |= set(range(previous, pattern[at] + 1))
            previous = -1
        elif char == ord("[") and follows == b":":
            end = pattern.find(b"]", at + 2)
            if end < 0:
                return None
            if end > at + 2 and pattern[end - 1] == ord(":"):
                if (named := _CLASSES.get(pattern[at + 2 : end - 1])) is None:
                    return None
                members |= {byte for byte in range(256) if re.match(named, bytes([byte]))}
                at, previous = end, -1
            else:
                members.add(char)
                previous = char
        else:
            if char == ord("\\"):
                at += 1
                if at >= len(pattern):
                    return None
                char = pattern[at]
            members.add(char)
            previous = char
        at += 1
        if at >= len(pattern):
            return None
    return (set(range(256)) - members if negated else members), at


def _any_of(members: set[int]) -> bytes:
    """One byte of a set, but never the slash."""
    chosen = b"".join(re.escape(bytes([byte])) for byte in sorted(members - {ord("/")}))
    return b"[%b]" % chosen if chosen else rb"(?!)"
