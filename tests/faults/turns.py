"""Runs a gateway and notes each long turn of its loop, in CPU time: `turns.py FILE COMMAND...`.

A turn is one step of a task of Trio's: nothing else of the loop runs in it. CPU time of the loop's
thread does not depend on what else the machine does. Each turn of more than 1 ms is a line of JSON
in FILE: its milliseconds, its task, and where that waits afterwards.
"""

import json
import runpy
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

import trio

NOTED = 0.001


class Turns(trio.abc.Instrument):
    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._began = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        used = time.thread_time() - self._began
        if used > NOTED:
            noted = {"ms": round(used * 1000, 2), "task": task.name, "at": list(_frames(task.coro))}
            print(json.dumps(noted), file=self._file, flush=True)


def _frames(coroutine: Any) -> Iterator[str]:
    """The functions that a task waits in, outermost first."""
    while coroutine is not None:
        code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "ag_code", None)
        if code is not None:
            yield f"{code.co_filename.rpartition('/')[2]}:{code.co_name}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)


def main() -> None:
    path, _, flag, module, *arguments = sys.argv[1:]
    assert flag == "-m"
    run = trio.run

    def noted_run(*given: Any, **more: Any) -> Any:
        with open(path, "a") as file:
            return run(*given, **more, instruments=[Turns(file)])

    trio.run = noted_run  # type: ignore[assignment]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
