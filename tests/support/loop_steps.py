"""How long the tasks of a run keep its event loop without a wait."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import trio


class LoopSteps(trio.abc.Instrument):
    """The longest steps of tasks whose name ends in `task`, in seconds of CPU of the loop's thread:
    other work of the machine does not count."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._began = 0.0
        self.longest = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.endswith(self._task):
            self.longest = max(self.longest, time.thread_time() - self._began)


@contextmanager
def loop_steps(task: str) -> Iterator[LoopSteps]:
    steps = LoopSteps(task)
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)
