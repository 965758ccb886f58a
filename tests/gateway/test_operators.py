"""An operator deploys what is there: they choose no variable, see none, and lose none."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateway import PATIENCE, Gateway, refusal

TELLS = """\
import os
def tell(args):
    return {name: os.environ.get(name) for name in ("PLAIN", "HIDDEN", "OF_PROJECT")}
"""


class Stage:
    """A deployed model, and an operator who asks with a key of their own."""

    def __init__(self, gateway: Gateway, model: str, build: str, operator: httpx.AsyncClient):
        self.gateway = gateway
        self.model = model
        self.build = build
        self.operator = operator

    async def variables(self) -> Any:
        answer = await self.gateway.call(await self.gateway.key(self.model), {})
        return answer.json()["response"]

    async def deploys(self, **asked: object) -> dict[str, Any]:
        """A deployment of the operator's, once it serves, as they see it."""
        answer = await self.operator.post(f"{self.build}/deployments", json=asked)
        assert answer.status_code == 200, answer.text
        path = f"{self.build}/deployments/{answer.json()['id']}"
        await self.gateway.until(path, lambda d: d["status"] == "deployed")
        return dict((await self.operator.get(path)).json())


async def staged(gateway: Gateway, folder: Path, **deployment: object) -> Stage:
    folder.mkdir()
    (folder / "tell.py").write_text(TELLS)
    project = await gateway.project(folder, environment={"OF_PROJECT": "x"})
    model = await gateway.model(project)
    build = await gateway.built(model, "tell.py:tell")
    await gateway.deployed(build, **deployment)
    await gateway.post("/users", {"username": "operator"})
    role = {"permission": "operator"}
    answer = await gateway.admin.put(f"{project}/collaborators/operator", json=role)
    assert answer.status_code == 200
    key = (await gateway.post("/users/operator/v2_keys"))["api_key"]
    headers = {"Authorization": f"Bearer {key}"}
    client = httpx.AsyncClient(base_url=f"{gateway.url}/api/v2", headers=headers, timeout=PATIENCE)
    return Stage(gateway, model, build, client)


@pytest.mark.parametrize("field", ["environment", "secrets"])
async def test_an_operator_sets_no_variable(gateway: Gateway, tmp_path: Path, field: str) -> None:
    """It is refused by name, also where it would repeat what is there."""
    stage = await staged(gateway, tmp_path / "project", environment={"PLAIN": "there"})
    async with stage.operator:
        for variables in ({"PYTHONPATH": "/tmp"}, {"PLAIN": "there"}):
            answer = await stage.operator.post(
                f"{stage.build}/deployments", json={field: variables}
            )
            assert refusal(answer) == (403, "auth.forbidden")
            assert field in answer.json()["message"]
    assert len((await gateway.get(f"{stage.model}/deployments"))["model_deployments"]) == 1


async def test_an_operator_deploys_with_the_variables_there_are(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A deployment of theirs has the variables of the present one, secrets too, and shows
    them none of these. A user who may edit deploys with the variables they give, as in CDSW."""
    there = {"environment": {"PLAIN": "there"}, "secrets": {"HIDDEN": "hidden"}}
    stage = await staged(gateway, tmp_path / "project", **there)
    async with stage.operator:
        shown = await stage.deploys(environment={}, replicas=2)
        assert (shown["replicas"], shown["environment"], shown["secrets"]) == (2, "{}", [])
        told = {"PLAIN": "there", "HIDDEN": "hidden", "OF_PROJECT": "x"}
        assert await stage.variables() == told
        known = (await gateway.get(stage.model))["current_deployment_id"]
        deployment = await gateway.get(f"{stage.build}/deployments/{known}")
        assert json.loads(deployment["environment"]) == {"PLAIN": "there"}
        assert deployment["secrets"] == ["HIDDEN"]
    await gateway.deployed(stage.build)
    assert await stage.variables() == {"PLAIN": None, "HIDDEN": None, "OF_PROJECT": "x"}


async def test_what_an_operator_may(gateway: Gateway, tmp_path: Path) -> None:
    """They stop, restart and deploy again, also where nothing serves."""
    stage = await staged(gateway, tmp_path / "project", environment={"PLAIN": "there"})
    current = (await gateway.get(stage.model))["current_deployment_id"]
    one = f"{stage.build}/deployments/{current}"
    async with stage.operator:
        for deed in ("restart", "stop"):
            assert (await stage.operator.post(f"{one}:{deed}", json={})).status_code == 200
        await gateway.until(one, lambda deployment: deployment["status"] == "stopped")
        await stage.deploys()
        assert (await stage.variables())["PLAIN"] == "there"
