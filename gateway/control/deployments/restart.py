"""The last restart of a deployment's replicas."""


class Restart:
    """Whether it runs, and why it failed."""

    def __init__(self) -> None:
        self._running = 0
        self.problem = ""

    @property
    def is_running(self) -> bool:
        return self._running > 0

    def begin(self) -> None:
        self._running += 1
        self.problem = ""

    def end(self, problem: str) -> None:
        self._running -= 1
        self.problem = problem
