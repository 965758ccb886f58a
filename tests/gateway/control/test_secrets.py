"""Variables are encrypted at rest; those that are secrets can be set and not read back."""

import json
import os
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest

from gateway.control.variables import id_of_variables
from gateway.encryption import Encryption
from tests.gateway.conftest import Samples
from tests.support.gateway import (
    Gateway,
    Json,
    copy_of,
    ended_build,
    refusal,
    running,
    settings_for,
    status_is,
)


@pytest.fixture
async def project(shared: Gateway) -> str:
    """The path of a project with one variable and two secrets."""
    asked = {
        "name": f"secrets {os.urandom(4).hex()}",
        "environment": {"PLAIN": "seen"},
        "secrets": {"TOKEN": "hunter2", "OTHER": "hunter3"},
    }
    return f"/projects/{(await shared.post('/projects', asked))['id']}"


async def patch(gateway: Gateway, path: str, **changes: object) -> Json:
    answer = await gateway.admin.patch(path, json=changes)
    assert answer.status_code == 200, answer.text
    assert "hunter" not in answer.text
    return dict(answer.json())


async def test_secrets_are_named_only(shared: Gateway, project: str) -> None:
    """No reply to any user has the value of a secret; its name says that it is set."""
    for path in (project, "/projects?page_size=1000"):
        assert "hunter" not in (await shared.admin.get(path)).text
    shown = await shared.get(project)
    assert json.loads(shown["environment"]) == {"PLAIN": "seen"}
    assert shown["secrets"] == ["OTHER", "TOKEN"]
    assert shown["environment_problem"] == ""


async def test_changes_of_secrets(shared: Gateway, project: str) -> None:
    """Each can be set and removed by itself; plain variables are replaced and leave them alone."""
    changed = await patch(shared, project, environment={"NEW": "1"})
    assert (changed["environment"], changed["secrets"]) == ('{"NEW":"1"}', ["OTHER", "TOKEN"])
    changed = await patch(shared, project, secrets={"OTHER": "", "THIRD": "hunter4"})
    assert (changed["environment"], changed["secrets"]) == ('{"NEW":"1"}', ["THIRD", "TOKEN"])
    changed = await patch(shared, project, environment={}, secrets={"THIRD": "", "TOKEN": ""})
    assert (changed["environment"], changed["secrets"]) == ("{}", [])


async def test_a_name_is_a_variable_or_a_secret(shared: Gateway, project: str) -> None:
    """One name with two values is refused, and so is a name that no process could have."""
    both = {"A": "1"}
    asked = {"name": "both", "environment": both, "secrets": both}
    for answer in (
        await shared.admin.post("/projects", json=asked),
        await shared.admin.patch(project, json={"environment": {"TOKEN": "x"}}),
        await shared.admin.patch(project, json={"secrets": {"PLAIN": "x"}}),
        await shared.admin.patch(project, json={"secrets": {"a b": "hunter2"}}),
    ):
        assert refusal(answer) == (400, "argument.invalid")
        assert "hunter2" not in answer.text
    assert (await shared.get(project))["secrets"] == ["OTHER", "TOKEN"]


async def test_processes_get_them(gateway: Gateway, tmp_path: Path) -> None:
    """Builds, models and experiments have the secrets of their project, and a model those of its
    deployment; the database has none of their values, and their names in the audit log only."""
    folder = copy_of("environment", tmp_path)
    (folder / "cdsw-build.sh").write_text("test $TOKEN = hunter2 && echo the build has it\n")
    (folder / "script.py").write_text("import os\nassert os.environ['TOKEN'] == 'hunter2'\n")
    project = await gateway.project(
        folder, environment={"PLAIN": "canary1"}, secrets={"TOKEN": "hunter2"}
    )
    model = await gateway.model(project)
    build = await gateway.built(model, "environment.py:report")
    assert "the build has it" in (await gateway.admin.get(f"{build}/log")).text
    deployment = await gateway.deployed(build, secrets={"OF_DEPLOYMENT": "hunter3"})
    shown = await gateway.get(deployment)
    assert (shown["environment"], shown["secrets"]) == ("{}", ["OF_DEPLOYMENT"])
    answer = await gateway.call(await gateway.key(model), {})
    seen = answer.json()["response"]["environment"]
    assert (seen["PLAIN"], seen["TOKEN"], seen["OF_DEPLOYMENT"]) == (
        "canary1",
        "hunter2",
        "hunter3",
    )
    run = await gateway.post(f"{project}/experiments", {"script": "script.py"})
    await gateway.until(f"{project}/experiments/{run['id']}", status_is("succeeded"))
    files = b"".join(path.read_bytes() for path in gateway.data.glob("predictd.db*"))
    assert not [value for value in (b"hunter", b"canary1") if value in files]
    with closing(connect(gateway.data / "predictd.db")) as database:
        lines = [line for line in database.iterdump() if "OF_DEPLOY" in line]
        lines += [line for line in database.iterdump() if b"OF_DEPLOY".hex().upper() in line]
    assert lines
    assert all(line.startswith('INSERT INTO "audit"') for line in lines)


