"""Reads which packages are installed in an environment.

Each has a folder `NAME-VERSION.dist-info` (or `.egg-info`) with METADATA, and `direct_url.json` if
it does not come from an index. These files are the project's: its script may have replaced any of
them by a link, a pipe or a file of any size. They are opened by descriptors, and read up to a
limit. Where METADATA cannot be read, the name of the folder tells the package.

Nothing of the environment is imported or run.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from builder.files.safe_open import Folder
from builder.lock.pylock import (
    MOST_PACKAGES,
    LockedFile,
    LockedFolder,
    LockedRepository,
    Package,
    normalized,
    shown_url,
)

# METADATA begins with the name and the version; the description of a package follows.
_METADATA_BYTES = 16 * 1024
_DIRECT_URL_BYTES = 64 * 1024
# The most entries of a `site-packages`.
_MOST_ENTRIES = 50_000
_INFO = (".dist-info", ".egg-info")
# As PEP 508 and PEP 440 have them. What fails these is no package of an index.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9!+._-]{1,100}")
# An address that is one word of a requirement.
_ADDRESS = re.compile(r"[a-z]+:[!-~]{1,2000}")
_FOLDER = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(?:-.*)?\.(?:dist|egg)-info")


class TooManyPackages(Exception):
    """The environment has more packages than a lock can have."""


class Installed(Struct, frozen=True, kw_only=True):
    """A package as its environment has it. It comes from an index where `direct` is None."""

    name: str
    version: str
    direct: dict[str, Any] | None = None


def site_packages(environment: Path, version: str) -> Path:
    """Return the folder of the packages of a virtual environment of that Python version."""
    minor = ".".join(version.split(".")[:2])
    return environment / "lib" / f"python{minor}" / "site-packages"


def read_installed(folder: Path) -> list[Installed]:
    """Return the packages in a `site-packages`, sorted by name; of several with one name the
    first, as Python finds it. Blocking. Raises OSError, TooManyPackages."""
    found: dict[str, Installed] = {}
    with Folder.root(folder) as packages:
        for name in _names(packages):
            if _FOLDER.fullmatch(name) and (package := _read(packages, name)):
                found.setdefault(package.name, package)
                if len(found) > MOST_PACKAGES:
                    raise TooManyPackages(f"it has more than {MOST_PACKAGES:,} packages")
    return sorted(found.values(), key=lambda each: each.name)


def info_folders(folder: Path) -> set[str]:
    """Return the names of the folders that tell the packages in a `site-packages`. Blocking.
    Raises OSError, TooManyPackages."""
    with Folder.root(folder) as packages:
        return {name for name in _names(packages) if name.endswith(_INFO)}


def package_of(installed: Installed, home: str) -> Package:
    """Return the entry of a package as far as the environment itself tells its source. `home` is
    the path at which the script saw the project."""
    package = Package(name=installed.name, version=installed.version)
    direct = installed.direct
    if direct is None:
        return package
    url, within = _text(direct, "url"), _text(direct, "subdirectory")
    if (vcs := _table(direct, "vcs_info")) and _text(vcs, "vcs") and _text(vcs, "commit_id"):
        repository = LockedRepository(
            type=_text(vcs, "vcs"),
            url=shown_url(url),
            requested_revision=_text(vcs, "requested_revision"),
            commit_id=_text(vcs, "commit_id"),
            subdirectory=within,
        )
        return msgspec.structs.replace(package, vcs=repository)
    path = local_path(url, home)
    if path and "dir_info" in direct:
        editable = _table(direct, "dir_info").get("editable") is True
        folder = LockedFolder(path=path, editable=editable, subdirectory=within)
        return msgspec.structs.replace(package, directory=folder)
    if hashes := _hashes(_table(direct, "archive_info")):
        archive = LockedFile(url="" if path else shown_url(url), path=path, hashes=hashes)
        return msgspec.structs.replace(package, archive=archive)
    return package


def is_archive(installed: Installed) -> bool:
    """Whether the package was installed from a single file at an address."""
    direct = installed.direct or {}
    return "archive_info" in direct and _ADDRESS.fullmatch(_text(direct, "url")) is not None


def local_path(url: str, home: str) -> str:
    """Return the path of a `file:` address, from the project's root if it is in the project; "" for
    other addresses."""
    if not url.startswith("file:///"):
        return ""
    return project_path(unquote(url.removeprefix("file://")), home)


def project_path(path: str, home: str) -> str:
    """Return an absolute path from the project's root, if it is in the project."""
    path = path.rstrip("/")
    return "." if path == home else path.removeprefix(f"{home}/")


def _names(packages: Folder) -> list[str]:
    entries = packages.entries(_MOST_ENTRIES)
    if len(entries) > _MOST_ENTRIES:
        raise TooManyPackages(f"it has more than {_MOST_ENTRIES:,} files beside its packages")
    return [each.name for each in entries]


def _read(packages: Folder, name: str) -> Installed | None:
    """None where neither the files nor the name of the folder tell a package."""
    folder = _FOLDER.fullmatch(name)
    assert folder is not None
    shown, version = folder["name"], folder["version"]
    direct = None
    try:
        with packages.folder([name]) as info:
            file = "METADATA" if name.endswith(".dist-info") else "PKG-INFO"
            headers = dict(_headers(_begin(info, file, _METADATA_BYTES)))
            shown, version = headers.get("name", shown), headers.get("version", version)
            direct = _direct_url(info)
    except OSError:
        pass  # a link, a file, or no METADATA: the name of the folder counts
    if not _NAME.fullmatch(shown) or not _VERSION.fullmatch(version):
        return None
    return Installed(name=normalized(shown), version=version, direct=direct)


def _direct_url(info: Folder) -> dict[str, Any] | None:
    try:
        text = _begin(info, "direct_url.json", _DIRECT_URL_BYTES)
        return msgspec.json.decode(text, type=dict[str, Any])
    except (OSError, ValueError, RecursionError):
        return None


def _begin(folder: Folder, name: str, most: int) -> bytes:
    with folder.open(name) as file:
        return file.read(most)


def _headers(text: bytes) -> Iterator[tuple[str, str]]:
    """Yield the first headers of METADATA, in the form of mail."""
    for line in text.decode("utf-8", "replace").splitlines():
        if not line:
            return
        name, colon, value = line.partition(":")
        if colon and name.lower() in ("name", "version"):
            yield name.lower(), value.strip()


def _text(table: dict[str, Any], name: str) -> str:
    value = table.get(name, "")
    return value if isinstance(value, str) else ""


def _table(table: dict[str, Any], name: str) -> dict[str, Any]:
    value = table.get(name)
    return value if isinstance(value, dict) else {}


def _hashes(archive: dict[str, Any]) -> dict[str, str]:
    """Return the hashes of an archive; pip also writes the older form `sha256=...`."""
    found = _table(archive, "hashes")
    if not found and "=" in (old := _text(archive, "hash")):
        kind, _, digest = old.partition("=")
        found = {kind: digest}
    return {
        kind: digest
        for kind, digest in sorted(found.items())
        if re.fullmatch(r"[a-z0-9_]+", kind) and re.fullmatch(r"[0-9a-f]+", str(digest))
    }
