"""A build and its deployment in one request, with or without their model."""

from pathlib import Path

import trio

from builder import snapshots_in
from tests.support.gateway import Gateway, copy_of, refusal, running, settings_for

CONFIG = {"file_path": "add.py", "function_name": "add", "auto_deploy_model": True}
REPLICAS = {"auto_deployment_config": {"replicas": 2}}


async def test_a_refused_launch_leaves_nothing(tmp_path: Path) -> None:
    """Of two requests that pass the checks and do not both fit, one is refused and leaves no model,
    no build and no deployment; the same holds for builds of two models that exist. The audit log
    has the creation, its undoing and the refusal."""
    settings = settings_for(tmp_path / "data", max_replicas=2, project_replicas=2)
    async with running(settings) as gateway:
        project = await gateway.project(copy_of("add", tmp_path))
        config = {**CONFIG, **REPLICAS}
        models: dict[str, dict[str, object]] = {
            name: {"name": name, "auto_build_model": True, "auto_build_config": config}
            for name in ("a", "b")
        }
        created = await _post_all(gateway, {f"{project}/models": models})
        assert sorted(created) == [(200, ""), (429, "project.busy")]
        (model,) = (await gateway.get(f"{project}/models"))["models"]
        assert await _undone(gateway, "model") == [
            ("model.create", "done"),
            ("model.delete", "done"),
            ("model.create", "project.busy"),
        ]
        await gateway.delete(f"{project}/models/{model['id']}")

        paths = [await gateway.model(project, name) for name in ("a", "b")]
        built = await _post_all(gateway, {f"{path}/builds": {"": config} for path in paths})
        assert sorted(built) == [(200, ""), (429, "project.busy")]
        counts = [len((await gateway.get(f"{path}/builds"))["model_builds"]) for path in paths]
        assert sorted(counts) == [0, 1]
        assert await _undone(gateway, "build") == [
            ("build.create", "done"),
            ("build.delete", "done"),
            ("build.create", "project.busy"),
        ]


async def test_a_failed_first_build_leaves_its_model(gateway: Gateway, tmp_path: Path) -> None:
    """A build that fails is no refusal: its model and its log stay for the user to read."""
    folder = copy_of("add", tmp_path)
    (folder / "cdsw-build.sh").write_text("exit 1\n")
    project = await gateway.project(folder)
    asked = {"name": "m", "auto_build_model": True, "auto_build_config": CONFIG}
    made = await gateway.post(f"{project}/models", asked)
    build = f"{project}/models/{made['id']}/builds/{made['model_build']['id']}"
    ended = await gateway.until(build, lambda b: b["status"] == "build failed")
    assert ended["failure"]["summary"]


async def test_a_model_whose_files_fail_the_check_is_not_created(
    gateway: Gateway, tmp_path: Path
) -> None:
    """What the check of the files finds refuses the creation of a model, with all problems; no
    model, build or snapshot is left."""
    folder = copy_of("add", tmp_path)
    (folder / "leaving").symlink_to("/etc/passwd")
    project = await gateway.project(folder)
    config = {**CONFIG, "file_path": "ad.py"}
    asked = {"name": "m", "auto_build_model": True, "auto_build_config": config}
    answer = await gateway.admin.post(f"{project}/models", json=asked)
    assert refusal(answer) == (400, "build.refused")
    assert "leaving -> /etc/passwd" in answer.json()["message"]
    (folder / "leaving").unlink()
    answer = await gateway.admin.post(f"{project}/models", json=asked)
    assert refusal(answer) == (400, "build.refused")
    assert answer.json()["message"] == "'ad.py' is not a file of the project"
    assert answer.json()["details"][0]["advice"] == "Did you mean 'add.py'?"
    assert (await gateway.get(f"{project}/models"))["models"] == []
    assert snapshots_in(gateway.data / "snapshots" / f"{project.rpartition('/')[2]}.git") == []


async def test_no_model_of_a_project_that_failed(gateway: Gateway) -> None:
    """A project that could not be created gets no model by a request that would build it."""
    asked = {"name": "p", "template": "git", "git_url": "https://127.0.0.1:1/none"}
    project = f"/projects/{(await gateway.post('/projects', asked))['id']}"
    model = {"name": "m", "auto_build_model": True, "auto_build_config": CONFIG}
    refused = refusal(await gateway.admin.post(f"{project}/models", json=model))
    assert refused == (409, "state.conflict")
    assert (await gateway.get(f"{project}/models"))["models"] == []


async def _undone(gateway: Gateway, noun: str) -> list[tuple[str, str]]:
    """Action and outcome of each audit entry of the request that was refused."""
    entries = (await gateway.get("/audit", action=f"{noun}."))["entries"]
    (refused,) = (each["request_id"] for each in entries if each["outcome"] == "project.busy")
    mine = [each for each in entries if each["request_id"] == refused]
    created, deleted, _ = mine
    assert deleted["object"] == created["object"]
    return [(each["action"], each["outcome"]) for each in mine]


async def _post_all(
    gateway: Gateway, bodies: dict[str, dict[str, dict[str, object]]]
) -> list[tuple[int, str]]:
    """Posts all bodies at once; returns status and code of each answer."""
    answers: list[tuple[int, str]] = []

    async def post(path: str, body: dict[str, object]) -> None:
        answer = await gateway.admin.post(path, json=body)
        answers.append((200, "") if answer.status_code == 200 else refusal(answer))

    async with trio.open_nursery() as nursery:
        for path, named in bodies.items():
            for body in named.values():
                nursery.start_soon(post, path, body)
    return answers
