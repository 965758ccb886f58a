"""What a clone did not bring: submodules, whose folders are empty, and files of Git LFS, in whose
place is a pointer. A build may do without; what fails for want of them looks like something else,
so the log names them. Looking reads little: `.gitmodules`, and small files where `.gitattributes`
names LFS.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from builder.safe_paths import resolve_beneath

_POINTER = b"version https://git-lfs.github.com/spec/"
_LONGEST_POINTER = 1024
_MOST_BYTES = 64 * 1024  # of a file that says what there should be
_MOST_FILES = 20_000
_NAMED = 5


def submodules(code: Path) -> list[str]:
    """The paths of submodules that are not there."""
    found = re.findall(r"^\s*path\s*=\s*(\S.*?)\s*$", _text(code / ".gitmodules"), re.MULTILINE)
    return [path for path in found if _is_empty(resolve_beneath(code, path))]


def pointers(code: Path) -> list[str]:
    """The paths of files in whose place is a pointer of Git LFS."""
    if "filter=lfs" not in _text(code / ".gitattributes"):
        return []
    return [str(path.relative_to(code)) for path in _small_files(code) if _is_pointer(path)]


def notices(code: Path) -> Iterator[str]:
    """A line for the log about each kind of what is missing. Blocking."""
    for missing, what, remedy in (
        (submodules(code), "Submodules are empty", "git submodule update --init"),
        (pointers(code), "Pointers of Git LFS stand for files", "git lfs pull"),
    ):
        if missing:
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            yield (
                f"{what}, which a clone does not bring: {', '.join(missing[:_NAMED])}{more}. "
                f"Run `{remedy}` where the project comes from, and bring the files themselves."
            )


def _text(path: Path) -> str:
    """The beginning of a plain file, or nothing."""
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
