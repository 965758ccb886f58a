"""`open_workers`: one reactor, one output thread, and the pools, probes and scripts on them."""

import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from workers import untrusted_tree
from workers.allowance import Allowance, unbounded
from workers.cgroups import Cgroups, open_tree
from workers.confinement import Confinement, LevelChoice, Network, SandboxView
from workers.errors import ProbeRaised
from workers.gpus import GpuDriver, Gpus, NvmlDriver
from workers.limits import Cause, Limits
from workers.log import Log
from workers.pool.fair_queue import QueueBudget
from workers.pool.pool import Pool, Tracked
from workers.process.command import Ended, LineLog, run_command
from workers.process.experiment import run_experiment
from workers.process.host import ProcessHost
from workers.process.languages import INSIDE, PACKAGES, R_PACKAGES
from workers.process.limit_monitor import LimitMonitor
from workers.process.output import Output
from workers.process.process import kill_tree, marked
from workers.process.terminal import PseudoTerminal, run_shell
from workers.process.tree import ProcessTree
from workers.reactor.reactor import Reactor
from workers.replica.interfaces import Check
from workers.replica.replica import Replica
from workers.replica.supervisor import supervise
from workers.replica.ticket import Answered, describe_failure
from workers.retry_pauses import RetryPauses
from workers.sizes import MIB
from workers.spec import ExperimentSpec, PoolSpec, ShellSpec

# Threads in which the replicas of one identity are prepared and cleaned up.
_THREADS_PER_IDENTITY = 4


def _drop(tracked: bytes | bytearray) -> None:
    """Drops the metrics of a prediction that has no sink, such as a probe's."""


class ScriptPaths(Protocol):
    """The paths that a script sees; see `SandboxView`."""

    @property
    def home(self) -> Path: ...
    @property
    def tmp(self) -> Path: ...
    @property
    def read(self) -> tuple[Path, ...]: ...
    @property
    def write(self) -> tuple[Path, ...]: ...
    @property
    def prefix(self) -> Path | None: ...
    @property
    def unix_sockets(self) -> bool: ...


