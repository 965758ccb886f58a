"""The life of one process tree, the same for replicas and scripts.

A tree is a process with all that it ever starts. Its life has a fixed order, on which isolation and
cleaning depend:

0. `acquire_gpus`: it waits for its GPUs, where it asked for some.
1. `prepare`: the confined user becomes the owner of what the tree may write; the leaf of cgroups is
   made.
2. `spawn`: the process starts with the tree's mark, enters the leaf by itself, and is confined
   before it reads a byte of the project.
3. `run`: its output is read and its limits are monitored until it ends, runs out of time, or is
   cancelled.
4. At the end, in every case: the process and its group are killed while the id is its own, then it
   is reaped and its exit is explained. The leaf is killed, then every process with the mark. Only
   then are the pipes drained and closed: a grandchild could hold them open.
5. `remove`: the leaf goes, and the GPUs are given back.

Steps 4 and 5 are retried after a shortage (shortages.py). This file knows neither the wire nor what
the process is for: its `TreeOwner` does.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from workers.confinement import SandboxView
from workers.gpus import Gpu
from workers.limits import CgroupCounters, ExitReason, Limits, explain_exit
from workers.process.host import ProcessHost
from workers.process.limit_monitor import MonitoredTree
from workers.process.output import Sink
from workers.process.process import Process, kill_tree, spawn
from workers.shortages import Args, surely
from workers.untrusted_tree import measure


class TreeExit(msgspec.Struct, frozen=True, kw_only=True):
    """How the process ended. `status` is negative for a signal, `text` is the status in words, and
    `reason` names the limit that was met as well. `completed` is False where we ended it, because
    its time was over or it was cancelled."""

    status: int
    text: str
    reason: ExitReason
    counters: CgroupCounters
    completed: bool


class TreeOwner(Protocol):
    """What the life of a tree asks and tells. Only `is_busy` is called in another thread."""

    def is_busy(self) -> bool:
        """Whether the time that its CPU limit costs it counts now."""

    def monitored(self, tree: MonitoredTree) -> None:
        """The process runs, and its limits are monitored."""

    def limit_exceeded(self, reason: ExitReason) -> None:
        """It exceeded a limit that the kernel does not hold: kill it. Not called after the end."""

    def interrupted(self) -> None:
        """It is about to be killed, since it was cancelled or its time is over."""

    def exited(self, how: TreeExit) -> None:
        """The process is reaped; its children may still live."""

    def drained(self) -> None:
        """Nothing of the tree lives, and all that it printed has been read."""


class ProcessTree:
    """One process tree. `folders` are where it may write: what it adds to them counts as disk. It
    asks for `gpu_count` whole GPUs; `gpus` are those that it holds.

    What may block long is done in the threads of `limiter`, by default those of all.
    """

    def __init__(
        self,
        host: ProcessHost,
        name: str,
        limits: Limits,
        folders: Sequence[Path],
        *,
        gpu_count: int = 0,
        limiter: trio.CapacityLimiter | None = None,
    ) -> None:
        self.host = host
        self.gpus: tuple[Gpu, ...] = ()
        self._gpu_count = gpu_count
        self._name = name
        self.limits = host.allowance.within(limits)
        self.limiter = limiter
        self._leaf = host.cgroups.leaf(name)
        self._has_leaf = False
        self._mark = f"{host.instance_id}/{uuid.uuid4().hex}/"
        self._folders = folders
        # The bytes in the folders before the process started.
        self._base = 0

    def memory(self) -> int:
        """The bytes that its cgroup counts; 0 where none does."""
        return self._leaf.memory() or 0

    async def acquire_gpus(self) -> None:
        """Waits for the GPUs that it asked for."""
        if self._gpu_count:
            self.gpus = await self.host.gpus.acquire(self._gpu_count, self._mark, self._name)

    def prepare(self, view: SandboxView | None) -> None:
        """Makes the leaf, and gives the confined user what `view` says it may write. Blocking.
        Raises OSError."""
        if view is not None:
            self.host.confinement.chown_writable(view)
        self._has_leaf = True
        self._leaf.make(self.limits)
        if self.limits.disk:
            self._base = sum(map(measure, self._folders))

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        variables: Mapping[str, str],
        view: SandboxView | None,
        stdout: int,
        stderr: int,
        pass_fds: Sequence[int] = (),
        reads_output: bool = False,
    ) -> Process:
        """Starts the process, confined to `view`; without a view it is a program of ours. Its stdin
        is empty, or `stdout`. Raises OSError, ValueError for a variable that no process can
        have."""
        if view is not None:
            view = msgspec.structs.replace(view, devices=self.host.gpus.nodes(self.gpus))
            variables = {**variables, **self.host.gpus.variables(self.gpus)}
        launch = self.host.confinement.launch(
            command, cwd=cwd, variables=variables, view=view, reads_output=reads_output
        )
        return spawn(
            launch,
            mark=self._mark,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            enter=self._leaf.enter,
            file_size=self.limits.disk,
        )

    def abandon(self, process: Process) -> None:
        """Ends a process that cannot be used. Blocks for as long as a kill takes."""
        process.kill()
        process.reap()
        self._kill(process)

    async def run(
        self,
        process: Process,
        outputs: Sequence[tuple[int, Sink]],
        owner: TreeOwner,
        *,
        time_limit: float = inf,
    ) -> None:
        """Returns when nothing of the tree lives and its output is read; also when cancelled.

        `outputs` are the read ends of pipes, each with what takes its lines.
        """
        output, monitor = self.host.output, self.host.limit_monitor
        sources = [output.attach(fd, sink) for fd, sink in outputs]
        exceeded = _OnceInTrio(owner.limit_exceeded)
        monitored = MonitoredTree(
            process.pid,
            leaf=self._leaf,
            limits=self.limits,
            folders=self._folders,
            base=self._base,
            gpus=[each.uuid for each in self.gpus],
            busy=owner.is_busy,
            exceeds=exceeded.call,
        )
        owner.monitored(monitored)
        monitor.begin(monitored)
        completed = False
        try:
            with trio.move_on_after(time_limit):
                await process.wait()
                completed = True
        finally:
            monitor.end(monitored)
            with trio.CancelScope(shield=True):
                if not process.has_ended():
                    owner.interrupted()
                    process.kill()
                    await process.wait()
                exceeded.close()
                process.kill()  # its group, while the id is still its own
                owner.exited(self._reap(process, completed))
            await self.surely(self._kill, process)
            with trio.CancelScope(shield=True):
                await output.drain(*sources)
                owner.drained()

    def _reap(self, process: Process, completed: bool) -> TreeExit:
        status = process.reap()
        text, counters = process.describe(status), self._leaf.counters()
        return TreeExit(
            status=status,
            text=text,
            reason=explain_exit(status, text, counters, self.limits),
            counters=counters,
            completed=completed,
        )

    def _kill(self, process: Process) -> None:
        process.await_group()
        self._leaf.kill()
        kill_tree(self._mark)

    async def remove(self) -> None:
        """Removes the leaf and gives the GPUs back. Call it in every case, also where the process
        was never started."""
        try:
            if self._has_leaf:
                await self.surely(self._leaf.remove)
        finally:
            if self._gpu_count:
                await self.surely(self.host.gpus.release, self._mark)
                self.host.gpus.notify()

    async def surely(self, work: Callable[[*Args], object], *args: *Args) -> None:
        """Does blocking work that must be done at the end of the tree; see `shortages.surely`."""
        await surely(work, *args, limiter=self.limiter, timeouts=self.host.timeouts)


class _OnceInTrio:
    """Calls `call` in Trio's thread when another thread asks for it, until it is closed."""

    def __init__(self, call: Callable[[ExitReason], object]) -> None:
        self._call = call
        self._token = trio.lowlevel.current_trio_token()
        self._closed = False

    def call(self, reason: ExitReason) -> None:
        """From any thread."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(partial(self._call_here, reason))

    def _call_here(self, reason: ExitReason) -> None:
        if not self._closed:
            self._call(reason)

    def close(self) -> None:
        self._closed = True
