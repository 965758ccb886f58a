"""Statuses change as the tables say, in memory and on disk alike."""

from itertools import product
from typing import get_args

import aiosqlite
import pytest

from store import Build, Database, Deployment, IllegalTransition, builds, deployments
from store.lifecycles import (
    BUILD,
    DEPLOYMENT,
    EXPERIMENT,
    Lifecycle,
    advance,
    states_allowing,
    unfinished_states,
)
from store.records import BuildStatus, DeploymentStatus, ExperimentStatus

LIFECYCLES = [BUILD, DEPLOYMENT, EXPERIMENT]


def events_of(lifecycle: Lifecycle) -> list[str]:
    return sorted({event for events in lifecycle.moves.values() for event in events})


def every_pair(lifecycle: Lifecycle) -> list[tuple[str, str]]:
    return list(product(lifecycle.moves, [*events_of(lifecycle), "unheard of"]))


async def force_status(connection: aiosqlite.Connection, table: str, key: str, status: str) -> None:
    await connection.execute_fetchall(f"UPDATE {table} SET status = ? WHERE id = ?", (status, key))


@pytest.mark.parametrize("lifecycle", LIFECYCLES, ids=lambda lifecycle: lifecycle.noun)
def test_status_follows_the_table(lifecycle: Lifecycle) -> None:
    """Every listed event leads to the state of the table; every other one raises and names
    itself."""
    for state, event in every_pair(lifecycle):
        if event in lifecycle.moves[state]:
            assert advance(lifecycle, state, event) == lifecycle.moves[state][event]
            assert state in states_allowing(lifecycle, event)
        else:
            with pytest.raises(IllegalTransition) as caught:
                advance(lifecycle, state, event)
            assert (caught.value.noun, caught.value.state, caught.value.event) == (
                lifecycle.noun,
                state,
                event,
            )
            assert state not in states_allowing(lifecycle, event)


@pytest.mark.parametrize("lifecycle", LIFECYCLES, ids=lambda lifecycle: lifecycle.noun)
def test_every_state_leads_to_a_final_one(lifecycle: Lifecycle) -> None:
    """All states are reached from the first one, and from each a final one is reached."""

    def reachable(state: str) -> set[str]:
        found, frontier = {state}, [state]
        while frontier:
            targets = set(lifecycle.moves[frontier.pop()].values()) - found
            found |= targets
            frontier += targets
        return found

    assert reachable(next(iter(lifecycle.moves))) == set(lifecycle.moves)
    final = set(lifecycle.moves) - set(unfinished_states(lifecycle))
    assert final
    assert all(reachable(state) & final for state in lifecycle.moves)


def test_record_statuses_are_the_states_of_the_table() -> None:
    """The words a record's status may be are the states of its table."""
    assert set(get_args(BuildStatus)) == set(BUILD.moves)
    assert set(get_args(DeploymentStatus)) == set(DEPLOYMENT.moves)
    assert set(get_args(ExperimentStatus)) == set(EXPERIMENT.moves)


@pytest.mark.parametrize(("state", "event"), every_pair(BUILD))
async def test_build_event_changes_status_on_disk(
    database: Database, build: Build, state: str, event: str
) -> None:
    """A build's legal event changes its status and what goes along; an illegal one nothing."""
    await database.write(force_status, "builds", build.id, state)
    before = await database.read(builds.get, build.id)
    target = BUILD.moves[state].get(event)
    if target is None:
        with pytest.raises(IllegalTransition):
            await database.write(builds.advance, build.id, event, comment="changed")
        assert await database.read(builds.get, build.id) == before
        return
    after = await database.write(builds.advance, build.id, event, comment="changed")
    assert after == await database.read(builds.get, build.id)
    assert (after.status, after.comment) == (target, "changed")
    assert after.updated_at > before.updated_at
    assert (after.built_at is not None) == (target == "built")


@pytest.mark.parametrize(("state", "event"), every_pair(DEPLOYMENT))
async def test_deployment_event_changes_status_on_disk(
    database: Database, deployment: Deployment, state: str, event: str
) -> None:
    """A deployment's legal event changes its status and what goes along; an illegal one nothing."""
    await database.write(force_status, "deployments", deployment.id, state)
    before = await database.read(deployments.get, deployment.id)
    target = DEPLOYMENT.moves[state].get(event)
    if target is None:
        with pytest.raises(IllegalTransition):
            await database.write(deployments.advance, deployment.id, event, replicas=9)
        assert await database.read(deployments.get, deployment.id) == before
        return
    after = await database.write(deployments.advance, deployment.id, event, replicas=9)
    assert after == await database.read(deployments.get, deployment.id)
    assert (after.status, after.replicas) == (target, 9)
    assert (after.deployed_at is not None) == (target == "deployed")
    assert (after.stopped_at is not None) == (target == "stopped")
    assert after.wanted == before.wanted == "serve"
