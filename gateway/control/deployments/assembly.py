"""Assembles the deployments from their parts."""

from gateway.control.accounts.workload_keys import WorkloadKeys
from gateway.control.builds.builds import Builds
from gateway.control.deployments.deployments import Deployments
from gateway.control.deployments.pool_factory import PoolFactory
from gateway.control.deployments.rollout_services import RolloutServices
from gateway.control.foundation import Foundation
from gateway.control.pool_spec import PoolSpecs


def assemble_deployments(
    foundation: Foundation, keys: WorkloadKeys, specs: PoolSpecs, builds: Builds
) -> Deployments:
    """The deployments, which wait for builds. `keys` are those that replicas sign in with."""
    pools = PoolFactory(
        specs=specs,
        workers=foundation.workers,
        metrics_writer=foundation.metrics_writer,
        recorder=foundation.recorder,
        probed=foundation.probed,
        settings=foundation.settings,
        build_store=foundation.build_store,
        set_aside=foundation.set_aside,
    )
    services = RolloutServices(
        database=foundation.database,
        writer=foundation.writer,
        builds=builds,
        pools=pools,
        resources=foundation.resources,
        gpus=foundation.gpus,
        endpoints=foundation.endpoints,
        changes=foundation.changes,
        variables=foundation.variables,
        probed=foundation.probed,
        keys=keys,
        timeouts=foundation.operation_timeouts,
    )
    return Deployments(
        services,
        settings=foundation.settings,
        tasks=foundation.tasks,
        sandbox=foundation.sandbox,
        disk=foundation.disk,
        build_store=foundation.build_store,
        set_aside=foundation.set_aside,
    )
