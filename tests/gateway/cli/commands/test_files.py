"""`predictd files` against a real gateway: up, down, and never outside the target."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.client import Client
from tests.gateway.cli.conftest import Predictd
from tests.gateway.conftest import Samples
from tests.support.fake_admin_api import State


@pytest.fixture
def files(
    samples: Samples, data: Path, folder: Path, predictd: Predictd, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Predictd]:
    """Runs commands on the gateway of the samples, in a folder that was uploaded to a project."""
    monkeypatch.setenv("PREDICTD_DATA", str(samples.data))
    assert predictd("project", "create", "files", "--template", "blank").code == 0
    assert predictd("files", "sync", "--project", "files").code == 0
    yield predictd
    predictd("project", "rm", "files", "--yes")


def test_files_go_up_and_down(files: Predictd, folder: Path) -> None:
    """Put, ls, get and rm, by the project that the folder remembers."""
    big = bytes(range(256)) * 4000
    (folder / "model ü.pkl").write_bytes(big)
    outcome = files("files", "put", "model ü.pkl", "model.py", "--to", "out/deep")
    assert "Uploaded 2 files (1.0 MB) to 'files'." in outcome.out, outcome.err
    assert "model ü.pkl" in files("files", "ls", "out/deep").out
    listed = files("files", "ls", "--json").json["files"]
    assert {each["path"] for each in listed} == {".gitignore", "model.py", "out"}
    assert files("files", "get", "out/deep/model ü.pkl", "back.pkl").code == 0
    assert (folder / "back.pkl").read_bytes() == big
    got = files("files", "get", "out", "--json").json
    assert sorted(got["files"]) == ["deep/model ü.pkl", "deep/model.py"]
    assert (folder / "out" / "deep" / "model ü.pkl").read_bytes() == big
    assert files("files", "get", "model.py", "-").out == (folder / "model.py").read_text()
    assert files("files", "rm", "out").code == 2
    assert files("files", "rm", "out", "--yes").code == 0
    assert "out" not in files("files", "ls").out


def test_get_asks_before_it_replaces(files: Predictd, folder: Path) -> None:
    """A file of this machine, which may have changes, is replaced only if that is confirmed."""
    (folder / "model.py").write_text("changed")
    for target in ("model.py", "."):
        outcome = files("files", "get", target, *(["."] if target == "." else []))
        assert (outcome.code, "Replace" in outcome.err) == (2, True), outcome.err
        assert "model.py in" in outcome.err
    assert (folder / "model.py").read_text() == "changed"
    assert files("files", "get", "model.py", "--yes").code == 0
    assert "def add" in (folder / "model.py").read_text()


def test_sync_keeps_what_was_put(files: Predictd, folder: Path) -> None:
    """Uploading the folder deletes no file that came by `files put`."""
    (folder.parent / "model.pkl").write_bytes(b"fitted")
    files("files", "put", "../model.pkl")
    (folder / "model.py").rename(folder / "serve.py")
    assert files("files", "sync").code == 0
    listed = files("files", "ls", "--json").json["files"]
    assert [each["path"] for each in listed] == [".gitignore", "model.pkl", "serve.py"]


def test_missing_files_are_refused(files: Predictd, folder: Path, tmp_path: Path) -> None:
    """On either side, with what to do."""
    assert "has no file 'absent'" in files("files", "get", "absent").err
    outcome = files("files", "put", "absent")
    assert (outcome.code, "cannot read 'absent'" in outcome.err) == (2, True)
    (folder / "sub").mkdir()
    assert "predictd files sync" in files("files", "put", "sub").err
    assert files("files", "get", "model.py", "absent/../model.py/x").code == 1


def test_folder_without_project(state: State, folder: Path, predictd: Predictd) -> None:
    """Nothing is guessed."""
    outcome = predictd("files", "ls")
    assert (outcome.code, "has no project on this gateway" in outcome.err) == (2, True)


def test_get_writes_through_no_link(files: Predictd, folder: Path, tmp_path: Path) -> None:
    """A link in the target is replaced, if it has the name of a file, and else refused."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    files("files", "put", "model.py", "--to", "sub")
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    (target / "model.py").symlink_to(outside / "secret")
    (target / "sub").rmdir()
    (target / "sub").symlink_to(outside)
    outcome = files("files", "get", ".", str(target), "--yes")
    assert outcome.code == 1
    assert [each.name for each in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "secret"


@pytest.mark.parametrize("name", ["..", ".", "", "x\0"])
def test_get_trusts_no_name(
    state: State, folder: Path, predictd: Predictd, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A gateway that sends a name which is none writes nowhere."""
    predictd("project", "create", "p")
    entry = {"path": f"sub/{name}", "is_dir": False, "file_size": "1", "last_modified": ""}
    monkeypatch.setattr(Client, "listing", _listing(Client.listing, entry))
    before = sorted(folder.parent.rglob("*"))
    outcome = predictd("files", "get", ".", "target", "--project", "p")
    assert (outcome.code, "is not the name of a file" in outcome.err) == (5, True), outcome.err
    (folder / "target").rmdir()
    assert sorted(folder.parent.rglob("*")) == before


def _listing(real: Callable[..., Any], entry: object) -> Callable[..., Any]:
    def listing(self: Client, path: str, **query: object) -> list[object]:
        return [entry] if path.endswith("/files") else list(real(self, path, **query))

    return listing
