"""A project takes all it can, in every way at once; another one is served beside it."""

import os
from pathlib import Path
from typing import Any

import pytest

from gateway.control.metrics import metrics
from tests.gateway.control.experiments.test_experiments import ended
from tests.gateway.control.experiments.test_experiments import run as run_script
from tests.support.gateway import (
    PROJECTS,
    Gateway,
    refusal,
    running,
    settings_for,
    status_is,
    until,
)

MIB = 1 << 20
SETTINGS: dict[str, Any] = {
    "max_concurrent_builds": 1,
    "max_concurrent_experiments": 1,
    "metrics_max_size": MIB,
    "project_disk": 256 * MIB,
}
# Both do so only when the flag is there, since they have to be built first.
SLEEPS = "[ ! -e {flag} ] || sleep 1000\n"
NEVER_READY = """\
import os, time
while os.path.exists({flag!r}):
    time.sleep(1)
def predict(args):
    return args
"""
ENDLESS = "while True: pass\n"


async def made_of(gateway: Gateway, name: str, **files: str) -> str:
    """The path of a new project in the data folder, with the sample `tracked` and these files."""
    made = await gateway.post("/projects", {"name": name, "template": "blank"})
    project = f"/projects/{made['id']}"
    texts = {"tracked.py": (PROJECTS / "tracked" / "tracked.py").read_text(), **files}
    answer = await gateway.admin.put(
        f"{project}/files", files={path: text.encode() for path, text in texts.items()}
    )
    assert answer.status_code == 200, answer.text
    return project


async def take_all(gateway: Gateway, flag: Path) -> tuple[str, list[str]]:
    """The path of a project that does, and of its builds that are not made."""
    project = await made_of(
        gateway,
        "greedy",
        **{
            "never.py": NEVER_READY.format(flag=str(flag)),
            "endless.py": ENDLESS,
            "cdsw-build.sh": SLEEPS.format(flag=flag),
        },
    )
    floods, never = await gateway.model(project, "floods"), await gateway.model(project, "never")
    await gateway.deployed(await gateway.built(floods, "tracked.py:predict"))
    waits = await gateway.built(never, "never.py:predict")
    endless = await run_script(gateway, project, "endless.py")
    await gateway.until(endless, status_is("running"))
    flag.touch()
    for _ in range(3):
        await run_script(gateway, project, "endless.py")
    builds = [await gateway.build(floods, "tracked.py:predict", fresh=True) for _ in range(3)]
    await gateway.until(builds[0], status_is("building"))
    await gateway.until(
        await gateway.deploy(waits, replicas=9), lambda found: found["status"] == "deploying"
    )
    key = await gateway.key(floods)
    for number in range(300):
        assert (await gateway.call(key, f"{number} {'x' * 5000}")).status_code == 200
    for number in range(10):
        big = {f"big-{number}": os.urandom(64 * MIB)}
        answer = await gateway.admin.put(f"{project}/files", files=big)
        if answer.status_code != 200:
            break
    assert refusal(answer) == (507, "project.full")
    return floods, builds


async def test_another_project_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its build is made, its model is deployed and answers, its experiment ends, its files are
    taken, and every row of its metrics stays."""
    monkeypatch.setattr(metrics, "_PERIOD", 0.05)
    async with running(settings_for(tmp_path / "data", **SETTINGS)) as gateway:
        floods, builds = await take_all(gateway, tmp_path / "flag")
        project = await made_of(gateway, "other", **{"fit.py": "print('fitted')\n"})
        model = await gateway.model(project, "other")
        await gateway.deployed(await gateway.built(model, "tracked.py:predict"))
        key = await gateway.key(model)
        for number in range(50):
            assert (await gateway.call(key, number)).json()["response"]["prediction"] == number
        assert (await ended(gateway, await run_script(gateway, project, "fit.py")))[
            "status"
        ] == "succeeded"

        async def kept(of: str) -> int:
            crn = (await gateway.get(of))["crn"]
            told = await gateway.get("/metrics", model_crn=crn, page_size=1000)
            return len(told["metrics"])

        assert await until(lambda: kept(floods), lambda found: found < 250)
        assert await kept(model) == 50
        statuses = [(await gateway.get(each))["status"] for each in builds]
        assert statuses == ["building", "queued", "queued"]
        for each in builds:
            await gateway.delete(each)
