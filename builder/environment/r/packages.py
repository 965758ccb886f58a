"""Reads which packages of R a library has.

Each has a folder with a DESCRIPTION. These files are the project's: its script may have replaced
any of them by a link, a pipe or a file of any size. They are opened by descriptors, and read up to
a limit. Nothing of the library is loaded or run. Files of equal packages
differ (gotcha G2), so their versions are compared.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from builder.files.safe_open import Folder

MOST_PACKAGES = 3000
_MOST_ENTRIES = 10_000
_DESCRIPTION_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9.]*")
_VERSION = re.compile(r"\d+([.-]\d+)+")
# Where remotes and devtools install from besides repositories and folders of the project.
_NEAR = ("", "standard", "cran", "local")


class RPackage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One installed package. `repository` is the name of the one that its file was made for, such
    as CRAN; `source` is where else it comes from, such as a commit of a git repository."""

    name: str
    version: str
    repository: str = ""
    source: str = ""

    @property
    def is_elsewhere(self) -> bool:
        """Whether it comes neither from a repository of packages nor from the project."""
        return bool(self.source)


def read_library(folder: Path) -> list[RPackage]:
    """Return the packages in a library, sorted by name; none if it is missing. Blocking. Raises
    OSError."""
    try:
        with Folder.root(folder) as library:
            names = [each.name for each in library.entries(_MOST_ENTRIES)]
            found = [_read(library, name) for name in names if _NAME.fullmatch(name)]
    except FileNotFoundError:
        return []
    packages = [each for each in found if each is not None]
    return sorted(packages[:MOST_PACKAGES], key=lambda each: each.name)


def _read(library: Folder, name: str) -> RPackage | None:
    """None for what is no package."""
    try:
        with library.folder([name]) as package, package.open("DESCRIPTION") as file:
            text = file.read(_DESCRIPTION_BYTES).decode("utf-8", "replace")
    except OSError:  # NotAFile is one
        return None
    fields = dict(_fields(text))
    version = fields.get("Version", "")
    if fields.get("Package") != name or not _VERSION.fullmatch(version):
        return None
    return RPackage(
        name=name,
        version=version,
        repository=fields.get("Repository", "")[:100],
        source=_source(fields)[:300],
    )


def _source(fields: dict[str, str]) -> str:
    kind = fields.get("RemoteType", "")
    if kind in _NEAR:
        return ""
    where = fields.get("RemoteUrl", "")
    if "RemoteRepo" in fields:
        where = f"{fields.get('RemoteUsername', '')}/{fields['RemoteRepo']}"
    commit = fields.get("RemoteSha", "")
    return f"{kind} {where}{f'@{commit}' if commit else ''}".strip()


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """The fields of one line each: those that continue on others are descriptions."""
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and not line[:1].isspace():
            yield name, value.strip()
