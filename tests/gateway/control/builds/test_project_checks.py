"""Checks of a project's files, before an environment is made."""

from pathlib import Path

from builder import snapshots_in
from gateway.control.builds.project_checks import TRANSIENT
from tests.support.gateway import Gateway, copy_of, running, settings_for, until


async def test_check_tells_all_problems_and_leaves_nothing(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A check tells problems, notes, and what the snapshot has and has not; no snapshot is left."""
    folder = copy_of("add", tmp_path)
    (folder / "requirements.txt").write_text("trio\n")
    (folder / "cdsw-build.sh").write_text("echo\r\n")
    (folder / "model.joblib").write_bytes(b"x" * 2000)
    (folder / ".gitignore").write_text("*.joblib\n")
    project = await gateway.project(folder)
    asked = {"file_path": "add.py", "function_name": "sum"}
    report = await gateway.post(f"{project}:check", asked)
    assert not report["passed"]
    (problem,) = report["problems"]
    assert problem["problem"].startswith("add.py defines no 'sum'; its functions are: add")
    assert len(report["notes"]) == 2
    assert report["left_out"] == [
        {"path": "model.joblib", "size_bytes": 2000, "rule": "line 1 of .gitignore (`*.joblib`)"}
    ]
    assert "left out by .gitignore: model.joblib (2.0 kB)" in report["summary"]
    passing = await gateway.post(f"{project}:check", {**asked, "function_name": "add"})
    assert (passing["passed"], passing["problems"]) == (True, [])
    assert _snapshots(gateway.data, project) == []


async def test_build_that_fails_the_check_fails_at_once(gateway: Gateway, tmp_path: Path) -> None:
    """A build of a model that exists fails at CHECK before the request is answered, and no
    environment is made."""
    model = await gateway.model(await gateway.project(copy_of("syntax_error", tmp_path)))
    build = await gateway.get(await gateway.build(model, "syntax_error.py:predict"))
    assert build["status"] == "build failed"
    assert build["failure"]["step"] == "CHECK"
    assert "syntax_error.py is not valid for Python 3." in build["failure"]["problem"]
    assert [step["state"] for step in build["steps"]] == ["done", "failed", *["waiting"] * 4]
    assert not list(gateway.data.glob("builds/*"))


async def test_snapshot_of_the_check_is_that_of_the_first_build(
    gateway: Gateway, tmp_path: Path
) -> None:
    """The files that were checked before the model was created are the files of its build."""
    folder = copy_of("add", tmp_path)
    (folder / "add.R").unlink()
    project = await gateway.project(folder)
    config = {"file_path": "add.py", "function_name": "add"}
    asked = {"name": "m", "auto_build_model": True, "auto_build_config": config}
    build = (await gateway.post(f"{project}/models", asked))["model_build"]
    assert _snapshots(gateway.data, project) == [build["id"]]
    path = f"{project}/models/{build['model_id']}/builds/{build['id']}"
    ended = await gateway.until(path, lambda now: now["status"] in ("built", "build failed"))
    assert ended["status"] == "built"
    log = (await gateway.admin.get(f"{path}/log")).text
    assert "\n1 file, 85 B\n" in log


async def test_start_drops_snapshots_of_checks(tmp_path: Path) -> None:
    """A snapshot that a killed gateway has left after a check is dropped at the next start."""
    settings = settings_for(tmp_path / "data")
    async with running(settings) as gateway:
        project = await gateway.project(copy_of("add", tmp_path))
        build = await gateway.built(await gateway.model(project), "add.py:add")
        name = build.rpartition("/")[2]
        references = _store(gateway.data, project) / "refs/builds"
        (references / f"{TRANSIENT}1").write_bytes((references / name).read_bytes())
    async with running(settings) as gateway:

        async def names() -> list[str]:
            return _snapshots(gateway.data, project)

        await until(names, lambda now: now == [name])


def _snapshots(data: Path, project: str) -> list[str]:
    return snapshots_in(_store(data, project))


def _store(data: Path, project: str) -> Path:
    return data / "snapshots" / f"{project.rpartition('/')[2]}.git"