async def test_another_secret_key(tmp_path: Path) -> None:
    """Where secret.key is another the site serves; what needs the variables says what to do and is
    not given up; set again they hold, and with the right key back all is as it was."""
    settings = settings_for(tmp_path / "data")
    key = tmp_path / "data" / "secret.key"
    folder = copy_of("environment", tmp_path)
    async with running(settings) as gateway:
        project = await gateway.project(folder, secrets={"TOKEN": "hunter2"})
        model = await gateway.model(project)
        build = await gateway.built(model, "environment.py:report")
        deployment = await gateway.deployed(build)
        other = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
        await gateway.deployed(await gateway.built(other, "add.py:add"))
    right = key.read_text()
    key.write_text("60" * 32)
    async with running(settings) as gateway:
        await gateway.until(other, lambda m: m["replicas_ready"] == 1)
        shown = await gateway.get(project)
        assert shown["secrets"] == []
        assert "secret.key" in shown["environment_problem"]
        waiting = await gateway.until(deployment, lambda d: bool(d["waiting_for"]))
        assert "cannot be decrypted" in waiting["waiting_for"]
        failed = await gateway.until(
            await gateway.build(model, "environment.py:report"), ended_build
        )
        assert "secret.key" in failed["failure"]["problem"]
        run = await gateway.post(f"{project}/experiments", {"script": "environment.py"})
        ended = await gateway.until(f"{project}/experiments/{run['id']}", status_is("failed"))
        assert "secret.key" in ended["failure"]["problem"]
    key.write_text(right)
    async with running(settings) as gateway:
        assert (await gateway.get(project))["secrets"] == ["TOKEN"]
        await gateway.until(deployment, lambda d: d["replicas_ready"] == 1)
        answer = await gateway.call(await gateway.key(model), {})
        assert answer.json()["response"]["environment"]["TOKEN"] == "hunter2"


async def test_a_moved_row_is_not_decrypted(tmp_path: Path) -> None:
    """Variables that were copied to another project in the database are not that project's."""
    settings = settings_for(tmp_path / "data")
    async with running(settings) as gateway:
        one = await gateway.post("/projects", {"name": "one", "secrets": {"TOKEN": "hunter2"}})
        two = await gateway.post("/projects", {"name": "two"})
    with closing(connect(tmp_path / "data" / "predictd.db")) as database, database:
        database.execute(
            "UPDATE projects SET variables = (SELECT variables FROM projects WHERE id = ?)"
            " WHERE id = ?",
            (one["id"], two["id"]),
        )
    async with running(settings) as gateway:
        shown = await gateway.get(f"/projects/{two['id']}")
        assert (shown["secrets"], bool(shown["environment_problem"])) == ([], True)
        assert (await gateway.get(f"/projects/{one['id']}"))["secrets"] == ["TOKEN"]
        changed = await patch(gateway, f"/projects/{two['id']}", secrets={"MINE": "hunter3"})
        assert (changed["secrets"], changed["environment_problem"]) == (["MINE"], "")


def test_an_environments_id_does_not_tell_its_variables() -> None:
    """A user who has the snapshot and the id cannot guess values: the hash needs secret.key."""

    def identify(secret: str, value: str) -> str:
        return id_of_variables(Encryption(secret), {"TOKEN": value})

    assert identify("5f" * 32, "a") == identify("5f" * 32, "a")
    ids = {identify(secret, value) for secret in ("5f" * 32, "60" * 32) for value in "ab"}
    assert len(ids) == 4


async def test_deployments_of_others(shared: Gateway, samples: Samples) -> None:
    """A deployment's secrets are refused as its variables are."""
    models = (await shared.get("/models"))["models"]
    add = next(model for model in models if model["access_key"] == samples.add)
    path = f"/projects/{add['project']['id']}/models/{add['id']}/builds"
    (build,) = (await shared.get(path))["model_builds"]
    for secrets in ({"a b": "hunter2"}, {"A": ["hunter2"]}):
        answer = await shared.admin.post(
            f"{path}/{build['id']}/deployments", json={"secrets": secrets}
        )
        assert refusal(answer) == (400, "argument.invalid")
        assert "hunter2" not in answer.text