class Workers:
    """Opens pools and runs scripts, on the thread that called `open_workers`."""

    def __init__(
        self,
        *,
        host: ProcessHost,
        reactor: Reactor,
        folder: Path,
        supervisors: trio.Nursery,
        budget: QueueBudget,
    ) -> None:
        self._host = host
        self.cgroups = host.cgroups
        self.confinement = host.confinement
        self.allowance = host.allowance
        self.gpus = host.gpus
        self.reactor = reactor
        self._folder = folder
        self._supervisors = supervisors
        self._budget = budget
        # Looks at large answers of models, for all pools that are opened from then on.
        self.check_answer: Check | None = None
        self.ending = False
        self._started = 0
        self._pools: weakref.WeakSet[Pool] = weakref.WeakSet()
        # By whose they are: the replicas of one deployment wait for each other's copies and ends.
        self._threads: weakref.WeakValueDictionary[int, trio.CapacityLimiter] = (
            weakref.WeakValueDictionary()
        )

    def open_pool(
        self,
        spec: PoolSpec,
        log: Log | None = None,
        tracked: Tracked = _drop,
        *,
        ours: bool = False,
        filled: int | None = None,
    ) -> Pool:
        """Starts the replicas of `spec`, or only as many as `filled`. With `log`, all of them print
        there and it stays open; otherwise each slot has its own log in `spec.log_folder`. `tracked`
        gets the metrics of predictions whose callers have got their answers, and must not block.
        Answers of a model that is `ours` are not checked.

        The pool lives until it is drained or stopped, or the workers close.
        """
        pool = Pool(
            spec,
            loop=self.reactor,
            launch=self._launch,
            log=log,
            total_budget=self._budget,
            tracked=tracked,
            check=None if ours else self.check_answer,
            timeouts=self._host.timeouts,
            filled=filled,
        )
        self._pools.add(pool)
        return pool

    def resize_budget(self, most_requests: int, most_bytes: int) -> None:
        """Sets other bounds for the requests that wait in all pools together."""
        self._budget.resize(most_requests, most_bytes)
        for pool in self._pools:
            pool.budget_resized()

    async def end_pools(self) -> None:
        """Stops all pools and returns when nothing of them is left."""
        for pool in self.stop_pools():
            await pool.closed.wait()

    def stop_pools(self) -> list[Pool]:
        """The workers are closing: queued requests are refused, running ones get STOP_GRACE."""
        self.ending = True
        pools = list(self._pools)
        for pool in pools:
            pool.stop()
        return pools

    def _launch(self, replica: Replica, log: Log) -> None:
        self._started += 1
        threads = self._threads.setdefault(
            replica.spec.identity, trio.CapacityLimiter(_THREADS_PER_IDENTITY)
        )
        self._supervisors.start_soon(
            partial(
                supervise,
                replica,
                log=log,
                host=self._host,
                folder=self._folder / f"{replica.name}-{self._started}",
                threads=threads,
            )
        )

    async def probe(self, spec: PoolSpec, log: Log, example: bytes | None) -> None:
        """Starts one replica of `spec`; with an example input (raw JSON), requests a prediction.

        Raises StartFailed or ProbeRaised. Nothing is left of the replica on return.
        """
        pool = self.open_pool(spec, log)
        await _try_out(pool, example)
        await _end(pool)

    async def open_probed(self, spec: PoolSpec, log: Log, example: bytes | None) -> Pool:
        """As `probe`, but with the pool of a deployment, which is returned. It has one replica,
        which has answered the example, and gets the others with `Pool.serve`. Until then `log` gets
        what the replica prints, too. On failure nothing is left of it."""
        first = msgspec.structs.replace(spec, start_tries=1, first_ready=1)
        pool = self.open_pool(first, filled=1)
        for each in pool.logs.values():
            each.copied_to = log
        await _try_out(pool, example)
        return pool

    async def run(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        paths: ScriptPaths | None = None,
        variables: Mapping[str, str],
        log: LineLog,
        time_limit: float,
        limits: Limits,
        folders: Sequence[Path] = (),
        network: Network = "machine",
        identity: int = 0,
    ) -> int:
        """Runs a command to its end; see `run_command`. With a `paths` it is confined to those
        paths, and its Pythons find `cdsw` and `cml`."""
        tree = ProcessTree(self._host, "script", limits, folders or (cwd,))
        async with self._host.reserved_tree():
            ended = await run_command(
                tree,
                command,
                cwd=cwd,
                variables=variables if paths is None else _with_packages(variables),
                view=None if paths is None else _view(paths, network, identity),
                log=log,
                time_limit=time_limit,
            )
        return ended.status

    async def run_experiment(
        self,
        spec: ExperimentSpec,
        log: LineLog,
        began: Callable[[Callable[[], int]], object] = lambda _: None,
    ) -> Ended:
        """Runs the script of an experiment to its end; see `experiment.run_experiment`. `began`
        gets a function that returns how much memory it uses, in bytes: 0 where no cgroup counts it.
        """
        tree = ProcessTree(
            self._host, "experiment", spec.limits, (spec.folder,), gpu_count=spec.gpus
        )
        began(tree.memory)
        async with self._host.reserved_tree():
            return await run_experiment(tree, spec, log)

    async def run_shell(
        self,
        spec: ShellSpec,
        terminal: PseudoTerminal,
        printed: Callable[[bytes], Awaitable[object]],
        began: Callable[[Callable[[], int]], object] = lambda _: None,
    ) -> Ended:
        """Runs a program in a terminal to its end; see `terminal.run_shell`. `began` is that of
        `run_experiment`."""
        tree = ProcessTree(self._host, "shell", spec.limits, (spec.folder,), gpu_count=spec.gpus)
        began(tree.memory)
        async with self._host.reserved_tree():
            return await run_shell(tree, spec, terminal, printed)

    def new_folder(self, name: str) -> Path:
        """A path for the working copy of a shell, which the next start removes in any case."""
        self._started += 1
        return self._folder / f"{name}-{self._started}"


