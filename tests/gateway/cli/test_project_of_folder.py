"""The project of the current folder: found again, uploaded, never another user's by accident."""

import json
import threading
from pathlib import Path

import pytest

from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import KEY, State

DEPLOY = ("deploy", "model.py:add")


def names(state: State) -> list[str]:
    return [each["name"] for each in state.projects.values()]


def test_folder_remembers_its_project(state: State, folder: Path, predictd: Predictd) -> None:
    """The second deploy sends what changed to the same project, also if that was renamed."""
    assert predictd(*DEPLOY).code == 0
    [project] = state.projects.values()
    project["name"] = "renamed"
    unchanged = predictd(*DEPLOY)
    assert "Project 'renamed' has the 1 file already." in unchanged.err
    (folder / "more.py").write_text("")
    assert "Uploaded 1 of 2 files (0 B)" in predictd(*DEPLOY).err
    assert state.sent == [["model.py"], ["more.py"]]
    assert len(state.projects) == 1


def test_project_that_was_deleted_is_created_again(
    state: State, folder: Path, predictd: Predictd
) -> None:
    """What the folder remembers is no obstacle."""
    predictd(*DEPLOY)
    state.projects.clear()
    state.models.clear()
    assert predictd(*DEPLOY).code == 0
    assert names(state) == ["sums"]


def test_other_users_project_is_not_taken(
    state: State, folder: Path, predictd: Predictd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A user with the same repository gets a project of their own."""
    predictd(*DEPLOY)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another user"))
    assert predictd(*DEPLOY).code == 0
    assert names(state) == ["sums", "sums-2"]


def test_name_of_a_hidden_project_is_skipped(
    state: State, folder: Path, predictd: Predictd
) -> None:
    """A name that is taken by a project that this user may not see costs one more request."""
    state.hidden.append({"name": "sums"})
    assert predictd(*DEPLOY).code == 0
    assert names(state) == ["sums-2"]


def test_two_first_deploys_use_one_project(
    state: State, folder: Path, tmp_path: Path, predictd: Predictd
) -> None:
    """Two first deploys at once in one folder create one project."""
    from gateway.cli.folder_projects import folder_projects

    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    with folder_projects(environment, str(tmp_path / "data")) as known:
        other = threading.Timer(0.3, known.put, (folder, state.project({"name": "theirs"})["id"]))
        other.start()
        other.join()
    assert predictd(*DEPLOY).code == 0
    assert names(state) == ["theirs"]


def test_failed_first_upload_leaves_no_project(
    state: State, folder: Path, tmp_path: Path, predictd: Predictd
) -> None:
    """The project that `deploy` has created is deleted again, and forgotten."""
    state.refuses_uploads = True
    assert predictd(*DEPLOY).code == 4
    assert names(state) == []
    known = json.loads((tmp_path / "config" / "predictd" / "folders.json").read_text())
    assert known == {str(tmp_path / "data"): {}}


def test_named_project_is_not_uploaded_to_unless_asked(
    state: State, folder: Path, predictd: Predictd
) -> None:
    """`--project` uses the files that it has; `--upload` uploads the folder, then and later."""
    predictd("project", "create", "team")
    outcome = predictd(*DEPLOY, "--project", "team")
    assert "Using the files that project 'team' has on the gateway" in outcome.err
    assert not state.sent
    assert predictd(*DEPLOY, "--project", "team", "--upload").code == 0
    (folder / "model.py").write_text("def add(args):\n    return args['a'] + args['b']  #\n")
    assert predictd(*DEPLOY, "--project", "team").code == 0
    assert predictd(*DEPLOY).code == 0
    assert (state.sent, names(state)) == ([["model.py"]] * 2, ["team"])
    assert predictd(*DEPLOY, "--upload").code == 2


def test_home_folder_is_not_uploaded(
    state: State, folder: Path, predictd: Predictd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of that name in the home folder does not make it a project."""
    monkeypatch.setenv("HOME", str(folder))
    outcome = predictd(*DEPLOY)
    assert (outcome.code, "is not a project" in outcome.err) == (2, True)
    assert not state.projects


def test_what_is_left_out_is_told(state: State, folder: Path, predictd: Predictd) -> None:
    """A model file that .gitignore names is in every data scientist's folder."""
    (folder / ".gitignore").write_text("*.joblib\n/data/\n")
    (folder / "model.joblib").write_bytes(bytes(2_000_000))
    (folder / "data").mkdir()
    (folder / ".venv").mkdir()
    (folder / ".venv" / "pyvenv.cfg").touch()
    outcome = predictd(*DEPLOY)
    assert "left out by .gitignore: model.joblib (2.0 MB), data/; left out, since" in outcome.err
    assert "since each build has its own: .venv." in outcome.err
    assert state.sent == [[".gitignore", "model.py"]]


def test_folder_with_less_is_told(state: State, folder: Path, predictd: Predictd) -> None:
    """An upload that only removes files says so, instead of that 0 files were uploaded."""
    (folder / "notes").touch()
    predictd("deploy", "model.py:add")
    (folder / "notes").unlink()
    outcome = predictd("deploy", "model.py:add")
    assert "Updated project 'sums': no content of the folder's 1 file was missing." in outcome.err


def test_replaced_files_are_told(state: State, folder: Path, predictd: Predictd) -> None:
    """An upload that replaces what an experiment gave says so."""
    state.replaced.append("model.pkl")
    outcome = predictd(*DEPLOY)
    assert "Replaced files that were changed on the gateway: model.pkl." in outcome.err


@pytest.mark.parametrize(
    ("name", "said"), [(b"caf\xe9.txt", "is not UTF-8"), (b"out", "lead outside the project")]
)
def test_folder_that_cannot_be_packed(
    state: State, folder: Path, predictd: Predictd, name: bytes, said: str
) -> None:
    """It is refused by name before anything is sent."""
    if name == b"out":
        (folder / "out").symlink_to("../secret")
    else:
        Path(str(folder).encode().decode(), name.decode("utf-8", "surrogateescape")).touch()
    outcome = predictd(*DEPLOY)
    assert (outcome.code, said in outcome.err) == (2, True), outcome.err
    assert not state.projects


def test_damaged_file_of_folders_is_named(
    state: State, folder: Path, tmp_path: Path, predictd: Predictd
) -> None:
    """With what to do about it."""
    path = tmp_path / "config" / "predictd" / "folders.json"
    path.parent.mkdir(parents=True)
    path.write_text("[")
    outcome = predictd(*DEPLOY)
    assert (outcome.code, f"{path} is not JSON" in outcome.err) == (1, True)


def test_similar_file_is_suggested(state: State, folder: Path, predictd: Predictd) -> None:
    """`serve` and `server.py` for `serve.py`."""
    (folder / "serve.py").touch()
    for wrong in ("serve", "server.py"):
        assert "did you mean 'serve.py'?" in predictd("deploy", f"{wrong}:predict").err


def test_remote_gateways_have_projects_of_their_own(
    state: State, folder: Path, predictd: Predictd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder has one project for each gateway."""
    predictd(*DEPLOY)
    monkeypatch.setenv("PREDICTD_URL", state.url)
    monkeypatch.setenv("PREDICTD_API_KEY", KEY)
    assert predictd(*DEPLOY).code == 0
    assert predictd(*DEPLOY).code == 0
    assert names(state) == ["sums", "sums-2"]
