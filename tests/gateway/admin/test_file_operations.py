"""No link that is swapped in meanwhile leads the admin API out of a project."""

import os
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import pytest

from builder import Folder
from gateway.admin import file_operations
from gateway.errors import Refusal


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project, beside a folder with the same names in it."""
    for folder, text in (("project", "own"), ("outside", "secret")):
        (tmp_path / folder / "sub" / "deep").mkdir(parents=True)
        (tmp_path / folder / "sub" / "deep" / "file").write_text(text)
    return tmp_path / "project"


def outside(project: Path) -> dict[str, str]:
    folder = project.parent / "outside"
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def swapped_before(monkeypatch: pytest.MonkeyPatch, name: str, entry: Path, target: Path) -> None:
    """Swaps an entry for a link just before that of the given name is opened from its folder."""
    real = os.open

    def opened(path: str, *how: int, dir_fd: int | None = None) -> int:
        if path == name and dir_fd is not None and not entry.is_symlink():
            entry.rename(entry.with_name("away"))
            entry.symlink_to(target)
        return real(path, *how, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", opened)


ACTIONS: dict[str, Callable[[Path], object]] = {
    "list": lambda root: file_operations.listing(root, "sub/deep"),
    "read": lambda root: file_operations.opened(root, "sub/deep/file").read(),
    "write": lambda root: file_operations.save(BytesIO(b"planted"), root, "sub/deep/file"),
    "make": lambda root: file_operations.save(BytesIO(b"planted"), root, "sub/deep/new/file"),
    "remove": lambda root: file_operations.remove(root, "sub/deep/file"),
    "remove all": lambda root: file_operations.remove(root, "sub/deep"),
    "walk": file_operations.all_files,
}


# What is removed as a whole is opened by `rm`, which follows no link.
SWAPS = [
    (action, swapped)
    for action in ACTIONS
    for swapped in ("", "sub", "sub/deep")
    if (action, swapped) != ("remove all", "sub/deep")
]


@pytest.mark.parametrize(("action", "swapped"), SWAPS)
def test_a_folder_that_becomes_a_link(
    project: Path, monkeypatch: pytest.MonkeyPatch, action: str, swapped: str
) -> None:
    """Whichever folder on the way is swapped at the moment of its opening: nothing outside is read
    or changed."""
    entry, target = project / swapped, project.parent / "outside" / swapped
    swapped_before(monkeypatch, entry.name, entry, target)
    with pytest.raises((Refusal, OSError)) as caught:
        ACTIONS[action](project)
    assert "secret" not in str(caught.value)
    assert outside(project) == {"sub/deep/file": "secret"}


def test_a_file_that_becomes_a_link(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a file that is swapped read; a write replaces the link."""
    file, secret = project / "sub/deep/file", project.parent / "outside/sub/deep/file"
    swapped_before(monkeypatch, "file", file, secret)
    with pytest.raises(Refusal, match="there is no file"):
        file_operations.opened(project, "sub/deep/file")
    file_operations.save(BytesIO(b"mine"), project, "sub/deep/file")
    assert (file.is_symlink(), file.read_text()) == (False, "mine")
    assert outside(project) == {"sub/deep/file": "secret"}


def test_one_pass_through_each_folder(project: Path) -> None:
    """Without a swap each of the actions does its work."""
    assert [f["path"] for f in file_operations.all_files(project)] == ["sub/deep/file"]
    assert [f["path"] for f in file_operations.listing(project, "sub/./deep/")] == ["sub/deep/file"]
    file_operations.save(BytesIO(b"1"), project, "a/b/c")
    assert (project / "a/b/c").read_bytes() == b"1"
    assert (project / "a/b/c").stat().st_mode & 0o777 == 0o644
    assert [p.name for p in (project / "a/b").iterdir()] == ["c"]
    file_operations.remove(project, "a")
    assert not (project / "a").exists()


@pytest.mark.parametrize("names", [["..", "x"], ["a/b"], ["."], [""], ["a\0"]])
def test_folders_take_single_names(project: Path, names: Sequence[str]) -> None:
    """What is no single name is refused by the opening itself, also where no caller checks it."""
    with (
        Folder.root(project) as folder,
        pytest.raises(ValueError, match="not the name of an entry"),
    ):
        folder.folder(names)


def test_a_failed_write_leaves_nothing(project: Path) -> None:
    """A file whose bytes end with an error is not there, nor half of it beside its place."""

    class Broken(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        file_operations.save(Broken(), project, "sub/new")
    assert [p.name for p in (project / "sub").iterdir()] == ["deep"]
