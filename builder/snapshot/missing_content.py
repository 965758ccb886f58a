"""Content that a clone does not include: submodules, whose folders are empty, and files of Git
LFS, which are pointers. A build may work without it. The log lists missing content, since a
failure that it causes looks like another one. Only `.gitmodules` is read, and small files where
`.gitattributes` names LFS.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from builder.safe_paths import resolve_beneath

_POINTER = b"version https://git-lfs.github.com/spec/"
_LONGEST_POINTER = 1024
_MOST_BYTES = 64 * 1024  # of `.gitmodules` and `.gitattributes`
_MOST_FILES = 20_000
_NAMED = 5


def submodules(code: Path) -> list[str]:
    """Return the paths of submodules whose folders are empty."""
    found = re.findall(r"^\s*path\s*=\s*(\S.*?)\s*$", _text(code / ".gitmodules"), re.MULTILINE)
    return [path for path in found if _is_empty(resolve_beneath(code, path))]


def pointers(code: Path) -> list[str]:
    """Return the paths of files that are pointers of Git LFS."""
    if "filter=lfs" not in _text(code / ".gitattributes"):
        return []
    return [str(path.relative_to(code)) for path in _small_files(code) if _is_pointer(path)]


def notices(code: Path) -> Iterator[str]:
    """Yield a line for the log about each kind of missing content. Blocking."""
    for missing, what, remedy in (
        (submodules(code), "Submodules are empty", "git submodule update --init"),
        (pointers(code), "Files are pointers of Git LFS", "git lfs pull"),
    ):
        if missing:
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            yield (
                f"{what}, which a clone does not fetch: {', '.join(missing[:_NAMED])}{more}. "
                f"Run `{remedy}` in your own clone and upload the files."
            )


def _text(path: Path) -> str:
    """Return the first bytes of a regular file as text, or ""."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(_MOST_BYTES).decode(errors="replace")


def _is_empty(folder: Path | None) -> bool:
    try:
        return folder is not None and not os.listdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _small_files(code: Path) -> Iterator[Path]:
    seen = 0
    for folder, _, files in os.walk(code):
        for name in files:
            seen += 1
            if seen > _MOST_FILES:
                return
            path = Path(folder, name)
            if not path.is_symlink() and path.stat().st_size <= _LONGEST_POINTER:
                yield path


def _is_pointer(path: Path) -> bool:
    return path.read_bytes().startswith(_POINTER)
