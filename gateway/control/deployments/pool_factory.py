"""Opens the pools of deployments."""

import msgspec
import trio

from builder import BuildStore
from gateway.control.builds.probe import source_of
from gateway.control.deployments.replica_logs import prune_logs
from gateway.control.history.recorder import TrafficRecorder
from gateway.control.metrics.metrics_writer import MetricsWriter
from gateway.control.pool_spec import PoolSpecs, with_settings
from gateway.control.probed_pools import ProbedPools
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.source_files import SourceFiles
from gateway.set_aside import SetAside
from store import Build, Deployment
from workers import Pool, PoolSpec, Workers


class PoolFactory:
    """From a deployment and its build to a pool that starts."""

    def __init__(
        self,
        *,
        specs: PoolSpecs,
        workers: Workers,
        metrics_writer: MetricsWriter,
        recorder: TrafficRecorder,
        probed: ProbedPools,
        settings: RuntimeSettings,
        build_store: BuildStore,
        set_aside: SetAside,
    ) -> None:
        self._specs = specs
        self._workers = workers
        self._metrics_writer = metrics_writer
        self._recorder = recorder
        self._probed = probed
        self._settings = settings
        self._build_store = build_store
        self._set_aside = set_aside

    @property
    def is_closing(self) -> bool:
        """Whether the gateway ends, and with it all pools."""
        return self._workers.ending

    async def prepare(
        self, deployment: Deployment, build: Build, start_tries: int, key: dict[str, str]
    ) -> PoolSpec:
        """Describes the pool, and deletes the oldest logs of its model."""
        spec = await self._specs.describe(deployment, build, self._specs.sealed(build.id), key)
        await trio.to_thread.run_sync(prune_logs, spec.log_folder, self._set_aside)
        return msgspec.structs.replace(spec, start_tries=start_tries)

    def open(self, deployment: Deployment, spec: PoolSpec) -> Pool:
        """Starts the pool, under the settings as they are now. What the probe of its build has
        started serves on."""
        spec = with_settings(spec, self._settings.current)
        tracked = self._metrics_writer.sink_for(deployment.project_id, deployment.id)
        pool = self._probed.take(deployment.id, spec)
        if pool is None:
            pool = self._workers.open_pool(spec, tracked=tracked)
        else:
            pool.serve(spec, tracked)
        self._recorder.serves(pool, deployment.number, deployment.build_number)
        return pool

    def adjust(self, pool: Pool) -> None:
        """Applies the settings as they are now to a pool that serves."""
        pool.adjust(with_settings(pool.spec, self._settings.current))

    def source_of(self, build: Build) -> SourceFiles:
        """What may explain why the model of a build does not start."""
        return source_of(self._build_store.code(build.id), build)
