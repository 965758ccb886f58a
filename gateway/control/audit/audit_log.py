"""The audit log: one entry for each change that was requested, and for each that was refused.

A handler describes its change (`AuditEvent`) and lets `run_audited` run it. The entry is written in
the transaction of the first change in the database (`store.auditing`), or afterwards if there is
none, as for files. A refusal has an entry of its own, with its code. If it comes after a change
that is entered, what undoes that change is entered too (`undoing`). The object of an entry is a
path; its detail names what was found there (`annotate`). An entry never has text of a request that
might be secret: of a body it has the names of the fields, values that are numbers or of a fixed
set, and the names of variables that are set and removed.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeVar, TypeVarTuple

import msgspec
import trio

import store
from gateway import errors
from gateway.background import Tasks
from gateway.control.audit.change_counter import ChangeCounter, ChangeKind
from gateway.control.audit.refusal_limit import AnonymousRefusalLimiter
from gateway.control.retrying_writer import RetryingWriter
from store import AuditEntry, Database, PendingAuditEntry

Args = TypeVarTuple("Args")
T = TypeVar("T")

logger = logging.getLogger(__name__)

# The longest text of an entry's field: clients choose some of them.
_LONGEST = 300
# The id of the request that is being answered.
request_id: ContextVar[str] = ContextVar("request_id", default="")


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A change that is requested. `user` is empty if unknown; `detail` has nothing secret. With
    `makes`, `object` is the collection, and the entry names what was created in it. Changes that
    come `often` are counted instead of entered one by one (`change_counter.py`)."""

    user: str
    address: str
    action: str
    object: str
    detail: str = ""
    makes: bool = False
    often: bool = False


class _Running(NamedTuple):
    event: AuditEvent
    notes: list[str]


_running: ContextVar[_Running | None] = ContextVar("running", default=None)


def annotate(text: str) -> None:
    """Adds to the detail of the entry of the running change, if there is one."""
    running = _running.get()
    if running is not None and text and text not in running.notes:
        running.notes.append(text)


@contextmanager
def undoing(action: str, target: str) -> Iterator[None]:
    """Around what undoes a change that is entered, since its request is refused after all. The undo
    has an entry of its own, in its transaction: else the log would show only that the change was
    done."""
    running = _running.get()
    if running is None:
        yield
        return
    event = msgspec.structs.replace(
        running.event,
        action=action,
        object=target,
        detail=f"undoes {running.event.action}, which is refused",
        makes=False,
    )
    entry = _entry(event, request_id.get(), [])
    with store.auditing(PendingAuditEntry(lambda _: entry)):
        yield


