"""Runs a command to its end, in a process tree of its own that is dead when this returns.

For build scripts and other programs that are not servers.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import Protocol

import msgspec

from workers.confinement import SandboxView
from workers.limits import ExitReason, reached_processes
from workers.process.limit_monitor import MonitoredTree
from workers.process.process import Process, pipe
from workers.process.tree import ProcessTree, TreeExit
from workers.shortages import in_thread


class Ended(msgspec.Struct, frozen=True):
    """How a script ended: its exit status, negative for a signal, and the reason in words."""

    status: int
    reason: ExitReason


class LineLog(Protocol):
    """Takes what a command prints, line by line; called in the output thread."""

    def write(self, line: str) -> None: ...


async def run_command(
    tree: ProcessTree,
    command: Sequence[str | Path],
    *,
    cwd: Path,
    variables: Mapping[str, str],
    view: SandboxView | None,
    log: LineLog,
    time_limit: float = inf,
) -> Ended:
    """Runs `command` in `tree`, a new one; what it prints goes to `log`.

    `variables`, with HOME and the like of its `view`, are its whole environment; without a view it
    is a program of ours. Raises OSError where it cannot be started, TimeoutError after `time_limit`
    seconds. On return, error or cancellation the whole tree is dead. If it or a child of it met a
    limit, the last line of the log says so.
    """
    try:
        await in_thread(tree.prepare, view, limiter=tree.limiter)
        process, out = _spawn(tree, command, cwd, variables, view)
        script = CommandOwner(tree, process, log)
        await tree.run(process, [(out, script.write)], script, time_limit=time_limit)
    finally:
        await tree.remove()
    return script.result(time_limit)


def _spawn(
    tree: ProcessTree,
    command: Sequence[str | Path],
    cwd: Path,
    variables: Mapping[str, str],
    view: SandboxView | None,
) -> tuple[Process, int]:
    """The process, and the read end of what it prints."""
    out, end = pipe()
    with ExitStack() as on_failure:
        on_failure.callback(os.close, out)
        try:
            # One pipe for both streams keeps their lines in order.
            process = tree.spawn(
                command, cwd=cwd, variables=variables, view=view, stdout=end, stderr=end
            )
        finally:
            os.close(end)
        on_failure.pop_all()
    return process, out


class CommandOwner:
    """The owner of a script's tree: records how it ended."""

    def __init__(self, tree: ProcessTree, process: Process, log: LineLog) -> None:
        self._tree = tree
        self._process = process
        self._log = log
        self._exceeded: ExitReason | None = None
        self._exit: TreeExit | None = None

    def write(self, lines: list[str]) -> None:
        for line in lines:
            self._log.write(line)

    def is_busy(self) -> bool:
        return False

    def monitored(self, tree: MonitoredTree) -> None:
        pass

    def limit_exceeded(self, reason: ExitReason) -> None:
        if not self._process.has_ended():
            self._exceeded = self._exceeded or reason
            self._process.kill()

    def interrupted(self) -> None:
        pass

    def exited(self, how: TreeExit) -> None:
        self._exit = how

    def drained(self) -> None:
        how = self._exit
        assert how is not None
        if self._exceeded is not None:
            self._log.write(f"[predictd] the script {self._exceeded.text}")
        elif how.completed and how.reason.text != how.text:
            self._log.write(f"[predictd] the script {how.reason.text}")
        elif not how.completed and how.counters.forks_refused:
            reached = reached_processes(self._tree.limits)
            self._log.write(f"[predictd] the script was ended after {reached}")

    def result(self, time_limit: float) -> Ended:
        """How it ended. Raises TimeoutError where its time was over."""
        how = self._exit
        assert how is not None
        if self._exceeded is not None:
            return Ended(how.status, self._exceeded)
        if not how.completed:
            raise TimeoutError(f"it did not end within {time_limit:g} s")
        return Ended(how.status, how.reason)
