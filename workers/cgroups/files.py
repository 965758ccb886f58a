"""The files of a cgroup: words and numbers."""

from pathlib import Path


def write(file: Path, text: str) -> None:
    file.write_text(text)


def try_to_write(file: Path, text: str) -> bool:
    try:
        file.write_text(text)
    except OSError:
        return False
    return True


def words(file: Path) -> set[str]:
    return set(file.read_text().split())


def number(file: Path) -> int:
    return int(file.read_text())


def numbers(file: Path) -> dict[str, int]:
    """A file of lines "name number"."""
    pairs = (line.split() for line in file.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
