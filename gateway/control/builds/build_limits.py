"""What build scripts and clones may take of the machine."""

from functools import partial

import builder
from gateway.control import sandbox_uids
from gateway.control.context import ControlContext
from store import Project
from workers import Limits, Network

# In thousandths of a core: the kernel takes no quota that is much less.
_LEAST_CPU = 100


def build_limits(context: ControlContext) -> Limits:
    """Of one build, and of the cloning of a project."""
    settings, machine = context.settings, context.resources
    cores = settings.build_cpu or max(1, machine.cores / 2)
    return Limits(
        memory=settings.build_memory or machine.for_models // 2,
        cpu=max(_LEAST_CPU, int(1000 * cores)),
        processes=settings.build_processes,
        disk=settings.build_disk,
    )


async def runner(
    context: ControlContext, project: Project, build_id: str, network: Network = "machine"
) -> builder.Run:
    """Runs what a build of the project asks for, within its limits."""
    return partial(
        context.workers.run,
        identity=sandbox_uids.of_builds(project),
        limits=await context.project_usage.within(project, build_limits(context)),
        folders=(context.build_store.folder(build_id), context.data.pip_cache(project.id)),
        network=network,
    )


async def git_runner(context: ControlContext, project: Project) -> builder.Run:
    """Runs git for the project, to clone it or for a snapshot, within the limits of a build."""
    limits = await context.project_usage.within(project, build_limits(context))
    return partial(context.workers.run, identity=sandbox_uids.of_builds(project), limits=limits)
