"""How the limits of this process are divided: connections, process trees, and the gateway itself.

Models and clients get less than the kernel allows, so that the gateway can always accept an
administrator, log, and write to its database. A request beyond their share is refused; the error
names the limit and how to raise it. A process tree is a replica, or a script of a build or an
experiment, with all processes that it starts.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from workers.kernel_limits import Bound, tasks
from workers.limits import Limits
from workers.shortages import Shortage

# For the gateway itself: 32 when nothing runs, and more for threads that read and write files,
# pipes while a process starts, and clients of the admin API.
_OWN_DESCRIPTORS = 100
# For a replica: four pipes, two descriptors of processes, its log, and one to spare.
PER_TREE = 8
# The part of the other descriptors that trees get; connections get the rest.
_FOR_TREES = 0.4
# For the gateway: its threads (eleven when idle), git, and programs that start others.
OWN_TASKS = 48
# A replica's start: its wrappers, and one or two threads of the model's libraries.
_START_TASKS = 12
# A task limit above this is the machine's, which no gateway reaches.
_MANY = 1 << 22


class Allowance:
    """How much of the limits models and clients may use. `connections` is the largest number of
    connected clients, `trees` that of process trees, and `tasks` that of all their processes and
    threads, 0 for no limit. `read_tasks` reads the present number of processes and threads."""

    def __init__(
        self, descriptors: Bound, all_tasks: Bound, *, read_tasks: Callable[[], Bound] = tasks
    ) -> None:
        self._read_tasks = read_tasks
        self._descriptors = descriptors
        usable = max(0, (descriptors.most or 1 << 30) - _OWN_DESCRIPTORS)
        for_trees = int(usable * _FOR_TREES)
        self.connections = usable - for_trees
        self.trees = for_trees // PER_TREE
        self.tasks = max(1, all_tasks.free - OWN_TASKS) if 0 < all_tasks.most < _MANY else 0
        self._used = 0

    @contextmanager
    def one_tree(self) -> Iterator[None]:
        """The descriptors of one more process tree. Raises Shortage."""
        if self._used >= self.trees:
            bound = self._descriptors
            raise Shortage(
                errno.EMFILE,
                f"no descriptors for another replica or script: {self.trees} at once are what "
                f"{bound.source} {bound.most} allows; {bound.remedy}",
            )
        self._used += 1
        try:
            yield
        finally:
            self._used -= 1

    def check_tasks(self) -> None:
        """Raises Shortage where a start would take tasks that are kept for the gateway. Blocking,
        briefly."""
        if self.tasks and (bound := self._read_tasks()).free < OWN_TASKS + _START_TASKS:
            raise Shortage(
                errno.EAGAIN,
                f"no processes for another replica or script: {bound}, and {OWN_TASKS} are kept "
                f"for the gateway; {bound.remedy}",
            )

    def described(self) -> str:
        """For operators."""
        tasks = f", with {self.tasks} processes and threads" if self.tasks else ""
        return (
            f"{self.connections} connections, {self.trees} replicas and scripts at once{tasks}: by "
            f"{self._descriptors.source} {self._descriptors.most}"
        )

    def within(self, limits: Limits) -> Limits:
        """The limits of a tree, with at most half of all tasks."""
        if not self.tasks:
            return limits
        most = max(1, self.tasks // 2)
        processes = min(limits.processes, most) if limits.processes else most
        return Limits(memory=limits.memory, cpu=limits.cpu, processes=processes, disk=limits.disk)


_UNBOUNDED = Bound(most=0, used=0, source="", remedy="")


def unbounded() -> Allowance:
    """An allowance without limits."""
    return Allowance(_UNBOUNDED, _UNBOUNDED)
