"""`predictd project`: from a template, of a folder, of a repository."""

from pathlib import Path

import pytest

from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import KEY, State


def test_project_from_a_template(state: State, predictd: Predictd) -> None:
    """The Python template is the default; creation is waited for."""
    outcome = predictd("project", "create", "iris")
    assert outcome.code == 0
    assert "predictd deploy FILE:FUNCTION --project iris" in outcome.out
    [project] = state.projects.values()
    assert (project["template"], project["creation_status"]) == ("Python", "success")
    assert predictd("project", "create", "empty", "--template", "blank", "--json").code == 0


def test_project_of_a_folder(state: State, predictd: Predictd, folder: Path) -> None:
    """A folder is linked by its absolute path, and must be there."""
    assert predictd("project", "create", "mine", "--path", ".", "--json").json["path"] == str(
        folder
    )
    outcome = predictd("project", "create", "none", "--path", "absent")
    assert (outcome.code, "does not exist" in outcome.err) == (2, True)


def test_path_is_not_sent_to_another_machine(
    state: State, predictd: Predictd, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path of this machine means nothing to a gateway that was named by its address: it may be
    another machine, also behind a tunnel on this one."""
    monkeypatch.setenv("PREDICTD_URL", state.url)
    monkeypatch.setenv("PREDICTD_API_KEY", KEY)
    outcome = predictd("project", "create", "mine", "--path", ".")
    assert (outcome.code, "may be another" in outcome.err) == (2, True)
    state.project({"name": "other", "path": str(folder)})
    assert predictd("deploy", "model.py:add").code == 0
    assert [each["name"] for each in state.projects.values()] == ["other", "sums"]
    assert state.sent == [["model.py"]]


def test_project_of_a_repository(state: State, predictd: Predictd) -> None:
    """A clone that fails says why; exit code 1."""
    good = predictd("project", "create", "g", "--git", "https://h/good", "--ref", "v1", "--json")
    assert (good.json["git_url"], good.json["git_ref"]) == ("https://h/good", "v1")
    bad = predictd("project", "create", "b", "--git", "https://h/broken")
    assert bad.code == 1
    assert "repository not found" in bad.err
    assert "predictd project rm b" in bad.err


def test_keys_for_a_repository(state: State, predictd: Predictd, tmp_path: Path) -> None:
    """Both keys are read from files, sent as they are, and not shown; without --git they are
    refused, and so is a file that cannot be read."""
    (tmp_path / "key").write_bytes(b"PRIVATE\r\n")
    (tmp_path / "hosts").write_text("ssh-ed25519 AAAA\n")
    (tmp_path / "binary").write_bytes(b"PRIVATE\xff")
    given = ("--git-key", str(tmp_path / "key"), "--git-host-key", str(tmp_path / "hosts"))
    outcome = predictd("project", "create", "g", "--git", "git@h:good", *given)
    assert outcome.code == 0
    assert "PRIVATE" not in outcome.out + outcome.err
    [project] = state.projects.values()
    assert project["git_key"].split() == ["PRIVATE"]
    assert project["git_host_key"] == "ssh-ed25519 AAAA\n"
    outcome = predictd("project", "create", "x", *given)
    assert (outcome.code, "need --git" in outcome.err) == (2, True)
    for name, said in (("absent", "cannot read"), ("binary", "is not a text file")):
        key = ("--git-key", str(tmp_path / name))
        outcome = predictd("project", "create", "x", "--git", "git@h:good", *key)
        assert (outcome.code, said in outcome.err, "PRIVATE" in outcome.err) == (2, True, False)


def test_project_has_one_source(state: State, predictd: Predictd) -> None:
    """A project has one source."""
    assert predictd("project", "create", "x", "--path", ".", "--git", "u").code == 2


def test_taken_project_name_is_refused(state: State, predictd: Predictd) -> None:
    """The gateway's refusal is shown."""
    predictd("project", "create", "p")
    assert predictd("project", "create", "p").code == 4


def test_ls_and_show(state: State, folder: Path, predictd: Predictd) -> None:
    """All of them in a table; one of them with its models."""
    assert "predictd project create NAME" in predictd("project", "ls").out
    predictd("project", "create", "sums", "--path", ".")
    predictd("deploy", "model.py:add")
    headings, line = predictd("project", "ls").out.splitlines()
    assert headings.split() == ["PROJECT", "TEMPLATE", "STATUS", "FOLDER"]
    assert line.endswith(str(folder))
    shown = predictd("project", "show", "sums").out
    assert str(folder) in shown
    assert "sums/add" in shown
    assert predictd("project", "show", "nope").code == 4


def test_rm(state: State, folder: Path, predictd: Predictd) -> None:
    """A linked folder is said to stay."""
    predictd("project", "create", "mine", "--path", ".")
    assert predictd("project", "rm", "mine").code == 2
    outcome = predictd("project", "rm", "mine", "--yes")
    assert f"The folder {folder} stays." in outcome.out
    assert not state.projects
