"""The audit trail: one entry for each change that somebody asked for, and for each refused one.

Whoever acts says what it is (`AuditEvent`) and lets `carry_out` run it. The entry is written
together with the first change in the database (`store.auditing`), or afterwards where none was,
such as for files; a refusal has an entry of its own, with its code. What it was done to is the
path, and behind it, in words, what was found there (`note`). The law: nothing that somebody typed
and might be secret is entered; of a body only the names of its fields, and values that are numbers
or of a fixed set.
"""

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar, TypeVarTuple

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

# Of an entry's parts; clients choose some of them.
_LONGEST = 300
_notes: ContextVar[list[str] | None] = ContextVar("notes", default=None)
# Of the request that is being answered.
request_id: ContextVar[str] = ContextVar("request_id", default="")


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for what. `who` is empty where nobody knows; `detail` holds nothing secret. With
    `makes`, `object` is the place of what is being made, which is named when it is there. What is
    done `often` is entered once in a while, with a count (`change_counter.py`)."""

    user: str
    address: str
    action: str
    object: str
    detail: str = ""
    makes: bool = False
    often: bool = False


def annotate(text: str) -> None:
    """Adds to the entry of what is being carried out, if anything is."""
    notes = _notes.get()
    if notes is not None and text not in notes:
        notes.append(text)


class AuditLog:
    """Writes the audit trail."""

    def __init__(self, *, database: Database, writer: RetryingWriter, tasks: Tasks) -> None:
        self._database = database
        self._writer = writer
        self._tasks = tasks
        self._crowd = AnonymousRefusalLimiter(trio.current_time())
        self._tally = ChangeCounter()
        self._later: set[trio.Event] = set()

    async def run_audited(
        self, act: AuditEvent, work: Callable[[*Args], Awaitable[T]], *args: *Args
    ) -> T:
        """The result of `work(*args)`, entered. Raises what `work` raises, entered as refused."""
        notes: list[str] = []
        token, number = _notes.set(notes), request_id.get()

        def describe(made: object) -> AuditEntry | None:
            return _entry(act, number, notes, made) if self._is_recorded(act, notes) else None

        deed = PendingAuditEntry(describe)
        try:
            with store.auditing(deed):
                result = await work(*args)
        except Exception as error:
            await self.refused(act, errors.refusal(error).code, notes)
            raise
        finally:
            _notes.reset(token)
        if not deed.entered and (entry := describe(None)) is not None:
            await self._writer.write_or_retry_later(store.audit.append, entry)
        return result

    def _is_recorded(self, act: AuditEvent, notes: list[str], outcome: str = "done") -> bool:
        """Whether it has an entry of its own."""
        return not act.often or self._tally.is_first(
            ChangeKind(
                act.action,
                act.user,
                act.object,
                "; ".join(filter(None, (act.detail, *notes))),
                outcome,
            )
        )

    async def refused(self, act: AuditEvent, code: str, notes: list[str] | None = None) -> None:
        """Enters what was refused. Where that cannot be written, the refusal matters more."""
        if not act.user and not self._crowd.admit(act.address):
            return
        if not self._is_recorded(act, notes or [], code):
            return
        await self._try(_entry(act, request_id.get(), notes or [], outcome=code))

    def refused_later(self, act: AuditEvent, code: str) -> None:
        """As `refused`, while whoever asked has their answer already."""
        entered = trio.Event()
        self._later.add(entered)
        self._tasks.start(self._refused_later, act, code, entered)

    async def _refused_later(self, act: AuditEvent, code: str, entered: trio.Event) -> None:
        try:
            await self.refused(act, code)
        finally:
            self._later.discard(entered)
            entered.set()

    async def flushed(self) -> None:
        """Returns when all that was to be entered later, until now, is."""
        for entered in list(self._later):
            await entered.wait()

    async def append(self, act: AuditEvent) -> None:
        """Enters what has happened already, as soon as the disk takes it."""
        await self._writer.write_or_retry_later(
            store.audit.append, _entry(act, request_id.get(), [])
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
        `after` and `before` bound their numbers, `who` is a user's name, `action` the begin of an
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
        """Enters at intervals how many acts were not entered one by one. Never returns."""
        try:
            while True:
                await trio.sleep_until(self._crowd.ends)
                await self._count()
        finally:
            with trio.CancelScope(shield=True):
                await self._count()

    async def _count(self) -> None:
        for address, count in self._crowd.drain(trio.current_time()).items():
            act = AuditEvent(user="", address=address, action="refused", object="")
            detail = f"{count} more refused requests, of nobody known, that have no entry each"
            await self._try(_entry(act, "", [detail], outcome="auth.required"))
        for one, count in self._tally.drain().items():
            act = AuditEvent(user=one.who, address="", action=one.action, object=one.object)
            told = [f"{count} more", one.detail]
            await self._try(_entry(act, "", told, outcome=one.outcome))

    async def _try(self, entry: AuditEntry) -> None:
        try:
            await self._database.write_if_space(store.audit.append, entry)
        except store.StoreFailed as error:
            logger.error("%s by %r has no entry: %s", entry.action, entry.who, error)


def _entry(
    act: AuditEvent, number: str, notes: list[str], made: object = None, outcome: str = "done"
) -> AuditEntry:
    """The entry of an act. What was made by a first change is named by its id and its name."""
    target, told = act.object, [act.detail, *notes]
    made = made[0] if isinstance(made, tuple) and made else made
    if act.makes and isinstance(made, store.User):
        target = f"{target}/{made.name}"
    elif act.makes and isinstance(made, store.Record):
        target = f"{target}/{made.id}"
        told.append(getattr(made, "name", ""))
    return AuditEntry(
        who=_plain(act.user),
        address=_plain(act.address),
        request_id=number,
        action=act.action,
        object=_plain(target),
        outcome=outcome,
        detail=_plain("; ".join([each for each in told if each])),
    )


def _plain(text: str) -> str:
    """Cut to a length, and harmless to whoever shows it."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return "".join([c if c.isprintable() else "?" for c in cut])
