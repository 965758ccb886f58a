"""Looks through requirements files for options that uv does not read in them.

uv warns of those and continues (gotcha G3). Here such an option is put on uv's command line, or pip
is needed. A file that cannot be read is left to uv, which names it.
"""

import os
import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Tuple
from urllib.parse import unquote

from .reading import Given, NeedsPip
from .table import FILE_OPTIONS, PIP, UV, by_name

MOST_BYTES = 1024 * 1024
MOST_FILES = 100
# uv has git alone.
OTHER_VERSION_CONTROL = ("hg+", "svn+", "bzr+")

# The packages of a pylock.toml: more names than it has do no harm.
LOCKED = re.compile(
    r"""\bname["']?\s*=\s*["']([\w.-]+)["'](?:\s*,?\s*version\s*=\s*["']([^"']+)["'])?"""
)
CONSTRAINT = re.compile(r"([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*((?:[=<>!~;@\[].*)?)")


class Looked(NamedTuple):
    """The options of files for uv's command line, and whether the files name more indexes."""

    lifted: Given
    several_indexes: bool


def look_through(files: List[str], folder: str) -> Looked:
    """Looks through files, and those that they name."""
    found: Given = []
    several = False
    left = [os.path.join(folder, each) for each in files]
    seen: Set[str] = set()
    while left:
        path = left.pop()
        if path in seen or "://" in path:
            continue
        seen.add(path)
        if len(seen) > MOST_FILES:
            raise NeedsPip("there are too many requirements files")
        for name, value in _options(path):
            served = FILE_OPTIONS.get(name, PIP)
            option = by_name(name)
            if served == PIP or option is None:
                raise NeedsPip(f"{os.path.basename(path)} has {name}")
            if name in ("-e", "--editable"):
                check_source(value, editable=True)
            several = several or name == "--extra-index-url"
            if served == "lifted":
                found.append((option, value))
            elif served == UV and name in ("-r", "--requirement", "-c", "--constraint"):
                left.append(os.path.join(os.path.dirname(path), value))
    return Looked(found, several)


def check_source(text: str, editable: bool = False) -> None:
    """Raises NeedsPip for a requirement from a source that uv does not have."""
    for scheme in OTHER_VERSION_CONTROL:
        if scheme in text:
            raise NeedsPip(f"it does not have {scheme[:-1]}")
    if editable and "+" in text.partition("://")[0] and "://" in text:
        raise NeedsPip("it installs no repository as editable")


def constrains_lock(lock: str, constraints: str) -> bool:
    """Whether a file of constraints may matter to a pylock.toml, for which uv takes none: it does
    not where it has only other packages, or the same versions. A file that cannot be read does."""
    if constraints.startswith("file://"):
        constraints = unquote(constraints[len("file://") :])
    locked, given = _read(lock), _read(constraints)
    if locked is None or given is None:
        return True
    versions: Dict[str, Set[str]] = {}
    for name, version in LOCKED.findall(locked):
        versions.setdefault(_normal(name), set()).add(f"=={version}")
    for line in given.splitlines():
        words = f" {line}".partition(" #")[0].strip()
        found = CONSTRAINT.fullmatch(words)
        if words and (
            found is None or versions.get(_normal(found[1]), {found[2]}) != {found[2].strip()}
        ):
            return True
    return False


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _read(path: str) -> Optional[str]:
    """The text of a file, None where it cannot be read or is too long."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError:
        return None
    return content.decode("utf-8-sig", "replace") if len(content) <= MOST_BYTES else None


def _options(path: str) -> Iterator[Tuple[str, str]]:
    """The lines of a file that begin with an option: its name and its value."""
    if not os.path.exists(path):
        return
    # A pipe, as of `-r <(command)`, can be read once: by pip.
    if not os.path.isfile(path):
        raise NeedsPip(f"{path} is not a file")
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError:
        return
    if len(content) > MOST_BYTES or content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise NeedsPip(f"{os.path.basename(path)} is too long, or not UTF-8")
    text = content.decode("utf-8-sig", "replace").replace("\\\n", " ")
    for line in text.splitlines():
        words = f" {line}".partition(" #")[0].strip()
        if words.startswith("-"):
            if not words.startswith("--"):
                name, value = words[:2], words[2:]
            else:
                end = min(words.find(mark) % (len(words) + 1) for mark in " =")
                name, value = words[:end], words[end + 1 :]
            yield name, value.strip()
        elif words:
            check_source(words)
