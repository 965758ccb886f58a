"""Experiments: queued, started, ended once, with what they tracked."""

import msgspec
import pytest

from store import Database, IllegalTransition, NotFound, Project, RunMetric, experiments, projects
from tests.support.records import an_experiment

POINTS = [
    RunMetric(key="loss", value=0.5, time=1),
    RunMetric(key="note", value='"\x00\u2028', time=2),
    RunMetric(key="loss", value=None, time=3),
]


async def test_experiment_keeps_its_times_status_and_values(
    database: Database, project: Project
) -> None:
    """An experiment keeps when it started and ended, its exit status and every tracked value."""
    given = an_experiment(project)
    queued = await database.write(experiments.insert, given)
    own = {"number", "created_at", "updated_at"}
    assert {
        name: value
        for name, value in msgspec.structs.asdict(queued).items()
        if name not in own and value != getattr(given, name)
    } == {}
    assert await database.read(experiments.unfinished) == [queued]
    await database.write(experiments.update, queued.id, environment_id="e")
    running = await database.write(experiments.start, queued.id)
    assert (running.status, running.started_at is not None) == ("running", True)
    ended = await database.write(experiments.end, queued.id, "succeeded", POINTS, exit_status=0)
    assert (ended.status, ended.exit_status, ended.environment_id) == ("succeeded", 0, "e")
    assert ended.metrics == {"loss": None, "note": '"\x00\u2028'}
    assert running.started_at is not None
    assert ended.ended_at is not None
    assert ended.ended_at >= running.started_at
    assert await database.read(experiments.points, queued.id) == POINTS
    assert await database.read(experiments.unfinished) == []


async def test_experiment_ends_once(database: Database, project: Project) -> None:
    """A second end is refused and changes neither the row nor the tracked values."""
    made = await database.write(experiments.insert, an_experiment(project))
    ended = await database.write(experiments.end, made.id, "stop", POINTS[:1])
    with pytest.raises(IllegalTransition):
        await database.write(experiments.end, made.id, "failed", POINTS)
    assert await database.read(experiments.get, made.id) == ended
    assert await database.read(experiments.points, made.id) == POINTS[:1]


async def test_deleted_experiment_leaves_no_points(database: Database, project: Project) -> None:
    """A deleted experiment, or one of a deleted project, leaves nothing behind."""
    first, second = [
        await database.write(experiments.insert, an_experiment(project)) for _ in range(2)
    ]
    assert await database.read(experiments.list_all, project.id) == [first, second]
    for each in (first, second):
        await database.write(experiments.end, each.id, "stop", POINTS)
    await database.write(experiments.delete, first.id)
    with pytest.raises(NotFound, match="experiment"):
        await database.read(experiments.get, first.id)
    await database.write(projects.delete, project.id)
    assert await database.read(experiments.list_all) == []
    assert await database.read(experiments.points, second.id) == []
