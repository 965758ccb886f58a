"""The keeper of one replica: makes its working copy and process, waits for the end, cleans up.

One Trio task per process, none per request. Whatever ends the process, the same cleaning follows:
its whole tree is killed, what it printed last is kept, its working copy is removed; only then is
the replica called clean. Cancelled, it kills the process first.

An error costs one start, which the pool tries again: nothing that is raised leaves this file. What
has to be done at an end is done in spite of a shortage (shortages.py).
"""

import logging
import os
import uuid
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import trio

from workers import untrusted_tree
from workers.allowance import Allowance
from workers.cgroups import Leaf
from workers.confinement import HOME, Confinement, SandboxView
from workers.errors import StartFailed
from workers.limits import ExitReason
from workers.log import Log
from workers.process import workspace
from workers.process.environment import INSIDE, environment_of
from workers.process.limit_monitor import LimitMonitor, MonitoredTree
from workers.process.output import Output
from workers.process.process import Process, kill_tree, pipe, spawn
from workers.process_limits import explain
from workers.replica.lifecycle import State
from workers.replica.replica import Replica, StopReason
from workers.shortages import Shortage, in_thread, is_shortage, surely
from workers.spec import ReplicaSpec

logger = logging.getLogger(__name__)


async def supervise(
    replica: Replica,
    *,
    log: Log,
    output: Output,
    instance_id: str,
    folder: Path,
    leaf: Leaf,
    watch: LimitMonitor,
    confinement: Confinement,
    threads: trio.CapacityLimiter,
    allowance: Allowance,
) -> None:
    """Lives as long as the replica's process and what is left of it.

    `folder` and `leaf` do not exist yet and are the replica's own. What may take long is done in
    `threads`, which are not those that all others need.
    """
    mark = f"{instance_id}/{uuid.uuid4().hex}/"
    try:
        with allowance.one_tree():
            await _run_process(
                replica, log, output, mark, folder, leaf, watch, confinement, threads, allowance
            )
    except Shortage as shortage:
        _lost(replica, shortage)
    except Exception as error:
        # A mistake of ours, which costs no other replica anything.
        logger.exception("the replica %s was given up", replica.name)
        _lost(replica, error)
    finally:
        try:
            await surely(_remove, folder, leaf, limiter=threads)
        except Exception:
            logger.exception("what the replica %s left is not removed", replica.name)
        finally:
            replica.cleaned()


def _lost(replica: Replica, error: Exception) -> None:
    """It has no process, or will not have one; why is told to those who wait for it."""
    if replica.state is not State.GONE:
        why = f"could not be started: {explain(error)}"
        replica.lacked = is_shortage(error)
        if replica.lacked:
            logger.warning("the replica %s %s", replica.name, why)
        if replica.ready_at is None:
            replica.failure = StartFailed(f"the replica {why}")
        replica.exited(ExitReason(why))


def _make(
    replica: Replica, folder: Path, leaf: Leaf, confinement: Confinement, allowance: Allowance
) -> tuple[SandboxView, int]:
    """Its working copy and what it sees beside that, and what that takes on the disk. Raises
    OSError."""
    allowance.check_tasks()
    spec = replica.spec
    view = view_of(spec, home=_copied(spec, folder), tmp=folder / "tmp")
    confinement.give(view)
    leaf.make(allowance.within(spec.limits))
    return view, untrusted_tree.measure(folder)


def _copied(spec: ReplicaSpec, folder: Path) -> Path:
    return workspace.make(spec.code, folder, spec.built or HOME)


def view_of(spec: ReplicaSpec, *, home: Path, tmp: Path) -> SandboxView:
    """What a replica sees beside its working copy."""
    return SandboxView(
        home=home,
        tmp=tmp,
        read=(spec.environment, INSIDE.parent),
        prefix=spec.prefix,
        built=spec.built,
        network=spec.network,
        identity=spec.identity,
    )


def _remove(folder: Path, leaf: Leaf) -> None:
    leaf.remove()
    untrusted_tree.remove(folder)


def _kill(started: Process, leaf: Leaf, mark: str) -> None:
    started.await_group()
    leaf.kill()
    kill_tree(mark)


async def _run_process(
    replica: Replica,
    log: Log,
    output: Output,
    mark: str,
    folder: Path,
    leaf: Leaf,
    watch: LimitMonitor,
    confinement: Confinement,
    threads: trio.CapacityLimiter,
    allowance: Allowance,
) -> None:
    try:
        with trio.CancelScope(shield=True):  # half a copy is of no use
            made = await in_thread(
                _make, replica, folder, leaf, confinement, allowance, limiter=threads
            )
        if replica.state is not State.STARTING:
            replica.exited(ExitReason("was not started, since it was stopped first"))
            return
        view, base = made
        started, out, err = _start(replica, view, mark, leaf, confinement)
    # ValueError: a variable that no process can have.
    except (OSError, ValueError, MemoryError) as error:
        _lost(replica, error)
        return
    sources = (
        output.attach(out, partial(log.write_lines, stream="stdout")),
        output.attach(err, partial(log.write_lines, stream="stderr")),
    )
    replica.watched = watched = MonitoredTree(
        started.pid,
        leaf=leaf,
        limits=allowance.within(replica.spec.limits),
        folders=[folder],
        base=base,
        busy=lambda: replica.ticket is not None or replica.ready_at is None,
        exceeds=partial(_condemn, trio.lowlevel.current_trio_token(), replica),
    )
    watch.begin(watched)
    try:
        await started.wait()
    finally:
        watch.end(watched)
        with trio.CancelScope(shield=True):
            if not started.has_ended():
                replica.kill(StopReason.STOPPED)
                await started.wait()
            started.kill()  # its group, while the id is still its own
            status = started.reap()
            replica.exited(watched.judge(status, started.say(status)))
        await surely(_kill, started, leaf, mark, limiter=threads)
        with trio.CancelScope(shield=True):
            await output.drain(*sources)
            if replica.cause is not None:
                log.write(f"[predictd] {replica.ending}", "stderr")


def _condemn(token: trio.lowlevel.TrioToken, replica: Replica, verdict: ExitReason) -> None:
    """From the thread of the watch."""
    with suppress(trio.RunFinishedError):
        token.run_sync_soon(replica.kill_for_limit, verdict)


def _start(
    replica: Replica, view: SandboxView, mark: str, leaf: Leaf, confinement: Confinement
) -> tuple[Process, int, int]:
    """Spawns the process and gives it to the replica; returns it with its stdout and stderr."""
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
        launch = confinement.launch(
            [spec.environment / "bin" / "python", INSIDE, str(request_in), str(answer_out)],
            cwd=root,
            variables={
                **environment_of(spec),
                **dict.fromkeys(spec.name_variables, replica.name),
            },
            view=view,
        )
        started = spawn(
            launch,
            mark=mark,
            stdout=out_end,
            stderr=err_end,
            pass_fds=(request_in, answer_out),
            enter=leaf.enter,
            file_size=spec.limits.disk,
        )
        ours_on_failure.callback(_give_up, started, leaf, mark)
        replica.attach(started, answer_in, request_out, str(confinement.shown(view, root)))
        ours_on_failure.pop_all()
    return started, out, err


def _give_up(started: Process, leaf: Leaf, mark: str) -> None:
    """Ends a process that cannot be spoken to. Blocking, for the moment that a kill takes."""
    started.kill()
    started.reap()
    _kill(started, leaf, mark)
