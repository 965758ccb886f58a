"""Runs a command to its end, in a process tree of its own that is dead when this returns.

For build scripts, and whatever else is a program rather than a server.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from workers.cgroups import Leaf
from workers.confinement import Confinement, Launch, SandboxView
from workers.limits import ExitReason, Limits, explain_exit, reached_processes
from workers.process.limit_monitor import LimitMonitor, MonitoredTree
from workers.process.output import Output
from workers.process.process import Process, kill_tree, pipe, spawn
from workers.shortages import in_thread, surely
from workers.untrusted_tree import measure


class Ended(msgspec.Struct, frozen=True):
    """How a script ended: its exit status, negative for a signal, and what that is in words."""

    status: int
    verdict: ExitReason


class LineLog(Protocol):
    """Where what a command prints goes, line by line; called in the output thread."""

    def write(self, line: str) -> None: ...


async def run_script(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    variables: Mapping[str, str],
    view: SandboxView | None,
    log: LineLog,
    output: Output,
    instance_id: str,
    time_limit: float,
    leaf: Leaf,
    limits: Limits,
    watch: LimitMonitor,
    confinement: Confinement,
    folders: Sequence[Path] = (),
) -> Ended:
    """How `command` ended; what it prints goes to `log`.

    `variables`, with HOME and the like of its `view`, are its whole environment; without a view it
    is a program of ours. `leaf`, which does not exist yet, holds its `limits`, or `watch` does.
    What it adds to the `folders`, by default to `cwd`, is what it writes to disk.
    Raises OSError where it cannot be started, TimeoutError after `time_limit` seconds. On return,
    error or cancellation its whole tree is dead. What limit it or a child of its met ends its log.
    """
    mark = f"{instance_id}/{uuid.uuid4().hex}/"
    try:
        folders = folders or (cwd,)
        base = await in_thread(_prepare, leaf, limits, confinement, view, folders)
        launch = confinement.launch(command, cwd=cwd, variables=variables, view=view)
        started, out = _start(launch, mark, leaf, limits)
    except (OSError, ValueError, MemoryError):
        leaf.remove()
        raise

    def write(lines: list[str]) -> None:
        for line in lines:
            log.write(line)

    source = output.attach(out, write)
    ended = False
    excesses: list[ExitReason] = []
    token, waiting = trio.lowlevel.current_trio_token(), trio.CancelScope()

    def exceeds(excess: ExitReason) -> None:  # in the thread of the watch
        excesses.append(excess)
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(waiting.cancel)

    watched = MonitoredTree(
        started.pid,
        leaf=leaf,
        limits=limits,
        folders=folders,
        base=base,
        busy=lambda: False,
        exceeds=exceeds,
    )
    watch.begin(watched)
    try:
        with trio.move_on_after(time_limit), waiting:
            await started.wait()
            ended = True
    finally:
        watch.end(watched)
        with trio.CancelScope(shield=True):
            started.kill()  # and its group, which may outlive it
            await started.wait()
            status = started.reap()
            plain = started.say(status)
            toll = leaf.toll()
            verdict = explain_exit(status, plain, toll, limits)
            is_over = bool(excesses) and not ended
            if is_over:
                verdict = excesses[0]
        await surely(_end, started, leaf, mark)
        with trio.CancelScope(shield=True):
            await output.drain(source)
            if is_over or (ended and verdict.said != plain):
                log.write(f"[predictd] the script {verdict.said}")
            elif not ended and toll.forks_refused:
                log.write(f"[predictd] the script was ended after {reached_processes(limits)}")
    if not (ended or is_over):
        raise TimeoutError(f"it did not end within {time_limit:g} s")
    return Ended(status, verdict)


def _prepare(
    leaf: Leaf,
    limits: Limits,
    confinement: Confinement,
    view: SandboxView | None,
    folders: Sequence[Path],
) -> int:
    """Returns how many bytes are in the folders now."""
    leaf.make(limits)
    if view is not None:
        confinement.give(view)
    return sum(map(measure, folders)) if limits.disk else 0


def _end(started: Process, leaf: Leaf, mark: str) -> None:
    started.await_group()
    leaf.kill()
    kill_tree(mark)
    leaf.remove()


def _start(launch: Launch, mark: str, leaf: Leaf, limits: Limits) -> tuple[Process, int]:
    out, end = pipe()
    with ExitStack() as on_failure:
        on_failure.callback(os.close, out)
        try:
            # One pipe for both streams keeps their lines in order.
            started = spawn(
                launch,
                mark=mark,
                stdout=end,
                stderr=end,
                enter=leaf.enter,
                file_size=limits.disk,
            )
        finally:
            os.close(end)
        on_failure.pop_all()
    return started, out
