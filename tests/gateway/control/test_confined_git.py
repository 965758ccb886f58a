"""Git is run for a project as its build scripts are: confined, at each level that works here."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from builder import Run, take_snapshot
from builder.snapshot import write_out
from tests.builder.kit import Lines
from tests.skipping import not_here
from workers import ConfinementUnavailable, Limits, Workers, open_workers
from workers.confinement import open_confinement


@pytest.fixture(params=["root", "landlock", "none"])
async def workers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workers]:
    # Who is confined has to come by: pytest's own folders are closed.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    try:
        confinement = open_confinement(request.param, tmp_path / "data" / "confinement")
        async with open_workers(
            tmp_path / "data" / "replicas", "confined-git", confinement=confinement
        ) as opened:
            yield opened
    except ConfinementUnavailable as error:
        not_here(f"isolation {request.param} is not to be had: {error}")


@pytest.fixture
def run(workers: Workers) -> Run:
    return partial(workers.run, identity=7, limits=Limits(processes=100))


async def test_ignore_files(run: Run, tmp_path: Path) -> None:
    """What `.gitignore` files exclude stays out of a snapshot, at each level."""
    project = tmp_path / "project"
    for name in ("a.py", "a.pyc", "sub/a.csv", "sub/keep.csv", "build/x"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    (project / ".gitignore").write_text("*.pyc\nbuild/\n")
    (project / "sub/.gitignore").write_text("*.csv\n!keep.csv\n")
    store = tmp_path / "data" / "snapshots" / "one.git"
    snapshot = await take_snapshot(project, store, "one", Lines(), run=run)
    await write_out(snapshot, tmp_path / "copy")
    files = {path.name for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    assert files == {".gitignore", "a.py", "keep.csv"}
    assert [path.name for path in store.parent.iterdir()] == ["one.git"]
