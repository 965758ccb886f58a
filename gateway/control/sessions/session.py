r"""One session, from the request for it until its client has gone.

    new: snapshot -> check -> environment     of a build that exists: nothing to make
                    \-> READY -> a function that answers calls, or a program in a terminal -> end

A session is what a build and a replica are, without a model: it takes a snapshot, makes a build in
the build store, whose environment the next build of the project finds again, and removes the build
at its end. Nothing is left of it in the database.

It lives as long as a client follows its log. That response is sent under a grant, so a session ends
with the right to it. A client that does not follow the log within `ATTACH_TIMEOUT` ends it too.
"""

import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import msgspec
import trio

import builder
import store
from gateway.control import failures
from gateway.control.builds.project_checks import TRANSIENT
from gateway.control.sessions.new_session import NewSession
from gateway.control.sessions.place import (
    SessionContext,
    SessionFailed,
    SessionServices,
    make_place,
    place_of,
    reserved_gpus,
    reserved_memory,
)
from gateway.control.sessions.session_function import SessionFunction
from gateway.control.sessions.session_program import SessionProgram
from gateway.encryption import CannotDecrypt
from gateway.identity.permissions import WorkloadKind
from store import Failure, Project
from workers import Log

logger = logging.getLogger(__name__)

ATTACH_TIMEOUT = 30.0  # seconds
LAST_LINES = 5.0  # seconds that the log stays for a client after the end


class WorkSession:
    """One session; `outcome` is how it ended."""

    def __init__(
        self, services: SessionServices, project: Project, creator: str, asked: NewSession
    ) -> None:
        self.id = store.new_id()
        self.project = project
        self.creator = creator
        self.asked = asked
        self.log = Log(services.data.temporary_files / f"session-{self.id}.log")
        self.outcome: dict[str, object] = {"status": "ended"}
        self.ended = trio.Event()
        context = SessionContext(services, project, asked, self.id, self.log)
        self.function, self.program = SessionFunction(context), SessionProgram(context)
        self._services = services
        self._scope = trio.CancelScope()
        self._attached = trio.Event()
        self._followers = 0
        self._left = trio.Event()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Follow the session: it ends with the block."""
        self._attached.set()
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers:
                self._left.set()
            self.end()

    def end(self) -> None:
        """End it. Returns at once; `ended` is set when nothing of it is left."""
        self._scope.cancel()

    async def run(self) -> None:
        """Runs until its client has gone, its program has ended, or it has failed."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._expect_client)
                    await self._run()
                    nursery.cancel_scope.cancel()
        except* SessionFailed as group:
            self._fail(_first(group).failure)  # type: ignore[attr-defined]
        except* CannotDecrypt as group:
            self._fail(failures.unreadable(_first(group)))  # type: ignore[arg-type]
        except* Exception as group:
            error = _first(group)
            if not isinstance(error, builder.BuilderError | OSError):
                logger.exception("session.crashed id=%s", self.id)
            self._fail(failures.build_error("", error))
        finally:
            self.program.close()
            self.log.close()
            self.ended.set()

    async def remove_log(self) -> None:
        """Call it after the end. Its client reads the last lines first, for some seconds."""
        with trio.move_on_after(LAST_LINES):
            if self._followers:
                await self._left.wait()
        await trio.to_thread.run_sync(self.log.remove)

    async def _expect_client(self) -> None:
        with trio.move_on_after(ATTACH_TIMEOUT):
            await self._attached.wait()
        if not self._attached.is_set():
            self.end()

    def _fail(self, failure: Failure) -> None:
        self.outcome = {"status": "failed", "failure": msgspec.to_builtins(failure)}

    async def _run(self) -> None:
        services, asked = self._services, self.asked
        async with AsyncExitStack() as stack:
            if asked.build is None:
                name = f"{TRANSIENT}{self.id}"
                place = await make_place(services, self.project, asked, name, self.log, stack)
            else:
                stack.enter_context(services.builds.used.using(asked.build.id))
                place = place_of(services, asked.build.id)
            kind: WorkloadKind = "model" if asked.kind == "function" else "run"
            key = stack.enter_context(services.keys.issued(self.creator, self.project.id, kind))
            deployment = asked.deployment
            variables = key | services.variables.of_model(self.project, deployment)
            reservation = reserved_memory(services, self.project, asked, self.log)
            memory = await stack.enter_async_context(reservation)
            await stack.enter_async_context(reserved_gpus(services, self.project, asked))
            if asked.kind == "function":
                await self.function.run(place, variables, memory)
            else:
                status = await self.program.run(place, variables, memory)
                self.outcome = {"status": "ended", "exit_status": status}


def _first(group: BaseExceptionGroup[BaseException]) -> Exception:
    """The first error that is not a group itself."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Exception)
    return error