@asynccontextmanager
async def open_workers(
    folder: Path,
    instance_id: str,
    budget: QueueBudget | None = None,
    *,
    most_memory: int = 0,
    confinement: Confinement | None = None,
    allowance: Allowance | None = None,
    gpu_driver: GpuDriver | None = None,
    timeouts: RetryPauses = RetryPauses(),  # noqa: B008 - it is frozen
) -> AsyncIterator[Workers]:
    """The workers, with `folder` for working copies. `instance_id` marks their processes; `budget`
    bounds the requests that wait in all pools together. All processes together may use
    `most_memory` bytes, 0 for no limit, and what `allowance` leaves them. By default they are not
    confined, and there are no GPUs.

    First ends what an earlier gateway with the same instance id left behind. On exit the pools are
    stopped, and what is left then is killed.
    """
    allowance = allowance or unbounded()
    cgroups = await trio.to_thread.run_sync(
        _sweep, folder, instance_id, most_memory, allowance.tasks
    )
    confinement = confinement or Confinement(LevelChoice("none", {}), folder)
    gpus = Gpus(
        gpu_driver or NvmlDriver(signs=()),
        folder.with_name(f"{folder.name}.gpus"),
        marked,
        for_all=confinement.level == "users",
    )
    await trio.to_thread.run_sync(gpus.recover, f"{instance_id}/")
    await gpus.look()
    host = ProcessHost(
        instance_id=instance_id,
        output=Output(),
        limit_monitor=LimitMonitor(cgroups.enforced, timeouts.monitor_interval),
        cgroups=cgroups,
        confinement=confinement,
        allowance=allowance,
        gpus=gpus,
        timeouts=timeouts,
    )
    reactor = Reactor()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            async with trio.open_nursery() as supervisors:
                workers = Workers(
                    host=host,
                    reactor=reactor,
                    folder=folder,
                    supervisors=supervisors,
                    budget=budget or QueueBudget(4000, 256 * MIB),
                )
                try:
                    yield workers
                finally:
                    with trio.move_on_after(timeouts.close, shield=True):
                        await workers.end_pools()
                    supervisors.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
    finally:
        host.limit_monitor.close()
        host.output.close()
        reactor.close()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(cgroups.close)
            await gpus.close()


async def _try_out(pool: Pool, example: bytes | None) -> None:
    """Waits for the first replica, and requests a prediction if there is an example. Raises
    StartFailed or ProbeRaised when nothing of the pool is left."""
    outcome, worked = None, False
    try:
        await pool.wait_ready()
        if example is not None:
            outcome = await pool.predict(example)
        worked = outcome is None or isinstance(outcome, Answered)
    finally:
        if not worked:
            await _end(pool)
    if outcome is not None and not isinstance(outcome, Answered):
        met = [slot.limits_met for slot in pool.statistics().slots]
        causes = (Cause(name) for each in met for name, count in each.items() if count)
        raise ProbeRaised(describe_failure(outcome), next(causes, None))


async def _end(pool: Pool) -> None:
    with trio.CancelScope(shield=True):
        pool.stop()
        await pool.closed.wait()


def _sweep(folder: Path, instance_id: str, most_memory: int, most_tasks: int) -> Cgroups:
    """Ends and removes what an earlier gateway left; the cgroups for this one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder: the record of leftovers must outlive them.
    record = folder.with_name(f"{folder.name}.cgroups")
    cgroups = open_tree(instance_id, record, most_memory, os.cpu_count() or 1, most_tasks)
    kill_tree(f"{instance_id}/")
    untrusted_tree.remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return cgroups


def _view(paths: ScriptPaths, network: Network, identity: int) -> SandboxView:
    return SandboxView(
        home=paths.home,
        tmp=paths.tmp,
        read=(*paths.read, INSIDE),
        write=paths.write,
        prefix=paths.prefix,
        network=network,
        identity=identity,
        unix_sockets=paths.unix_sockets,
    )


def _with_packages(variables: Mapping[str, str]) -> dict[str, str]:
    """Adds our packages to the paths of Python and R, behind their other entries. R_LIBS_USER has a
    default, so it is extended only where it is given."""
    with_ours = dict(variables)
    for name, packages in (("PYTHONPATH", PACKAGES), ("R_LIBS_USER", R_PACKAGES)):
        given = variables.get(name, "")
        if given or name == "PYTHONPATH":
            with_ours[name] = os.pathsep.join(filter(None, (given, str(packages))))
    return with_ours
