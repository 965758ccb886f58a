"""A start removes what was deleted, and nothing else; what it does not know it moves away."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection, connect

import pytest
import trio

from tests.faults.matrix import fault
from tests.support.folders import NewFolder
from tests.support.gateway import copy_of, running, settings_for, status_is, until

GONE = "7b0e1f8e-5d0c-4c5b-9d0a-6f3c2a1b4e5d"  # an id that no row has


@pytest.fixture(scope="module")
def served(new_folder: NewFolder) -> Path:
    """The data folder of a gateway that has ended: a model with a build, and an experiment."""
    folder = new_folder("served")
    project = copy_of("add", folder)
    (project / "script.py").write_text("print(1)\n")

    async def serve() -> None:
        async with running(settings_for(folder / "data")) as gateway:
            path = await gateway.project(project)
            await gateway.built(await gateway.model(path), "add.py:add")
            run = await gateway.post(f"{path}/experiments", {"script": "script.py"})
            await gateway.until(f"{path}/experiments/{run['id']}", status_is("succeeded"))

    trio.run(serve)
    return folder / "data"


@pytest.fixture
def data(served: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(served, tmp_path / "data", symlinks=True))


@contextmanager
def database(data: Path) -> Iterator[Connection]:
    with closing(connect(data / "predictd.db")) as opened, opened:
        yield opened


def ids_in(data: Path) -> tuple[str, str, str]:
    """Of the project, the model and the build."""
    with database(data) as opened:
        ((project, model, build),) = opened.execute(
            "SELECT m.project_id, m.id, b.id FROM models AS m JOIN builds AS b ON b.model_id = m.id"
        )
    return project, model, build


def lay_out(data: Path, project: str, model: str, build: str) -> list[Path]:
    """Something in every folder whose entries are named by ids, but among the builds."""
    files = [
        data / "projects" / project / "file",
        data / "snapshots" / f"{project}.git" / "file",
        data / "cache" / "pip" / project / "file",
        data / "experiments" / build / "outputs" / "file",
        data / "logs" / "builds" / f"{build}.log",
        data / "logs" / "builds" / f"{build}.log.1",
        data / "logs" / "experiments" / f"{build}.log",
        data / "logs" / "models" / model / "replica.log",
    ]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return files


def copy_build(data: Path, build: str, name: str) -> Path:
    """A sealed build of that name, and its snapshot. Returns the snapshot's reference."""
    shutil.copytree(data / "builds" / build, data / "builds" / name, symlinks=True)
    (snapshot,) = (data / "snapshots").glob(f"*.git/refs/builds/{build}")
    return Path(shutil.copy(snapshot, snapshot.with_name(name)))


def with_in_name(data: Path, text: str) -> list[str]:
    return [str(path.relative_to(data)) for path in data.rglob(f"*{text}*")]


@fault(
    "data without rows",
    injection="something in each folder, with an id that the database does not know",
    bound="sources and snapshots stay, all else can be found in the trash for a week",
)
async def test_what_is_not_known(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What bears the id of a row stays. What bears another goes to the trash, in which it can be
    found; the files of projects and snapshots stay where they are. The log says so."""
    project, model, build = ids_in(data)
    snapshot = copy_build(data, build, GONE)
    sources, *goes = lay_out(data, GONE, GONE, GONE)
    goes.append(data / "builds" / GONE / "code" / "add.py")
    stays = [*lay_out(data, project, model, build), snapshot, sources]
    stays.append(data / "builds" / build / "code" / "add.py")
    async with running(settings_for(data)):
        assert [path for path in stays if not path.exists()] == []
        assert [path for path in goes if path.exists()] == []
        (trash,) = (data / "trash").iterdir()
        assert [path for path in goes if not (trash / path.relative_to(data)).exists()] == []
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert any(GONE in each and "projects" in each and "kept" in each for each in told)
    assert any(f"builds/{GONE}" in each and "trash" in each for each in told)


@fault(
    "killed in the midst of a deletion",
    injection="the rows are gone, all files are there",
    bound="the next start removes the files, and nothing else",
)
async def test_what_was_deleted(data: Path) -> None:
    """What a killed gateway had deleted, but not removed, is removed: of a project all that it had,
    its files too, and snapshots. Then nothing is remembered of it."""
    *_, build = ids_in(data)
    with database(data) as opened:
        opened.execute("INSERT INTO deleted VALUES (?)", (GONE,))
    lay_out(data, GONE, GONE, GONE)
    snapshot = copy_build(data, build, GONE)
    async with running(settings_for(data)):
        await until(trio.Path(snapshot).exists, lambda is_there: not is_there)
        assert with_in_name(data, GONE) == []
        assert not (data / "trash").exists()

        async def left() -> list[str]:
            with database(data) as opened:
                return [str(each) for (each,) in opened.execute("SELECT id FROM deleted")]

        await until(left, lambda ids: ids == [])


async def test_builds_that_are_not_whole(data: Path) -> None:
    """A build that was never finished is removed, and an unfinished environment; one that was
    finished and lost its seal is set aside; an environment that is whole stays."""
    *_, torn = ids_in(data)
    half = GONE
    copy_build(data, torn, half)
    (data / "builds" / half / "sealed").unlink()
    with database(data) as opened:
        opened.execute("CREATE TEMP TABLE copy AS SELECT * FROM builds")
        opened.execute("UPDATE copy SET id = ?, number = 2, status = 'building'", (half,))
        opened.execute("INSERT INTO builds SELECT * FROM copy")
    (environment,) = os.listdir(data / "environments")
    (data / "environments" / half / "environment").mkdir(parents=True)
    (data / "builds" / torn / "sealed").unlink()
    async with running(settings_for(data)):
        assert os.listdir(data / "builds") == []
        assert os.listdir(data / "environments") == [environment]
        assert os.listdir(data / "set-aside") == [f"builds-{torn}"]


async def test_what_cannot_be_moved_keeps_nothing_from_serving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Here since the trash is not a folder: it stays, the log says so, and the gateway serves."""
    settings = settings_for(tmp_path / "data")
    async with running(settings) as gateway:
        pass
    (gateway.data / "trash").write_text("")
    stray = gateway.data / "logs" / "builds" / f"{GONE}.log"
    stray.parent.mkdir(parents=True)
    stray.touch()
    async with running(settings) as gateway:
        assert (await gateway.get("/projects"))["projects"] == []
    assert stray.exists()
    assert f"object='something that the database does not know' path='{stray}'" in caplog.text
