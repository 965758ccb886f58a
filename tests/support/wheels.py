"""Wheels in folders, so that tests need no index."""

from pathlib import Path

from tests.support.package_index import wheel


def make_wheel(
    folder: Path, name: str, version: str, requires: tuple[str, ...] = (), more: str = ""
) -> Path:
    """A wheel with one module, which has `VERSION`. `more` are lines of its metadata."""
    file = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_bytes(wheel(name, version, requires, more=more))
    return file
