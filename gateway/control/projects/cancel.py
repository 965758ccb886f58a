"""Cancels what is on its way: a build with the deployments that wait for it, or all of a model.

The rows say how it ended before anything is ended, in one transaction: a gateway that is killed in
between does not continue the build, and its next start removes the files. A deployment that serves
is not touched.
"""

from contextlib import suppress

import aiosqlite

import store
from gateway.control import failures
from gateway.control.builds.builds import Builds
from gateway.control.deployments.deployments import Deployments
from gateway.errors import Refusal
from store import Build, Database, Deployment, Model, Step, User
from store.lifecycles import BUILD, unfinished_states


class Cancellation:
    """Ends builds before they are complete."""

    def __init__(self, database: Database, builds: Builds, deployments: Deployments) -> None:
        self._database = database
        self._builds = builds
        self._deployments = deployments

    async def cancel(self, build: Build, by: User) -> Build:
        """Cancels a build; the deployments that wait for it fail. Returns it when nothing of it
        runs and its files are removed. Raises NotFound, or Refusal if it has ended."""
        try:
            return await self._cancel(build, by)
        except store.IllegalTransition as error:
            text = f"cannot cancel build {build.number}: it has ended ({error.state})"
            raise Refusal("state.conflict", text) from None

    async def _cancel(self, build: Build, by: User) -> Build:
        steps = self._builds.interrupted_steps(build)
        cancelled, waiting = await self._database.write(_cancel, build.id, steps, by.name)
        self._deployments.end_rollouts(waiting)
        await self._builds.end_cancelled(cancelled)
        return cancelled

    async def delete(self, project_id: str, build: Build, by: User) -> None:
        """Deletes a build with its files. If it has not ended, the deployments that wait for it
        fail. Raises NotFound, BuildInUse, or Refusal where a session runs in it: then nothing has
        changed."""
        self._builds.used.check(build)
        steps = self._builds.interrupted_steps(build)
        waiting = await self._database.write(_delete, build.id, steps, by.name)
        self._deployments.end_rollouts(waiting)
        await self._builds.resume_removals(project_id, build.id)

    async def stop_model(self, model: Model, by: User) -> list[Deployment]:
        """Stops all deployments of a model that are wanted, and cancels the builds that they wait
        for. None begins to serve afterwards. Returns them while their replicas end."""
        builds = await self._database.read(store.builds.list_all, model.id)
        unfinished = {
            each.id: self._builds.interrupted_steps(each)
            for each in builds
            if each.status in unfinished_states(BUILD)
        }
        stopping, cancelled = await self._database.write(_stop, model.id, unfinished, by.name)
        self._deployments.end_rollouts(stopping)
        for build in cancelled:
            await self._builds.end_cancelled(build)
        return stopping


async def _cancel(
    connection: aiosqlite.Connection, build_id: str, steps: list[Step], by: str
) -> tuple[Build, list[Deployment]]:
    running = next((step.name for step in steps if step.state == "failed"), "")
    build = await store.builds.advance(
        connection,
        build_id,
        "cancelled",
        cancelled_by=by,
        failure=failures.build_cancelled(by, running),
        steps=steps,
    )
    waiting = await store.deployments.waiting_for_build(connection, build_id)
    failure = failures.build_failed(build)
    return build, [await store.deployments.fail(connection, d.id, failure) for d in waiting]


async def _delete(
    connection: aiosqlite.Connection, build_id: str, steps: list[Step], by: str
) -> list[Deployment]:
    """One transaction with the cancellation: so who follows the build sees it deleted, and not
    first cancelled."""
    waiting: list[Deployment] = []
    with suppress(store.IllegalTransition):  # it has ended
        _, waiting = await _cancel(connection, build_id, steps, by)
    await store.builds.delete(connection, build_id)
    return waiting


async def _stop(
    connection: aiosqlite.Connection, model_id: str, unfinished: dict[str, list[Step]], by: str
) -> tuple[list[Deployment], list[Build]]:
    stopping = await store.deployments.stop_all(connection, model_id)
    cancelled = []
    for build_id in dict.fromkeys(each.build_id for each in stopping):
        if build_id in unfinished:
            with suppress(store.IllegalTransition, store.NotFound):  # it has ended meanwhile
                build, _ = await _cancel(connection, build_id, unfinished[build_id], by)
                cancelled.append(build)
    return stopping, cancelled
