"""Puts the builds, deployments and experiments together from their parts.

    BuildRunner -> Snapshots -> BuildExecutor -+-> Builds ---------> Deployments
                                Prober --------'       \\
                                          Environments -+-> Experiments
"""

from typing import NamedTuple

from gateway.control.accounts.workload_keys import WorkloadKeys
from gateway.control.admission import Admission
from gateway.control.builds.build_executor import BuildExecutor
from gateway.control.builds.build_runner import BuildRunner
from gateway.control.builds.build_task import BuildServices
from gateway.control.builds.builds import Builds
from gateway.control.builds.probe import Prober
from gateway.control.builds.snapshots import Snapshots
from gateway.control.context import ControlContext
from gateway.control.deployments.deployments import Deployments
from gateway.control.deployments.pool_factory import PoolFactory
from gateway.control.deployments.rollout_services import RolloutServices
from gateway.control.experiments.environments import Environments
from gateway.control.experiments.experiments import Experiments
from gateway.control.experiments.run_files import RunFiles
from gateway.control.experiments.run_spec import RunSpecs
from gateway.control.experiments.run_task import RunServices
from gateway.control.pool_spec import PoolSpecs


class Workloads(NamedTuple):
    """`runner` also clones projects."""

    runner: BuildRunner
    builds: Builds
    deployments: Deployments
    experiments: Experiments


class _Shared(NamedTuple):
    """What two or all three of them have in common."""

    runner: BuildRunner
    snapshots: Snapshots
    executor: BuildExecutor
    admission: Admission
    keys: WorkloadKeys


def assemble(context: ControlContext) -> Workloads:
    shared = _shared(context)
    builds = _builds(context, shared)
    return Workloads(
        shared.runner,
        builds,
        _deployments(context, shared, builds),
        _experiments(context, shared, builds),
    )


def _shared(context: ControlContext) -> _Shared:
    runner = BuildRunner(
        workers=context.workers,
        settings=context.runtime_settings,
        resources=context.resources,
        project_usage=context.project_usage,
        build_store=context.build_store,
        data=context.data,
    )
    snapshots = Snapshots(context.data, runner)
    executor = BuildExecutor(
        runner=runner,
        snapshots=snapshots,
        interpreters=context.interpreters,
        build_store=context.build_store,
        data=context.data,
        sandbox=context.sandbox,
        variables=context.variables,
        settings=context.runtime_settings,
    )
    return _Shared(
        runner,
        snapshots,
        executor,
        Admission(context.disk, context.project_usage),
        WorkloadKeys(context.accounts, context.permissions),
    )


def _builds(context: ControlContext, shared: _Shared) -> Builds:
    prober = Prober(
        workers=context.workers,
        database=context.database,
        build_store=context.build_store,
        data=context.data,
        variables=context.variables,
        keys=shared.keys,
        settings=context.runtime_settings,
    )
    services = BuildServices(
        database=context.database,
        writer=context.writer,
        workers=context.workers,
        data=context.data,
        build_store=context.build_store,
        interpreters=context.interpreters,
        snapshots=shared.snapshots,
        executor=shared.executor,
        prober=prober,
        timeouts=context.operation_timeouts,
    )
    return Builds(
        services,
        settings=context.runtime_settings,
        tasks=context.tasks,
        sandbox=context.sandbox,
        admission=shared.admission,
        removal_queue=context.removal_queue,
        set_aside=context.set_aside,
    )


def _deployments(context: ControlContext, shared: _Shared, builds: Builds) -> Deployments:
    specs = PoolSpecs(
        database=context.database,
        data=context.data,
        build_store=context.build_store,
        sandbox=context.sandbox,
        variables=context.variables,
        instance_id=context.workspace,
    )
    pools = PoolFactory(
        specs=specs,
        workers=context.workers,
        metrics_writer=context.metrics_writer,
        settings=context.runtime_settings,
        build_store=context.build_store,
        set_aside=context.set_aside,
    )
    services = RolloutServices(
        database=context.database,
        writer=context.writer,
        builds=builds,
        pools=pools,
        resources=context.resources,
        endpoints=context.endpoints,
        changes=context.changes,
        variables=context.variables,
        keys=shared.keys,
        timeouts=context.operation_timeouts,
    )
    return Deployments(
        services,
        settings=context.runtime_settings,
        tasks=context.tasks,
        sandbox=context.sandbox,
        disk=context.disk,
        build_store=context.build_store,
        set_aside=context.set_aside,
    )


def _experiments(context: ControlContext, shared: _Shared, builds: Builds) -> Experiments:
    environments = Environments(
        database=context.database,
        build_store=context.build_store,
        encryption=context.encryption,
        variables=context.variables,
        sandbox=context.sandbox,
        snapshots=shared.snapshots,
        interpreters=context.interpreters,
        executor=shared.executor,
        semaphore=builds.semaphore,
    )
    services = RunServices(
        database=context.database,
        writer=context.writer,
        workers=context.workers,
        data=context.data,
        environments=environments,
        resources=context.resources,
        run_specs=RunSpecs(
            build_store=context.build_store,
            sandbox=context.sandbox,
            variables=context.variables,
            project_usage=context.project_usage,
        ),
        keys=shared.keys,
        timeouts=context.operation_timeouts,
    )
    return Experiments(
        services,
        settings=context.runtime_settings,
        tasks=context.tasks,
        sandbox=context.sandbox,
        interpreters=context.interpreters,
        admission=shared.admission,
        files=RunFiles(
            data=context.data,
            set_aside=context.set_aside,
            removal_queue=context.removal_queue,
            snapshots=shared.snapshots,
            admission=shared.admission,
        ),
    )
