"""What a project keeps in the data folder is bounded, and what does not fit is refused by name."""

import os
from pathlib import Path

from tests.gateway.control.experiments.test_experiments import ended, project_with, run
from tests.support.gateway import Gateway, Json, copy_of, ended_build, refusal, until

MIB = 1 << 20
FILLS = """\
import os, cdsw
open("big", "wb").write(os.urandom(40 << 20))
cdsw.track_file("big")
"""
WRITES = "for each in 1 2; do head -c 40M /dev/zero >$each; done; sleep 600"


async def change(gateway: Gateway, **values: object) -> None:
    assert (await gateway.admin.patch("/site/settings", json=values)).status_code == 200


async def made_here(gateway: Gateway, name: str) -> str:
    """The path of a project whose files lie in the data folder."""
    made = await gateway.post("/projects", {"name": name, "template": "Python"})
    return f"/projects/{made['id']}"


async def uploaded(gateway: Gateway, project: str, name: str, size: int) -> Json | tuple[int, str]:
    answer = await gateway.admin.put(f"{project}/files", files={name: os.urandom(size)})
    return {} if answer.status_code == 200 else refusal(answer)


async def test_uploads(gateway: Gateway) -> None:
    """Uploads stop at the bound, also before one that would pass it; what is deleted makes room,
    and another project has its own."""
    await change(gateway, project_disk="20MiB")
    project = await made_here(gateway, "greedy")
    assert await uploaded(gateway, project, "one", 12 * MIB) == {}
    assert await uploaded(gateway, project, "two", 12 * MIB) == (507, "project.full")
    assert await uploaded(gateway, project, "three", 2 * MIB) == {}
    answer = await gateway.admin.put(f"{project}/files", files={"four": os.urandom(12 * MIB)})
    assert "project 'greedy' may keep 20 MiB in the data folder, and keeps 1" in answer.text
    assert "files 1" in answer.text
    assert await uploaded(gateway, await made_here(gateway, "other"), "one", 12 * MIB) == {}


async def test_what_was_deleted_does_not_count(gateway: Gateway) -> None:
    """Before something is refused, what the project keeps is looked at once more."""
    await change(gateway, project_disk="20MiB")
    project = await made_here(gateway, "p")
    assert await uploaded(gateway, project, "one", 16 * MIB) == {}
    assert await uploaded(gateway, project, "two", 16 * MIB) == (507, "project.full")
    await gateway.delete(f"{project}/files/one")
    assert await uploaded(gateway, project, "two", 16 * MIB) == {}


async def test_builds_and_experiments(gateway: Gateway, tmp_path: Path) -> None:
    """What experiments keep and builds are made of counts; the next of either is refused. Of a
    linked project its own files do not count. Deleting makes room."""
    folder = project_with(tmp_path / "p", fit=FILLS, add="def add(args): return 1\n")
    (folder / "data").write_bytes(bytes(40 * MIB))
    (folder / ".gitignore").write_text("data\n")
    project = await gateway.project(folder)
    experiment = await run(gateway, project, "fit.py")
    assert (await ended(gateway, experiment))["status"] == "succeeded"
    model = await gateway.model(project)
    await change(gateway, project_disk="50MiB")
    asked = {"file_path": "add.py", "function_name": "add"}

    async def refused() -> list[tuple[int, str]]:
        both = (
            await gateway.admin.post(f"{model}/builds", json=asked),
            await gateway.admin.post(f"{project}/experiments", json={"script": "fit.py"}),
        )
        return [refusal(each) for each in both]

    # What an experiment has kept is looked at when it has ended.
    await until(lambda: uploaded(gateway, project, "tiny", 1), bool)
    assert await refused() == [(507, "project.full")] * 2
    await gateway.delete(experiment)
    await gateway.built(model, "add.py:add")


async def test_a_build_has_no_more_than_its_project_has_left(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A build script is ended when it has written what its project may still keep."""
    await change(gateway, project_disk="60MiB")
    project = copy_of("add", tmp_path)
    (project / "cdsw-build.sh").write_text(WRITES)
    build = await gateway.build(await gateway.model(await gateway.project(project)), "add.py:add")
    failure = (await gateway.until(build, ended_build))["failure"]
    assert failure["problem"] == "it was ended because it had written more than 60 MiB to disk"
