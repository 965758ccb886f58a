"""The supervisor of one replica: makes its working copy and process, waits for the end, cleans up.

One Trio task per process, none per request. The same cleaning follows every end of the process:
its whole tree is killed, what it printed last is kept (process/tree.py), and its working copy is
removed. Only then is the replica reported as cleaned. When cancelled, the supervisor kills the
process first.

An error costs one start, which the pool retries: no exception leaves this file. What must be done
at an end is done in spite of a shortage (shortages.py).
"""

import logging
import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import trio

from workers import untrusted_tree
from workers.confinement import HOME, SandboxView
from workers.errors import StartFailed
from workers.kernel_limits import explain
from workers.limits import ExitReason
from workers.log import Log
from workers.process import workspace
from workers.process.environment import environment_of
from workers.process.host import ProcessHost
from workers.process.languages import INSIDE, commands_of
from workers.process.limit_monitor import MonitoredTree
from workers.process.output import Sink
from workers.process.process import Process, pipe
from workers.process.tree import ProcessTree, TreeExit
from workers.replica.lifecycle import State, StopReason
from workers.replica.replica import Replica
from workers.shortages import Shortage, in_thread, is_shortage
from workers.spec import ReplicaSpec

logger = logging.getLogger(__name__)


async def supervise(
    replica: Replica, *, log: Log, host: ProcessHost, folder: Path, threads: trio.CapacityLimiter
) -> None:
    """Lives as long as the replica's process and what is left of it.

    `folder` does not exist yet and is the replica's own. What may block long is done in `threads`,
    so that it does not occupy the threads that everything else needs.
    """
    tree = ProcessTree(
        host,
        replica.name,
        replica.spec.limits,
        [folder],
        gpu_count=replica.spec.gpus,
        limiter=threads,
    )
    try:
        with host.allowance.one_tree():
            await _run_process(replica, log, tree, folder)
    except Shortage as shortage:
        _not_started(replica, shortage)
    except Exception as error:
        # A mistake of ours, which costs no other replica anything.
        logger.exception("replica.failed name=%s", replica.name)
        _not_started(replica, error)
    finally:
        try:
            try:
                await tree.remove()
            finally:  # also where that was cancelled
                await tree.surely(untrusted_tree.remove, folder)
        except Exception:
            logger.exception("replica.not_removed name=%s", replica.name)
        finally:
            replica.cleaned()


def _not_started(replica: Replica, error: Exception) -> None:
    """It has no process, or will not have one; those who wait for it get the reason."""
    if replica.state is not State.GONE:
        why = f"could not be started: {explain(error)}"
        replica.was_shortage = is_shortage(error)
        if replica.was_shortage:
            logger.warning("replica.not_started name=%s: %s", replica.name, explain(error))
        if replica.ready_at is None:
            replica.failure = StartFailed(f"the replica {why}")
        replica.exited(ExitReason(why))


def _prepare(spec: ReplicaSpec, tree: ProcessTree, folder: Path) -> SandboxView:
    """Makes its working copy. What it sees beside that. Blocking. Raises OSError."""
    tree.host.allowance.check_tasks()
    home = workspace.make(spec.code, folder, spec.built or HOME)
    view = view_of(spec, home=home, tmp=folder / "tmp")
    tree.prepare(view)
    return view


def view_of(spec: ReplicaSpec, *, home: Path, tmp: Path) -> SandboxView:
    """What a replica sees beside its working copy."""
    return SandboxView(
        home=home,
        tmp=tmp,
        read=(spec.environment, INSIDE),
        prefix=spec.prefix,
        built=spec.built,
        network=spec.network,
        identity=spec.identity,
    )


async def _run_process(replica: Replica, log: Log, tree: ProcessTree, folder: Path) -> None:
    try:
        if replica.spec.gpus:
            with replica.wait_for_gpus():
                await tree.acquire_gpus()
            replica.got_gpus()
        with trio.CancelScope(shield=True):  # half a copy is of no use
            view = await in_thread(_prepare, replica.spec, tree, folder, limiter=tree.limiter)
        if replica.state is not State.STARTING:
            replica.exited(ExitReason("was not started, since it was stopped first"))
            return
        process, outputs = _start(replica, view, tree, log)
    # ValueError: a variable that no process can have.
    except (OSError, ValueError, MemoryError) as error:
        _not_started(replica, error)
        return
    await tree.run(process, outputs, _Owner(replica, log))


class _Owner:
    """Tells the replica what becomes of its tree."""

    def __init__(self, replica: Replica, log: Log) -> None:
        self._replica = replica
        self._log = log

    def is_busy(self) -> bool:
        return self._replica.ticket is not None or self._replica.ready_at is None

    def monitored(self, tree: MonitoredTree) -> None:
        self._replica.monitored = tree

    def limit_exceeded(self, reason: ExitReason) -> None:
        self._replica.kill_for_limit(reason)

    def interrupted(self) -> None:
        self._replica.kill(StopReason.STOPPED)

    def exited(self, how: TreeExit) -> None:
        self._replica.exited(how.reason)

    def drained(self) -> None:
        replica = self._replica
        if replica.failed_request:
            text = f"[predictd] request {replica.failed_request} ended the replica: "
            self._log.write(f"{text}{replica.ending}", "stderr")
        elif replica.cause is not None:
            self._log.write(f"[predictd] {replica.ending}", "stderr")


def _start(
    replica: Replica, view: SandboxView, tree: ProcessTree, log: Log
) -> tuple[Process, list[tuple[int, Sink]]]:
    """Spawns the process and gives it to the replica. The process, and the pipes of its output."""
    spec = replica.spec
    root = view.home / spec.model_root
    with ExitStack() as ours_on_failure, ExitStack() as theirs:

        def from_it() -> tuple[int, int]:
            read, write = pipe()
            ours_on_failure.callback(os.close, read)
            theirs.callback(os.close, write)
            return read, write

        request_in, request_out = pipe()
        theirs.callback(os.close, request_in)
        ours_on_failure.callback(os.close, request_out)
        (answer_in, answer_out), (out, out_end), (err, err_end) = from_it(), from_it(), from_it()
        command = commands_of(spec.language).serve(spec, request_in, answer_out)
        process = tree.spawn(
            command.words,
            cwd=root,
            variables={
                **environment_of(spec),
                **command.variables,
                **dict.fromkeys(spec.name_variables, replica.name),
            },
            view=view,
            stdout=out_end,
            stderr=err_end,
            pass_fds=(request_in, answer_out),
        )
        ours_on_failure.callback(tree.abandon, process)
        seen = tree.host.confinement.path_inside(view, root)
        replica.attach(process, answer_in, request_out, str(seen))
        ours_on_failure.pop_all()
    write = log.write_lines
    return process, [
        (out, partial(write, stream="stdout")),
        (err, partial(write, stream="stderr")),
    ]
