"""Variables are set and removed one by one, for a project and for the site."""

import ast
import inspect
from pathlib import Path

import pytest
import trio

from gateway.control import variables
from gateway.control.user_variables import FACTS
from tests.support.gateway import Gateway, Json, copy_of, refusal, running, settings_for


async def patch(gateway: Gateway, path: str, **changes: object) -> Json:
    answer = await gateway.admin.patch(path, json=changes)
    assert answer.status_code == 200, answer.text
    assert "hunter" not in answer.text
    return dict(answer.json())


def names(answer: Json) -> list[tuple[str, str | None]]:
    return [(each["name"], each["value"]) for each in answer["variables"]]


async def test_one_change_keeps_all_other_variables(gateway: Gateway, tmp_path: Path) -> None:
    """Clients that change different variables at once lose none of them."""
    path = f"{await gateway.project(copy_of('add', tmp_path))}/variables"

    async with trio.open_nursery() as nursery:
        for number in range(5):
            changes = {"environment": {f"V{number}": "x"}, "secrets": {f"S{number}": "hunter"}}
            nursery.start_soon(lambda asked: patch(gateway, path, **asked), changes)
    expected = [(f"S{n}", None) for n in range(5)] + [(f"V{n}", "x") for n in range(5)]
    assert names(await gateway.get(path)) == expected
    left = await patch(gateway, path, remove=["S1", "V1"], environment={"V2": "y"})
    assert [name for name, _ in names(left)] == ["S0", "S2", "S3", "S4", "V0", "V2", "V3", "V4"]


async def test_refused_changes_change_nothing(gateway: Gateway, tmp_path: Path) -> None:
    """A secret does not become a variable that is shown. Names that predictd sets, names that are
    not set and empty secrets are refused."""
    path = f"{await gateway.project(copy_of('add', tmp_path))}/variables"
    await patch(gateway, path, environment={"A": "1"}, secrets={"S": "hunter2"})
    for changes in (
        {"environment": {"B": "1", "S": "shown"}},
        {"environment": {"B": "1", "CDSW_PROJECT": "x"}},
        {"secrets": {"CDSW_DOMAIN": "hunter2"}},
        {"secrets": {"T": ""}},
        {"environment": {"B": "1"}, "remove": ["NONE"]},
        {"environment": {"a b": "1"}},
        {"environment": {"RANDOM": "1"}},
    ):
        answer = await gateway.admin.patch(path, json=changes)
        assert refusal(answer) == (400, "argument.invalid"), changes
        assert "hunter2" not in answer.text
    assert names(await gateway.get(path)) == [("A", "1"), ("S", None)]
    became = await patch(gateway, path, secrets={"A": "hunter3"})
    assert names(became) == [("A", None), ("S", None)]


async def test_deployments_that_have_to_be_deployed_again_are_listed(tmp_path: Path) -> None:
    """A deployment keeps its variables until it is deployed again, and the later level counts:
    site, project, deployment."""
    async with running(settings_for(tmp_path / "data")) as gateway:
        project = await gateway.project(copy_of("environment", tmp_path), "envs")
        await patch(gateway, "/site/variables", secrets=dict.fromkeys("ABC", "hunter-site"))
        await patch(gateway, f"{project}/variables", environment={"B": "project", "C": "project"})
        model = await gateway.model(project, "report")
        build = await gateway.built(model, "environment.py:report")
        await gateway.deployed(build, environment={"C": "deployment"})

        async def seen() -> list[str]:
            answer = (await gateway.call(await gateway.key(model), {})).json()
            return [answer["response"]["environment"].get(name, "") for name in "ABC"]

        assert await seen() == ["hunter-site", "project", "deployment"]
        changed = await patch(gateway, f"{project}/variables", environment={"A": "now"})
        assert changed["model_deployments"] == [
            {
                "project_name": "envs",
                "model_name": "report",
                "deployment_number": 1,
                "status": "deployed",
            }
        ]
        assert (await gateway.get("/site/variables"))["model_deployments"]
        assert await seen() == ["hunter-site", "project", "deployment"]
        await gateway.deployed(build)
        assert await seen() == ["now", "project", "project"]
        entries = (await gateway.get("/audit", action="project.set_variables"))["entries"]
        assert [each["outcome"] for each in entries] == ["done", "done"]
        details = [each["detail"].partition("variables ")[2] for each in entries]
        assert [each.split("; ")[0] for each in details] == ["set: B, C", "set: A"]
        await patch(gateway, f"{project}/variables", remove=["A"])
        await gateway.admin.patch(project, json={"environment": {"B": "now"}})
        site = (await gateway.get("/audit", action="site.set_variables"))["entries"]
        removed = (await gateway.get("/audit", action="project.set_variables"))["entries"]
        replaced = (await gateway.get("/audit", action="project.update"))["entries"]
        for entry, text in (
            (site[-1], "variables set: A, B, C"),
            (removed[-1], "variables removed: A"),
            (replaced[-1], "variables set: B; variables removed: C"),
        ):
            assert text in entry["detail"]
        for each in (await gateway.get("/audit"))["entries"]:
            named = each["detail"].partition("variables set")[2].split("; ")[0]
            assert not any(value in named for value in ("now", "project", "hunter-site"))


async def test_site_variables_survive_a_restart_and_are_encrypted(tmp_path: Path) -> None:
    """The database has no value; a variable of the settings file cannot be changed."""
    settings = settings_for(tmp_path / "data")
    async with running(settings) as gateway:
        await patch(gateway, "/site/variables", secrets={"A": "hunter2", "B": "hunter3"})
        await patch(gateway, "/site/variables", remove=["B"])
    for file in (tmp_path / "data").glob("predictd.db*"):
        assert b"hunter" not in file.read_bytes()
    async with running(settings) as gateway:
        assert names(await gateway.get("/site/variables")) == [("A", None)]
        assert "hunter" not in (await gateway.admin.get("/site/settings")).text


@pytest.mark.parametrize("name", ["of_build", "of_model", "of_experiment", "_facts"])
def test_every_fact_is_refused_as_a_name(name: str) -> None:
    """A variable that predictd sets is not silently overridden."""
    source = inspect.getsource(getattr(variables.ProcessVariables, name))
    written = {
        node.value
        for node in ast.walk(ast.parse(f"class C:\n{source}"))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(("CDSW_", "PREDICTD_"))
    }
    assert written <= FACTS
