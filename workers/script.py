"""Runs a command to its end, in a process tree of its own that is dead when this returns.

For build scripts, and whatever else is a program rather than a server.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import trio

from workers.output import Output
from workers.process import Process, kill_tree, pipe, spawn


class LineLog(Protocol):
    """Where what a command prints goes, line by line; called in the output thread."""

    def write(self, line: str) -> None: ...


async def run_script(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    variables: Mapping[str, str],
    log: LineLog,
    output: Output,
    house: str,
    time_limit: float,
) -> int:
    """The exit status of `command`, negative for a signal; what it prints goes to `log`.

    `variables` is its whole environment. Raises OSError where it cannot be started, TimeoutError
    after `time_limit` seconds. On return, error or cancellation its whole tree is dead.
    """
    mark = f"{house}/{uuid.uuid4().hex}/"
    started, out = _start(command, cwd, variables, mark)

    def write(lines: list[str]) -> None:
        for line in lines:
            log.write(line)

    source = output.attach(out, write)
    ended = False
    try:
        with trio.move_on_after(time_limit):
            await trio.lowlevel.wait_readable(started.pidfd)
            ended = True
    finally:
        with trio.CancelScope(shield=True):
            started.kill()  # and its group, which may outlive it
            await trio.lowlevel.wait_readable(started.pidfd)
            status = started.reap()
            await trio.to_thread.run_sync(kill_tree, mark)
            await output.drain(source)
    if not ended:
        raise TimeoutError(f"it did not end within {time_limit:g} s")
    return status


def _start(
    command: Sequence[str | Path], cwd: Path, variables: Mapping[str, str], mark: str
) -> tuple[Process, int]:
    out, end = pipe()
    with ExitStack() as on_failure:
        on_failure.callback(os.close, out)
        try:
            # One pipe for both streams keeps their lines in order.
            started = spawn(
                command, cwd=cwd, variables=variables, mark=mark, stdout=end, stderr=end
            )
        finally:
            os.close(end)
        on_failure.pop_all()
    return started, out
