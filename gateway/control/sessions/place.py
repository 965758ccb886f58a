"""The files and the environment that a session runs in.

They are those of a build that exists, or of one that is made of the project's present files and
removed with the session. Its environment stays for the next build of the project.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

import builder
from builder import BuildSteps, BuildStore, Language, Snapshot
from gateway.control import failures
from gateway.control.accounts.workload_keys import WorkloadKeys
from gateway.control.builds.build_executor import BuildExecutor, BuildRequest
from gateway.control.builds.build_task import STEPS_STREAM
from gateway.control.builds.builds import Builds
from gateway.control.builds.project_checks import ProjectChecks
from gateway.control.builds.snapshots import Snapshots
from gateway.control.deployments.new_deployment import NewDeployment
from gateway.control.disk.project_usage import ProjectUsage
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.gpu_reservations import GpuReservations
from gateway.control.resources import HostResources, NotEnoughMemory, ScriptMemory
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.runtimes.catalogue import RuntimeCatalogue
from gateway.control.sandbox import Sandbox
from gateway.control.sessions.new_session import NewSession
from gateway.control.variables import ProcessVariables
from gateway.data_folder import DataFolder
from gateway.errors import Refusal
from store import Failure, Project
from workers import Limits, Log, Workers
from workers.sizes import MIB

# The stream of the line that says that the function can be called, or that the program runs.
READY = "ready"
CPU = 1000  # thousandths of a core


class SessionServices(msgspec.Struct, frozen=True, kw_only=True):
    """What each session works with."""

    workers: Workers
    data: DataFolder
    build_store: BuildStore
    builds: Builds
    checks: ProjectChecks
    snapshots: Snapshots
    catalogue: RuntimeCatalogue
    executor: BuildExecutor
    semaphore: FairSemaphore
    sandbox: Sandbox
    variables: ProcessVariables
    keys: WorkloadKeys
    settings: RuntimeSettings
    resources: HostResources
    gpus: GpuReservations
    project_usage: ProjectUsage


class SessionContext(NamedTuple):
    """What a session's function or program runs for, and where its lines go."""

    services: SessionServices
    project: Project
    asked: NewSession
    session_id: str
    log: Log


class SessionFailed(Exception):
    """The session cannot be used, for a reason that its client is told."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class Place(NamedTuple):
    """What runs: the files and the environment of a sealed build."""

    code: Path
    virtualenv: Path
    prefix: Path | None
    built: Path | None
    language: Language
    snapshot: Snapshot | None = None


async def make_place(
    services: SessionServices,
    project: Project,
    asked: NewSession,
    name: str,
    log: Log,
    stack: AsyncExitStack,
) -> Place:
    """Makes a build of the project's files, which `stack` removes. Raises SessionFailed,
    BuilderError, OSError."""

    def changed(steps: BuildSteps) -> None:
        log.write(msgspec.json.encode(steps.steps).decode(), STEPS_STREAM)

    stack.push_async_callback(_remove, services, project, name)
    snapshot = await services.snapshots.take(project, name, log)
    if asked.kind == "function":
        await services.checks.require(project, asked, snapshot, log, None)
    choice = await services.catalogue.choose(asked.kernel, project, asked.file)
    request = BuildRequest(
        id=name,
        snapshot=snapshot.commit,
        interpreter=choice.identifier,
        script=asked.script,
        network=asked.network,
    )
    async with services.semaphore.acquire(project.id):
        report = await services.executor.execute(project, request, log, changed=changed)
    if report.failure is not None:
        raise SessionFailed(failures.of_report(report.failure))
    return place_of(services, name)._replace(snapshot=snapshot)


def place_of(services: SessionServices, build_id: str) -> Place:
    """The place of a build that is sealed."""
    builds = services.build_store
    return Place(
        builds.code(build_id),
        builds.virtualenv(build_id),
        builds.prefix(build_id),
        services.sandbox.built_at(build_id),
        builds.language(build_id),
    )


async def limits_of(context: SessionContext) -> Limits:
    """The limits of the process that runs in the place."""
    limits = context.services.sandbox.limits(context.asked.memory_mb * MIB, CPU)
    return await context.services.project_usage.within(context.project, limits)


def size_of(asked: NewSession) -> NewDeployment:
    """What the session needs of the machine."""
    return NewDeployment(
        cpu_millicores=CPU, memory_mb=asked.memory_mb, replicas=1, nvidia_gpus=asked.nvidia_gpus
    )


@asynccontextmanager
async def reserved_memory(
    services: SessionServices, project: Project, asked: NewSession, log: Log
) -> AsyncIterator[ScriptMemory]:
    """Reserves the memory of the session during the block. Waits only while deployments start: the
    user of a session waits for it. Raises SessionFailed."""
    told: list[str] = []

    def tell(what: str) -> None:  # it is called every second
        if not told:
            log.write(f"Waiting for {what}")
        told.append(what)

    async with AsyncExitStack() as reserved:
        reservation = services.resources.reserve_for_script(size_of(asked), project.id, tell)
        try:
            memory = await reserved.enter_async_context(reservation)
        except NotEnoughMemory as error:
            raise SessionFailed(failures.session_out_of_memory(error)) from error
        yield memory


@asynccontextmanager
async def reserved_gpus(
    services: SessionServices, project: Project, asked: NewSession
) -> AsyncIterator[None]:
    """Reserves the GPUs of the session during the block. It does not wait: a deployment may hold
    them for ever. Raises SessionFailed."""
    reserved = None
    if asked.nvidia_gpus:
        try:
            reserved = await services.gpus.reserve_now(project.id, asked.nvidia_gpus)
        except Refusal as error:
            raise SessionFailed(failures.session_without_gpu(error.message)) from error
    with services.gpus.held(reserved):
        yield


async def _remove(services: SessionServices, project: Project, name: str) -> None:
    """Removes the build, but not its environment."""
    with trio.CancelScope(shield=True):
        folder = services.build_store.folder(name)
        await trio.to_thread.run_sync(partial(builder.remove_tree, folder))
        await services.snapshots.drop(project.id, name)
