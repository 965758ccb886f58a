"""What a clone did not bring is named, before something fails for want of it."""

from pathlib import Path

from builder.snapshot.missing_content import notices

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"


def test_missing_submodule_is_reported(tmp_path: Path) -> None:
    """An empty or missing folder of a submodule is reported; a complete one is not."""
    (tmp_path / ".gitmodules").write_text(
        '[submodule "a"]\n\tpath = libs/a\n\turl = https://x\n'
        '[submodule "b"]\n  path=b\n[submodule "c"]\n\tpath = c\n'
        '[submodule "d"]\n\tpath = ../d\n'
    )
    (tmp_path / "libs/a").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/setup.py").touch()
    [line] = notices(tmp_path)
    assert "Submodules are empty" in line
    assert ": libs/a, b. Run `git submodule update --init`" in line


def test_lfs_pointer_is_reported(tmp_path: Path) -> None:
    """A pointer in the place of a file is reported where the project uses LFS."""
    (tmp_path / "weights.bin").write_text(POINTER)
    (tmp_path / "real.bin").write_bytes(bytes(2000))
    (tmp_path / "link.bin").symlink_to("weights.bin")
    assert list(notices(tmp_path)) == []
    (tmp_path / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    [line] = notices(tmp_path)
    assert ": weights.bin. Run `git lfs pull`" in line


def test_link_or_folder_instead_of_a_pointer_is_skipped(tmp_path: Path) -> None:
    """A link or a folder in the place of the file that is read is skipped."""
    (tmp_path / ".gitmodules").symlink_to("/etc/hosts")
    (tmp_path / ".gitattributes").mkdir()
    assert list(notices(tmp_path)) == []
