"""The backlog of a project: how many builds or experiments it may have unfinished.

Each takes memory and a snapshot until it has ended.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import Refusal

# Of one project, of each kind.
MAX_UNFINISHED = 100


class Backlog:
    """Bounds the unfinished builds or experiments of one project to MAX_UNFINISHED."""

    def __init__(self, what: str) -> None:
        self._what = what
        # Those that are being accepted: many that are asked for at once are not one.
        self._joining: Counter[str] = Counter()

    def check(self, project_id: str, unfinished: int) -> None:
        """Raises Refusal("project.busy") if the project may not add to its `unfinished` ones."""
        count = unfinished + self._joining[project_id]
        if count >= MAX_UNFINISHED:
            text = (
                f"{count} {self._what} of this project have not ended yet: no more until some have"
            )
            raise Refusal("project.busy", text)

    @contextmanager
    def joining(self, project_id: str, unfinished: int) -> Iterator[None]:
        """Counts one more while the block accepts it. Raises Refusal as `check`."""
        self.check(project_id, unfinished)
        self._joining[project_id] += 1
        try:
            yield
        finally:
            self._joining[project_id] -= 1
            self._joining = +self._joining