class AuditLog:
    """Writes and lists audit entries."""

    def __init__(self, *, database: Database, writer: RetryingWriter, tasks: Tasks) -> None:
        self._database = database
        self._writer = writer
        self._tasks = tasks
        self._anonymous = AnonymousRefusalLimiter(trio.current_time())
        self._frequent = ChangeCounter()
        self._pending_refusals: set[trio.Event] = set()

    async def run_audited(
        self, event: AuditEvent, work: Callable[[*Args], Awaitable[T]], *args: *Args
    ) -> T:
        """Runs `work(*args)`, enters it and returns its result. What `work` raises is entered as a
        refusal and raised."""
        notes: list[str] = []
        token, number = _running.set(_Running(event, notes)), request_id.get()

        def describe(made: object) -> AuditEntry | None:
            return _entry(event, number, notes, made) if self._is_recorded(event, notes) else None

        pending = PendingAuditEntry(describe)
        try:
            with store.auditing(pending):
                result = await work(*args)
        except Exception as error:
            await self.refused(event, errors.refusal(error).code, notes)
            raise
        finally:
            _running.reset(token)
        if not pending.entered and (entry := describe(None)) is not None:
            await self._writer.write_or_retry_later(store.audit.append, entry)
        return result

    def _is_recorded(self, event: AuditEvent, notes: list[str], outcome: str = "done") -> bool:
        """Whether the change has an entry of its own."""
        return not event.often or self._frequent.is_first(
            ChangeKind(
                event.action,
                event.user,
                event.object,
                "; ".join(filter(None, (event.detail, *notes))),
                outcome,
            )
        )

    async def refused(self, event: AuditEvent, code: str, notes: list[str] | None = None) -> None:
        """Enters a refusal. If the entry cannot be written, the request is refused all the same."""
        if not event.user and not self._anonymous.admit(event.address):
            return
        if not self._is_recorded(event, notes or [], code):
            return
        await self._try(_entry(event, request_id.get(), notes or [], outcome=code))

    def refused_later(self, event: AuditEvent, code: str) -> None:
        """As `refused`, after the request has been answered."""
        entered = trio.Event()
        self._pending_refusals.add(entered)
        self._tasks.start(self._refused_later, event, code, entered)

    async def _refused_later(self, event: AuditEvent, code: str, entered: trio.Event) -> None:
        try:
            await self.refused(event, code)
        finally:
            self._pending_refusals.discard(entered)
            entered.set()

    async def flushed(self) -> None:
        """Returns when every refusal of `refused_later` so far is entered."""
        for entered in list(self._pending_refusals):
            await entered.wait()

    async def append(self, event: AuditEvent) -> None:
        """Enters what has happened already, as soon as the disk accepts it."""
        await self._writer.write_or_retry_later(
            store.audit.append, _entry(event, request_id.get(), [])
        )

    async def entries(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        who: str = "",
        action: str = "",
        since: str = "",
        most: int = 100,
    ) -> list[AuditEntry]:
        """The newest `most` entries, ascending by number, with those that are being written.
        `after` and `before` bound their numbers, `who` is a user's name, `action` the start of an
        action, `since` a time as records have it."""
        await self.flushed()
        return await self._database.read(
            store.audit.list_newest,
            after=after,
            before=before,
            who=who,
            action=action,
            since=since,
            most=most,
        )

    async def watch(self) -> None:
        """Enters at intervals how many events have no entry of their own. Never returns."""
        try:
            while True:
                await trio.sleep_until(self._anonymous.ends)
                await self._count()
        finally:
            with trio.CancelScope(shield=True):
                await self._count()

    async def _count(self) -> None:
        for address, count in self._anonymous.drain(trio.current_time()).items():
            event = AuditEvent(user="", address=address, action="refused", object="")
            detail = f"{count} more refused requests of unknown users without entries of their own"
            await self._try(_entry(event, "", [detail], outcome="auth.required"))
        for one, count in self._frequent.drain().items():
            event = AuditEvent(user=one.who, address="", action=one.action, object=one.object)
            details = [f"{count} more", one.detail]
            await self._try(_entry(event, "", details, outcome=one.outcome))

    async def _try(self, entry: AuditEntry) -> None:
        try:
            await self._database.write_if_space(store.audit.append, entry)
        except store.StoreFailed as error:
            logger.error("audit.entry_lost action=%s user=%r: %s", entry.action, entry.who, error)


def _entry(
    event: AuditEvent, number: str, notes: list[str], made: object = None, outcome: str = "done"
) -> AuditEntry:
    """The entry of an event. `made` is the result of the first change: the entry names it."""
    target, details = event.object, [event.detail, *notes]
    made = made[0] if isinstance(made, tuple) and made else made
    if event.makes and isinstance(made, store.User):
        target = f"{target}/{made.name}"
    elif event.makes and isinstance(made, store.Record):
        target = f"{target}/{made.id}"
        details.append(getattr(made, "name", ""))
    return AuditEntry(
        who=_plain(event.user),
        address=_plain(event.address),
        request_id=number,
        action=event.action,
        object=_plain(target),
        outcome=outcome,
        detail=_plain("; ".join([each for each in details if each])),
    )


def _plain(text: str) -> str:
    """The text, cut to a length and without characters that a terminal would interpret."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return "".join([c if c.isprintable() else "?" for c in cut])
