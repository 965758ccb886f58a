"""Assembles the sessions from the parts that they share with builds."""

from gateway.control.accounts.workload_keys import WorkloadKeys
from gateway.control.admission import Admission
from gateway.control.builds.build_executor import BuildExecutor
from gateway.control.builds.builds import Builds
from gateway.control.builds.snapshots import Snapshots
from gateway.control.foundation import Foundation
from gateway.control.runtimes.catalogue import RuntimeCatalogue
from gateway.control.sessions.place import SessionServices
from gateway.control.sessions.sessions import WorkSessions


def assemble_sessions(
    foundation: Foundation,
    builds: Builds,
    *,
    snapshots: Snapshots,
    catalogue: RuntimeCatalogue,
    executor: BuildExecutor,
    admission: Admission,
    keys: WorkloadKeys,
) -> WorkSessions:
    """The sessions, which share the checks and the semaphore of builds."""
    services = SessionServices(
        workers=foundation.workers,
        data=foundation.data,
        build_store=foundation.build_store,
        builds=builds,
        checks=builds.checks,
        snapshots=snapshots,
        catalogue=catalogue,
        executor=executor,
        semaphore=builds.semaphore,
        sandbox=foundation.sandbox,
        variables=foundation.variables,
        keys=keys,
        settings=foundation.settings,
        resources=foundation.resources,
        gpus=foundation.gpus,
        project_usage=foundation.project_usage,
    )
    return WorkSessions(
        services, tasks=foundation.tasks, sandbox=foundation.sandbox, admission=admission
    )
