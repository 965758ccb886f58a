"""/projects: made in every way, listed, changed, deleted."""

import json
from pathlib import Path

import httpx
import pytest
import trio
from git import Repo

from gateway.control.projects import project_files, projects
from tests.gateway.admin.test_users import person
from tests.support.gateway import Gateway, copy_of, refusal, status_is


async def test_a_linked_project_stays_when_it_is_deleted(gateway: Gateway, tmp_path: Path) -> None:
    """A project linked to a user's folder changes nothing in it, not even by its deletion."""
    folder = copy_of("add", tmp_path)
    before = sorted(folder.iterdir())
    project = await gateway.project(folder)
    told = await gateway.get(project)
    assert (told["path"], told["linked"], told["creation_status"]) == (str(folder), True, "success")
    await gateway.delete(project)
    assert sorted(folder.iterdir()) == before
    assert refusal(await gateway.admin.get(project)) == (404, "project.notfound")


async def test_a_project_from_a_template(gateway: Gateway) -> None:
    """A template's files are laid out in a folder of ours, which goes with the project."""
    made = await gateway.post("/projects", {"name": "iris", "template": "Python"})
    folder = Path(made["path"])
    assert {"fit.py", "predict.py", "cdsw-build.sh", ".gitignore"} <= {
        file.name for file in folder.iterdir()
    }
    assert folder.is_relative_to(gateway.data)
    await gateway.delete(f"/projects/{made['id']}")
    assert not folder.exists()


async def test_a_project_from_git(gateway: Gateway, tmp_path: Path) -> None:
    """A clone continues after the answer and ends in success, or in failure with git's own words;
    until then nothing is built from it."""
    with Repo.init(tmp_path / "origin") as repository:
        (tmp_path / "origin" / "add.py").write_text("def add(args): return 1\n")
        repository.index.add(["add.py"])
        repository.index.commit("first")
    for name, url, status in (
        ("good", f"file://{tmp_path}/origin", "success"),
        ("bad", f"file://{tmp_path}/nowhere", "failure"),
    ):
        made = await gateway.post("/projects", {"name": name, "template": "git", "git_url": url})
        path = f"/projects/{made['id']}"
        ended = await gateway.until(path, lambda p: p["creation_status"] != "creating")
        assert ended["creation_status"] == status
        assert bool(ended["creation_error"]) is (status == "failure")
        assert (Path(ended["path"]) / "add.py").exists() is (status == "success")
    model = await gateway.model(path)
    asked = {"file_path": "add.py", "function_name": "add"}
    answer = await gateway.admin.post(f"{model}/builds", json=asked)
    assert refusal(answer) == (409, "state.conflict")


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        ({"name": ""}, (400, "argument.invalid")),
        ({"name": " x"}, (400, "argument.invalid")),
        ({"name": "a/b"}, (400, "argument.invalid")),
        ({"name": "x\u0000"}, (400, "argument.invalid")),
        ({"name": "x" * 129}, (400, "argument.invalid")),
        ({"name": "x", "description": "\ud800"}, (400, "argument.invalid")),
        ({"name": "x", "path": "/\ud800"}, (400, "argument.invalid")),
        ({"name": "x", "path": "/nul\0"}, (400, "argument.invalid")),
        ({"name": "x", "visibility": "secret"}, (400, "argument.invalid")),
        ({"name": "x", "template": "Cobol"}, (400, "argument.invalid")),
        ({"name": "x", "path": "relative"}, (400, "argument.invalid")),
        ({"name": "x", "path": "/no/such/folder"}, (400, "argument.invalid")),
        ({"name": "x", "path": "/"}, (400, "argument.invalid")),
        ({"name": "x", "template": "git"}, (400, "argument.invalid")),
        ({"name": "x", "git_url": "ext::sh -c id"}, (400, "argument.invalid")),
        ({"name": "x", "git_url": "https://host/x?token=x"}, (400, "argument.invalid")),
    ],
)
async def test_project_invalid_is_refused(
    shared: Gateway, asked: dict[str, str], refused: tuple[int, str]
) -> None:
    """What cannot be is refused, and no project is left of it."""
    before = await shared.get("/projects", page_size=100)
    answer = await shared.admin.post(
        "/projects",
        content=json.dumps(asked),  # escapes, where UTF-8 has no way to say it
        headers={"Content-Type": "application/json"},
    )
    assert refusal(answer) == refused
    assert await shared.get("/projects", page_size=100) == before


