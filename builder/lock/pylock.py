"""A lock as records, and as the text of a `pylock.toml` (PEP 751).

Each package has a source: files of an index with their hashes, an archive, a repository or a
folder. PEP 751 has no entry for a package whose source or hashes are unknown, such as one from an
index that does not answer. Those are in the table `tool.predictd.unhashed`, so that the file is
valid and complete. Packages of R are in `tool.predictd.r-packages`, with their versions alone.

Equal locks have equal texts: packages and files are sorted, and there is no time in the text. A
text has no name and no password of an index: `shown_url` removes them. A lock that comes from a
backup is not trusted: `read_lock` has limits.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec
from msgspec import Struct

from builder.environment.r.packages import RPackage
from builder.files.toml import read_toml

# The most bytes of a lock: about 3,000 packages.
MOST_BYTES = 2 * 1024 * 1024
MOST_PACKAGES = 3000
_PACKAGE = re.compile(
    r"^\[\[(?:packages|tool\.predictd\.(?:unhashed|r-packages))\]\]$", re.MULTILINE
)


class UnreadableLock(ValueError):
    """The text is no lock that predictd can read."""


class LockedFile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A wheel, sdist or archive: at a `url`, or at a `path` from the root of the project."""

    url: str = ""
    path: str = ""
    size: int | None = None
    hashes: dict[str, str]

    @property
    def filename(self) -> str:
        return unquote((self.path or self.url).rpartition("/")[2])


class LockedRepository(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="kebab"):
    """A commit of a version control system."""

    type: str
    url: str
    requested_revision: str = ""
    commit_id: str
    subdirectory: str = ""


class LockedFolder(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A folder: of the project by its path from the project's root, others by absolute paths."""

    path: str
    editable: bool = False
    subdirectory: str = ""


class Package(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One installed package. It is unhashed where no source is given."""

    name: str
    version: str
    vcs: LockedRepository | None = None
    directory: LockedFolder | None = None
    archive: LockedFile | None = None
    sdist: LockedFile | None = None
    wheels: list[LockedFile] = []

    @property
    def is_unhashed(self) -> bool:
        return not (self.vcs or self.directory or self.archive or self.sdist or self.wheels)

    @property
    def source(self) -> str:
        """Where the package comes from, in words; "" for an index."""
        if self.vcs is not None:
            return f"{self.vcs.type}+{self.vcs.url}@{self.vcs.commit_id}"
        if self.directory is not None:
            kind = "editable folder" if self.directory.editable else "folder"
            return f"{kind} {self.directory.path}"
        if self.archive is not None:
            return self.archive.url or self.archive.path
        return ""


class Lock(Struct, frozen=True, kw_only=True):
    """The packages of an environment, sorted by name. `python` is the interpreter's version.

    `unhashed_because` says why packages have no hashes; "" where all have. `r` is the version of
    the R that the environment was made for, "" for one of Python, whose script may have installed
    packages of R too.
    """

    python: str
    packages: list[Package]
    unhashed_because: str = ""
    r: str = ""
    r_packages: list[RPackage] = []


class LockText(Struct, frozen=True, kw_only=True):
    """The text of a lock. `id` is its SHA-256, shortened; `packages` is how many it has."""

    id: str
    text: str
    packages: int


def normalized(name: str) -> str:
    """Return the name of a package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def shown_url(url: str) -> str:
    """Return an address without name, password, query and fragment, which may have secrets in them.

    The user of an ssh address stays, since it is part of where a repository is.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    user, _, host = parts.netloc.rpartition("@")
    keeps_user = user and ":" not in user and "ssh" in parts.scheme
    shown = f"{user}@{host}" if keeps_user else host
    return urlunsplit(parts._replace(netloc=shown, query="", fragment=""))


def write_lock(lock: Lock) -> LockText:
    """Return the text of a lock."""
    return written_lock("\n".join(_lines(lock)) + "\n")


def written_lock(text: str) -> LockText:
    """Return what `write_lock` returned with this text."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return LockText(id=digest[:32], text=text, packages=len(_PACKAGE.findall(text)))


def read_lock(text: str) -> Lock:
    """Return the lock of a text that `write_lock` wrote. Raises UnreadableLock."""
    if len(text) > MOST_BYTES:
        raise UnreadableLock(f"the lock has more than {MOST_BYTES:,} bytes")
    try:
        found = read_toml(text)
        own = found["tool"]["predictd"]
        unhashed = own.get("unhashed", [])
        packages = msgspec.convert([*found["packages"], *unhashed], list[Package])
        return Lock(
            python=msgspec.convert(own["python"], str),
            packages=sorted(packages, key=_order),
            unhashed_because=msgspec.convert(own.get("unhashed-because", ""), str),
            r=msgspec.convert(own.get("r", ""), str),
            r_packages=sorted(
                msgspec.convert(own.get("r-packages", []), list[RPackage]),
                key=lambda each: each.name,
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableLock(f"the lock cannot be read: {error}") from error


def _order(package: Package) -> tuple[str, str]:
    return package.name, package.version


def _lines(lock: Lock) -> Iterator[str]:
    packages = sorted(lock.packages, key=_order)
    minor = ".".join(lock.python.split(".")[:2])
    yield 'lock-version = "1.0"'
    yield 'created-by = "predictd"'
    yield f"requires-python = {_value(f'=={minor}.*')}"
    if all(each.is_unhashed for each in packages):
        # Below, `[[packages]]` defines it.
        yield "packages = []"
    for each in packages:
        if not each.is_unhashed:
            yield from ("", "[[packages]]", *_fields(msgspec.to_builtins(each)))
    yield from ("", "[tool.predictd]", f"python = {_value(lock.python)}")
    if lock.r:
        yield f"r = {_value(lock.r)}"
    if lock.unhashed_because:
        yield f"unhashed-because = {_value(lock.unhashed_because)}"
    for each in packages:
        if each.is_unhashed:
            yield from ("", "[[tool.predictd.unhashed]]", *_fields(msgspec.to_builtins(each)))
    for of_r in sorted(lock.r_packages, key=lambda each: each.name):
        yield from ("", "[[tool.predictd.r-packages]]", *_fields(msgspec.to_builtins(of_r)))


def _fields(table: dict[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        if name == "wheels" and len(value) > 1:
            yield "wheels = ["
            yield from (f"    {_value(each)}," for each in value)
            yield "]"
        else:
            yield f"{name} = {_value(value)}"


def _value(value: Any) -> str:
    """Return a value in TOML. JSON has the same strings, but for one character."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_value(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
