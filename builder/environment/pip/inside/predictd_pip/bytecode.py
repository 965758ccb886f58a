"""Takes over the bytecode that an earlier environment of the project has of the same packages.

uv writes none, so a script that imports scikit-learn would compile for 1.5 s; to take all of its
bytecode takes 0.15 s. Whether the sources are equal is not asked here: bytecode that is taken is
marked to be checked (PEP 552), so Python itself uses it only with a source of its hash.
"""

import os
import sys
from importlib.util import MAGIC_NUMBER
from typing import Iterator, Optional, Set

CHECKED = b"\3\0\0\0"
# Bytecode with the hash of its source, as `compile_sources.py` of the gateway makes it. One without
# a hash was valid by the time of its source.
UNCHECKED = b"\1\0\0\0"
NO_HASH = bytes(8)


def take_bytecode(donor: str, target: str, packages: Set[str]) -> None:
    """Takes the bytecode of new packages, the names of folders such as `flask-3.0.0.dist-info`.
    `donor` and `target` are the site-packages of both environments."""
    made: Set[str] = set()
    for package in packages:
        if not os.path.isdir(f"{donor}/{package}"):
            continue
        for folder, name in _sources(f"{target}/{package}/RECORD"):
            cache = f"{folder}__pycache__"
            path = f"{cache}/{name}.{sys.implementation.cache_tag}.pyc"
            content = _checked(f"{donor}/{path}")
            if content is None:
                continue
            try:
                if cache not in made:
                    os.makedirs(f"{target}/{cache}", exist_ok=True)
                    made.add(cache)
                _write(f"{target}/{path}", content)
            except FileExistsError:
                pass
            except OSError:
                return  # the disk is full: Python compiles


def _sources(record: str) -> Iterator["tuple[str, str]"]:
    """The modules in a RECORD: folder, with its slash, and name."""
    try:
        with open(record, encoding="utf-8") as file:
            paths = [line.partition(",")[0] for line in file]
    except (OSError, UnicodeDecodeError):
        return
    for path in paths:
        if path.endswith(".py") and not path.startswith(("/", "../")):
            folder, slash, name = path.rpartition("/")
            yield folder + slash, name[: -len(".py")]


def _checked(path: str) -> Optional[bytes]:
    """The bytecode in a file, marked to be checked; None where it cannot be."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        return None
    is_ours = content[:8] == MAGIC_NUMBER + UNCHECKED and content[8:16] != NO_HASH
    return MAGIC_NUMBER + CHECKED + content[8:] if is_ours else None


def _write(path: str, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        written = os.write(file, content)
    except OSError:
        written = -1
    finally:
        os.close(file)
    if written != len(content):
        os.unlink(path)  # a part would fail each import
