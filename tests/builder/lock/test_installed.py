"""The packages of an environment are read from files that its script may have replaced."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from builder.lock import installed
from builder.lock.installed import Installed, TooManyPackages, package_of, read_installed

HOME = "/home/cdsw"


def info(folder: Path, name: str, metadata: str | None = None, direct: object = None) -> Path:
    made = folder / name
    made.mkdir()
    if metadata is not None:
        (made / "METADATA").write_text(metadata)
    if direct is not None:
        (made / "direct_url.json").write_text(json.dumps(direct))
    return made


def test_names_and_versions_come_from_metadata(tmp_path: Path) -> None:
    """METADATA has the name and version of a package; without it, the name of its folder has."""
    info(
        tmp_path,
        "Some_Thing-1.0.dist-info",
        "Metadata-Version: 2.1\nName: Some.Thing\nVersion: 1.0+cpu\n\nName: no",
    )
    info(tmp_path, "bare-2.dist-info")
    (tmp_path / "old-3-py3.11.egg-info").mkdir()
    (tmp_path / "single-4.egg-info").write_text("Name: single")
    (tmp_path / "module.py").touch()
    info(tmp_path, "evil name-1.dist-info", "Name: ../x\nVersion: 1")
    assert [(each.name, each.version) for each in read_installed(tmp_path)] == [
        ("bare", "2"),
        ("old", "3"),
        ("single", "4"),
        ("some-thing", "1.0+cpu"),
    ]


def test_hostile_files_are_not_followed(tmp_path: Path) -> None:
    """Links, pipes and huge files in place of metadata neither block nor are read whole."""
    secret = tmp_path / "secret"
    secret.write_text("Name: secret\nVersion: 9")
    packages = tmp_path / "packages"
    packages.mkdir()
    (info(packages, "linked-1.dist-info") / "METADATA").symlink_to(secret)
    piped = info(packages, "piped-1.dist-info", "Name: piped\nVersion: 1")
    os.mkfifo(piped / "direct_url.json")
    os.mkfifo(info(packages, "pipe-1.dist-info") / "METADATA")
    (packages / "outside-1.dist-info").symlink_to(tmp_path)
    huge = info(packages, "huge-1.dist-info", "Name: huge\nVersion: 1.5\n\n")
    os.truncate(huge / "METADATA", 1 << 40)
    deep = info(packages, "deep-1.dist-info", "Name: deep\nVersion: 1")
    (deep / "direct_url.json").write_text("[" * 50_000)
    found = {each.name: each.version for each in read_installed(packages)}
    assert found == {
        "deep": "1",
        "huge": "1.5",
        "linked": "1",
        "outside": "1",
        "pipe": "1",
        "piped": "1",
    }


def test_too_many_packages_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with more packages or files than the limits has no lock."""
    for number in range(4):
        info(tmp_path, f"p{number}-1.dist-info")
    monkeypatch.setattr(installed, "MOST_PACKAGES", 3)
    with pytest.raises(TooManyPackages, match="more than 3 packages"):
        read_installed(tmp_path)
    monkeypatch.setattr(installed, "_MOST_ENTRIES", 3)
    with pytest.raises(TooManyPackages, match="more than 3 files"):
        read_installed(tmp_path)


@pytest.mark.parametrize(
    ("direct", "source"),
    [
        (None, ""),
        ({"url": "file:///home/cdsw", "dir_info": {"editable": True}}, "editable folder ."),
        ({"url": "file:///home/cdsw/my%20pkg", "dir_info": {}}, "folder my pkg"),
        ({"url": "file:///shared/pkg/", "dir_info": {}}, "folder /shared/pkg"),
        (
            {"url": "file:///home/cdsw/w/a-1.whl", "archive_info": {"hashes": {"sha256": "ab"}}},
            "w/a-1.whl",
        ),
        (
            {"url": "https://u:p@host/a-1.whl", "archive_info": {"hash": "sha256=ab"}},
            "https://host/a-1.whl",
        ),
        (
            {"url": "https://u:p@host/a.git", "vcs_info": {"vcs": "git", "commit_id": "cd"}},
            "git+https://host/a.git@cd",
        ),
        # Without hashes an archive cannot be in a lock; wrong types are nothing.
        ({"url": "https://host/a-1.whl", "archive_info": {}}, ""),
        ({"url": 1, "dir_info": [], "vcs_info": {"vcs": 2}, "archive_info": 3}, ""),
        ({"url": "https://host/a", "archive_info": {"hashes": {"sha256": "no\nhash"}}}, ""),
    ],
)
def test_source_comes_from_direct_url(direct: dict[str, Any] | None, source: str) -> None:
    """A folder, archive or repository is named without secrets, by its path in the project."""
    package = package_of(Installed(name="a", version="1", direct=direct), HOME)
    assert package.source == source
    assert package.is_unhashed == (source == "")
