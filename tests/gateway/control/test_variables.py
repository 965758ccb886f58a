"""The variables that builds and models see."""

import json
import os
from pathlib import Path

import pytest

from tests.gateway.conftest import Samples
from tests.support.builds import virtualenv_of
from tests.support.gateway import Gateway, copy_of, refusal, running, settings_for

FACTS = {
    "CDSW_API_URL",
    "CDSW_DOMAIN",
    "CDSW_DS_API_URL",
    "CDSW_PROJECT_URL",
    "CDSW_PROJECT",
    "CDSW_PROJECT_ID",
    "CDSW_PROJECT_NUM",
    "CDSW_ENGINE_TYPE",
    "CDSW_MASTER_ID",
    "PREDICTD_PUBLIC_URL",
}


async def test_environment_of_a_renamed_project_is_made_again(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A script may have written the project's name or URL into its environment, so one that was
    made under another name is not used; one under the same name is."""
    folder = copy_of("add", tmp_path)
    (folder / "cdsw-build.sh").write_text('echo "$CDSW_PROJECT" > name.txt\n')
    project = await gateway.project(folder, "before")
    model = await gateway.model(project)
    found = []
    for name in ("before", "after", "after"):
        renamed = await gateway.admin.patch(project, json={"name": name})
        assert renamed.status_code == 200
        build = await gateway.built(model, "add.py:add")
        written = gateway.data / "builds" / build.rpartition("/")[2] / "code" / "name.txt"
        found.append((written.read_text().strip(), (await gateway.admin.get(f"{build}/log")).text))
    assert [name for name, _ in found] == ["before", "after", "after"]
    assert ["Running cdsw-build.sh" in log for _, log in found] == [True, True, False]


async def test_what_a_model_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Site, then project, then deployment: the later wins, facts win over all, and nothing of the
    gateway's own environment is there; a later deployment inherits none of an earlier one's."""
    monkeypatch.setenv("OF_THE_GATEWAY", "secret")
    site = {"A": "site", "B": "site", "C": "site", "CDSW_PROJECT": "mine"}
    # TLS ends before the gateway: a model still asks it directly, and is told what is public.
    public = "https://models.test"
    settings = settings_for(tmp_path / "data", environment=site, public_url=public)
    async with running(settings) as gateway:
        folder = copy_of("environment", tmp_path)
        (folder / "cdsw-build.sh").write_text("env | sort\n")
        own = {"B": "project", "C": "project"}
        project = await gateway.project(folder, "My Project!", environment=own)
        model = await gateway.model(project)
        build = await gateway.built(model, "environment.py:report")
        await gateway.deployed(build, environment={"C": "deployment"})
        seen = await _seen(gateway, model)
        assert (seen["A"], seen["B"], seen["C"]) == ("site", "project", "deployment")
        assert seen.keys() >= FACTS
        assert seen["CDSW_PROJECT"] == "my-project"
        assert seen["CDSW_PROJECT_URL"].split("/")[6] == "admin"
        # By name, since clients make `modelservice.` + CDSW_DOMAIN of it.
        assert seen["CDSW_API_URL"] == f"http://localhost:{gateway.port}/api/v1"
        assert seen["CDSW_DOMAIN"] == f"localhost:{gateway.port}"
        assert seen["PREDICTD_PUBLIC_URL"] == public
        assert seen["HOME"] != os.environ.get("HOME")
        assert "secret" not in seen.values()
        assert (gateway.data / "admin.key").read_text().strip() not in str(seen)
        log = (await gateway.admin.get(f"{build}/log")).text.splitlines()
        assert {"A=site", "B=project", "C=project", "CDSW_ENGINE_TYPE=build"} <= set(log)
        assert not any(line.startswith("OF_THE_GATEWAY") for line in log)
        await gateway.deployed(build)
        assert (await _seen(gateway, model))["C"] == "project"


async def _seen(gateway: Gateway, model: str) -> dict[str, str]:
    response = await gateway.call(await gateway.key(model), {})
    return dict(response.json()["response"]["environment"])


async def test_facts_of_a_replica(gateway: Gateway, tmp_path: Path) -> None:
    """A replica is told its own name, and a project's PATH comes behind the environment's bin; so
    it does for the build script."""
    folder = copy_of("environment", tmp_path)
    (folder / "cdsw-build.sh").write_text("command -v python\n")
    own = {"PATH": "/opt/own:/usr/bin:/bin"}
    model = await gateway.model(await gateway.project(folder, environment=own))
    build = await gateway.built(model, "environment.py:report")
    await gateway.deployed(build)
    answer = (await gateway.call(await gateway.key(model), {})).json()
    seen = answer["response"]["environment"]
    environment = virtualenv_of(gateway.data, build.rpartition("/")[2])
    assert seen["CDSW_ENGINE_ID"] == answer["ReplicaID"]
    assert seen["PATH"] == f"{environment}/bin:{own['PATH']}"
    log = (await gateway.admin.get(f"{build}/log")).text.splitlines()
    assert f"{environment}/bin/python" in log


IMPOSSIBLE = [{"a b": "x"}, {"1A": "x"}, {"": "x"}, {"A": "nul\0"}, {"A": "\ud800"}]


@pytest.mark.parametrize("variables", IMPOSSIBLE)
async def test_variables_that_no_process_could_have(
    shared: Gateway, samples: Samples, variables: dict[str, str]
) -> None:
    """A variable that cannot be is refused when it is set, not when a process starts."""
    models = (await shared.get("/models"))["models"]
    add = next(model for model in models if model["access_key"] == samples.add)
    project = f"/projects/{add['project']['id']}"
    model = f"{project}/models/{add['id']}"
    (build,) = (await shared.get(f"{model}/builds"))["model_builds"]
    auto = {"auto_deploy_model": True, "auto_deployment_config": {"environment": variables}}
    for method, path, asked in (
        ("POST", "/projects", {"name": "impossible", "environment": variables}),
        ("PATCH", project, {"environment": variables}),
        ("POST", f"{model}/builds/{build['id']}/deployments", {"environment": variables}),
        ("POST", f"{model}/builds", {"file_path": "add.py", "function_name": "add", **auto}),
    ):
        answer = await shared.admin.request(
            method,
            path,
            content=json.dumps(asked),  # escapes, where UTF-8 has no way to say it
            headers={"Content-Type": "application/json"},
        )
        assert refusal(answer) == (400, "argument.invalid")
