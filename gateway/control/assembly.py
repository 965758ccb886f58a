"""Assembles the builds, deployments and experiments from their parts.

    BuildRunner -> Snapshots -> BuildExecutor -+-> Builds ---------> Deployments
                                Prober --------'       \\
                                          Environments -+-> Experiments
"""

from typing import NamedTuple

from builder import EnvironmentStore, Seeds
from gateway.control.accounts.workload_keys import WorkloadKeys
from gateway.control.admission import Admission
from gateway.control.builds.build_executor import BuildExecutor
from gateway.control.builds.build_runner import BuildRunner
from gateway.control.builds.build_task import BuildServices
from gateway.control.builds.builds import Builds
from gateway.control.builds.bytecode import BytecodeCompiler
from gateway.control.builds.environments import Environments
from gateway.control.builds.probe import Prober
from gateway.control.builds.project_checks import ProjectChecks
from gateway.control.builds.seed_preparation import SeedPreparation
from gateway.control.builds.snapshots import Snapshots
from gateway.control.deployments.assembly import assemble_deployments
from gateway.control.deployments.deployments import Deployments
from gateway.control.experiments.experiments import Experiments
from gateway.control.experiments.run_builds import RunBuilds
from gateway.control.experiments.run_files import RunFiles
from gateway.control.experiments.run_spec import RunSpecs
from gateway.control.experiments.run_task import RunServices
from gateway.control.foundation import Foundation
from gateway.control.pool_spec import PoolSpecs
from gateway.control.runtimes.catalogue import RuntimeCatalogue
from gateway.control.runtimes.runtime_task import RuntimeServices
from gateway.control.runtimes.runtimes import Runtimes
from gateway.control.sessions.assembly import assemble_sessions
from gateway.control.sessions.sessions import WorkSessions


class Workloads(NamedTuple):
    """`runner` also clones projects."""

    runner: BuildRunner
    environments: Environments
    builds: Builds
    deployments: Deployments
    experiments: Experiments
    catalogue: RuntimeCatalogue
    runtimes: Runtimes
    seed_preparation: SeedPreparation
    sessions: WorkSessions


class _Shared(NamedTuple):
    """The parts that at least two of them use."""

    runner: BuildRunner
    environments: Environments
    seeds: Seeds
    snapshots: Snapshots
    executor: BuildExecutor
    catalogue: RuntimeCatalogue
    runtimes: Runtimes
    admission: Admission
    keys: WorkloadKeys
    pool_specs: PoolSpecs


def assemble(foundation: Foundation) -> Workloads:
    shared = _shared(foundation)
    builds = _builds(foundation, shared)
    return Workloads(
        shared.runner,
        shared.environments,
        builds,
        assemble_deployments(foundation, shared.keys, shared.pool_specs, builds),
        _experiments(foundation, shared, builds),
        shared.catalogue,
        shared.runtimes,
        SeedPreparation(seeds=shared.seeds, catalogue=shared.catalogue, disk=foundation.disk),
        assemble_sessions(
            foundation,
            builds,
            snapshots=shared.snapshots,
            catalogue=shared.catalogue,
            executor=shared.executor,
            admission=shared.admission,
            keys=shared.keys,
        ),
    )


def _shared(foundation: Foundation) -> _Shared:
    runner = BuildRunner(
        workers=foundation.workers,
        settings=foundation.settings,
        resources=foundation.resources,
        project_usage=foundation.project_usage,
    )
    snapshots = Snapshots(foundation.data, runner, foundation.project_locks)
    seeds = Seeds(foundation.data.seeds, runner.for_seeds)
    catalogue = RuntimeCatalogue(
        database=foundation.database,
        interpreters=foundation.interpreters,
        settings=foundation.settings,
    )
    runtimes = Runtimes(
        RuntimeServices(
            writer=foundation.writer,
            data=foundation.data,
            made=EnvironmentStore(foundation.data.runtimes),
            interpreters=foundation.interpreters,
            runner=runner,
            seeds=seeds,
            sandbox=foundation.sandbox,
            settings=foundation.settings,
        ),
        database=foundation.database,
        tasks=foundation.tasks,
        removal_queue=foundation.removal_queue,
    )
    executor = BuildExecutor(
        runner=runner,
        seeds=seeds,
        bytecode=BytecodeCompiler(
            runner=runner, build_store=foundation.build_store, tasks=foundation.tasks
        ),
        snapshots=snapshots,
        catalogue=catalogue,
        runtimes=runtimes,
        build_store=foundation.build_store,
        data=foundation.data,
        sandbox=foundation.sandbox,
        variables=foundation.variables,
        settings=foundation.settings,
    )
    return _Shared(
        runner,
        Environments(foundation.build_store),
        seeds,
        snapshots,
        executor,
        catalogue,
        runtimes,
        Admission(foundation.disk, foundation.project_usage),
        WorkloadKeys(foundation.accounts, foundation.permissions),
        PoolSpecs(
            database=foundation.database,
            data=foundation.data,
            build_store=foundation.build_store,
            sandbox=foundation.sandbox,
            variables=foundation.variables,
            instance_id=foundation.instance_id,
        ),
    )


def _builds(foundation: Foundation, shared: _Shared) -> Builds:
    prober = Prober(
        workers=foundation.workers,
        database=foundation.database,
        data=foundation.data,
        variables=foundation.variables,
        keys=shared.keys,
        pool_specs=shared.pool_specs,
        probed=foundation.probed,
        build_store=foundation.build_store,
        encryption=foundation.encryption,
        settings=foundation.settings,
        gpus=foundation.gpus,
    )
    services = BuildServices(
        database=foundation.database,
        writer=foundation.writer,
        workers=foundation.workers,
        data=foundation.data,
        build_store=foundation.build_store,
        environments=shared.environments,
        interpreters=foundation.interpreters,
        catalogue=shared.catalogue,
        snapshots=shared.snapshots,
        checks=ProjectChecks(shared.snapshots, shared.runner, shared.catalogue),
        executor=shared.executor,
        prober=prober,
        timeouts=foundation.operation_timeouts,
    )
    return Builds(
        services,
        settings=foundation.settings,
        tasks=foundation.tasks,
        sandbox=foundation.sandbox,
        admission=shared.admission,
        removal_queue=foundation.removal_queue,
        set_aside=foundation.set_aside,
    )


def _experiments(foundation: Foundation, shared: _Shared, builds: Builds) -> Experiments:
    services = RunServices(
        database=foundation.database,
        writer=foundation.writer,
        workers=foundation.workers,
        data=foundation.data,
        run_builds=RunBuilds(
            build_store=foundation.build_store,
            environments=shared.environments,
            snapshots=shared.snapshots,
            catalogue=shared.catalogue,
            executor=shared.executor,
            semaphore=builds.semaphore,
        ),
        resources=foundation.resources,
        gpus=foundation.gpus,
        run_specs=RunSpecs(
            build_store=foundation.build_store,
            sandbox=foundation.sandbox,
            variables=foundation.variables,
            project_usage=foundation.project_usage,
            settings=foundation.settings,
        ),
        keys=shared.keys,
        timeouts=foundation.operation_timeouts,
    )
    return Experiments(
        services,
        settings=foundation.settings,
        tasks=foundation.tasks,
        sandbox=foundation.sandbox,
        catalogue=shared.catalogue,
        admission=shared.admission,
        files=RunFiles(
            data=foundation.data,
            set_aside=foundation.set_aside,
            removal_queue=foundation.removal_queue,
            snapshots=shared.snapshots,
            admission=shared.admission,
        ),
    )