async def test_project_name_and_folder_are_unique(gateway: Gateway, tmp_path: Path) -> None:
    """Two projects share neither a name nor a folder; after a deletion both are free."""
    folder = copy_of("add", tmp_path)
    project = await gateway.project(folder, "one")
    for asked in ({"name": "one"}, {"name": "two", "path": str(folder)}):
        assert refusal(await gateway.admin.post("/projects", json=asked)) == (409, "name.taken")
    await gateway.delete(project)
    await gateway.project(folder, "one")


async def test_data_folder_is_refused_as_project(gateway: Gateway) -> None:
    """Neither the data folder, nor what holds it or lies in it, can be linked."""
    for path in (gateway.data, gateway.data.parent, gateway.data / "logs"):
        path.mkdir(exist_ok=True)
        answer = await gateway.admin.post("/projects", json={"name": "x", "path": str(path)})
        assert refusal(answer) == (400, "argument.invalid")


async def test_project_changes(gateway: Gateway) -> None:
    """What is named is changed, the rest stays; the environment is told as JSON text."""
    made = await gateway.post("/projects", {"name": "x", "description": "old"})
    changes = {"name": "y", "environment": {"A": "1"}}
    answer = await gateway.admin.patch(f"/projects/{made['id']}", json=changes)
    changed = answer.json()
    assert (changed["name"], changed["description"]) == ("y", "old")
    assert json.loads(changed["environment"]) == {"A": "1"}


async def test_deleting_a_project_that_serves(gateway: Gateway, tmp_path: Path) -> None:
    """Deleting a project stops and deletes its models first."""
    project = await gateway.project(copy_of("add", tmp_path))
    model = await gateway.model(project)
    key = await gateway.key(model)
    await gateway.until(
        await gateway.deployed(await gateway.built(model, "add.py:add")), status_is("deployed")
    )
    await gateway.delete(project)
    assert refusal(await gateway.call(key, 1)) == (401, "model.accesskey")
    assert (await gateway.get("/models"))["models"] == []
    assert not list((gateway.data / "snapshots").iterdir())


async def test_deleting_a_project_that_is_being_cloned(
    gateway: Gateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The clone is ended first; when the deletion is answered no folder is left, and nothing of
    the clone comes after it. That is no failure of ours."""
    begun, over = trio.Event(), trio.Event()

    async def clone(address: object, reference: str, target: Path, **_: object) -> None:
        target.mkdir(parents=True)
        try:
            begun.set()
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                # As git, which writes until it is dead.
                await trio.sleep(0.05)
                target.mkdir(exist_ok=True)
                (target / "last words").touch()
            over.set()

    monkeypatch.setattr(project_files, "clone", clone)
    asked = {"name": "x", "template": "git", "git_url": f"file://{tmp_path}/origin"}
    made = await gateway.post("/projects", asked)
    await begun.wait()
    await gateway.delete(f"/projects/{made['id']}")
    assert over.is_set()
    assert not Path(made["path"]).exists()
    assert not list((gateway.data / "logs").rglob("*.log"))
    await gateway.post("/projects", {"name": "x"})
    assert "background_task.failed" not in caplog.text


async def test_the_projects_that_a_user_makes_are_bounded(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of those that were passed on, and where many are made at once; a site administrator
    makes as many as are wanted."""
    monkeypatch.setattr(projects, "MAX_PROJECTS", 2)
    ada, bob = [await person(gateway, name) for name in ("Ada", "Bob")]
    answers: list[httpx.Response] = []

    async def make(number: int) -> None:
        answers.append(await ada.api.post("/projects", json={"name": f"number {number}"}))

    async with ada.api, bob.api:
        assert (await bob.api.post("/projects", json={"name": "of another"})).is_success
        async with trio.open_nursery() as nursery:
            for number in range(10, 18):
                nursery.start_soon(make, number)
        assert sorted(answer.status_code for answer in answers) == [200] * 2 + [409] * 6
        made = next(answer for answer in answers if answer.is_success)
        await gateway.admin.put(
            f"/projects/{made.json()['id']}/collaborators/admin", json={"permission": "owner"}
        )
        assert refusal(await ada.api.post("/projects", json={"name": "one more"})) == (
            409,
            "state.conflict",
        )
        for number in range(2, 5):
            await gateway.post("/projects", {"name": f"number {number}"})
        await gateway.delete(f"/projects/{made.json()['id']}")
        assert (await ada.api.post("/projects", json={"name": "one more"})).status_code == 200
