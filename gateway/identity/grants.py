"""The rights under which responses are sent, and what happens when a right ends.

Each response to a GET is sent under a grant: its principal, and every right that was checked for
it. All grants are checked before a change of permissions is acknowledged, and once a second, since
keys and sessions expire. A grant that does not hold any more is ended: a response that has not
begun is refused; if it has begun, its connection is closed at once, and what the kernel has not
sent is dropped. So it makes no difference whether a response is a page of JSON, a download or a log
that is followed for days, and no route has to do anything for it.

The response to a change is sent in any case: it says what was done while the right was valid, such
as that the key of the request is revoked.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
import trio

from gateway.identity.permissions import Permission, WorkloadKind
from store import Session, User

# Between two checks for keys and sessions that have expired, in seconds.
_PERIOD = 1.0
# Grants that are checked in one step of the event loop: thousands of clients may follow logs.
TURN = 50


class Principal(msgspec.Struct, frozen=True):
    """The user of a request, and its address. The request has the key of `key_id`, or where that
    is empty a `session`. A `workload`, a model or a run, acts for the user who started it;
    `within` is the project that bounds it."""

    user: User
    by: str  # "api key", "legacy key", "admin key", "workload key" or "session"
    address: str
    key_id: str = ""
    session: Session | None = None
    within: str = ""
    workload: WorkloadKind | None = None

    @property
    def flow(self) -> str:
        """The unit of fair service: a user, or all models and runs of a project."""
        return self.within or self.user.name


class Right(NamedTuple):
    """A permission in a project, or concerning a user."""

    needs: Permission
    project_id: str = ""
    about: str = ""


class Grant:
    """The rights of one response. `cut` closes its connection, without waiting."""

    __slots__ = ("_cut", "principal", "rights", "sending")

    def __init__(self, cut: Callable[[], None]) -> None:
        self._cut = cut
        self.principal: Principal | None = None
        self.rights: set[Right] = set()
        # From the last check of its rights on. Before that, the handler checks them itself.
        self.sending = False

    def end(self) -> None:
        if self.sending:
            self.sending = False
            self._cut()


class Grants:
    """All grants. `holds` says whether a principal has a right now."""

    def __init__(self, holds: Callable[[Principal, Right], bool]) -> None:
        self._holds = holds
        self._grants: set[Grant] = set()

    @contextmanager
    def one(self, cut: Callable[[], None]) -> Iterator[Grant]:
        """A grant, while a response is made and sent."""
        grant = Grant(cut)
        self._grants.add(grant)
        try:
            yield grant
        finally:
            self._grants.discard(grant)

    def sending_to(self, flow: str) -> int:
        """How many responses are being sent to the requests of a flow."""
        found = (each.principal for each in self._grants if each.sending)
        return sum(1 for each in found if each is not None and each.flow == flow)

    async def watch(self) -> None:
        """Ends grants whose key or session has expired. Never returns."""
        while True:
            await trio.sleep(_PERIOD)
            grants = list(self._grants)
            for first in range(0, len(grants), TURN):
                await trio.lowlevel.checkpoint()
                self._review(
                    [each for each in grants[first : first + TURN] if each in self._grants]
                )

    def review(self) -> None:
        """Ends the grants that do not hold any more."""
        self._review(list(self._grants))

    def _review(self, grants: list[Grant]) -> None:
        for grant in grants:
            if not self._stands(grant):
                grant.end()

    def _stands(self, grant: Grant) -> bool:
        who = grant.principal
        return who is None or all(self._holds(who, right) for right in grant.rights)
