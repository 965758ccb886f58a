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
from functools import partial

import msgspec
import trio

import builder
import store
from gateway.control import failures, sandbox_uids
from gateway.control.builds.project_checks import TRANSIENT
from gateway.control.failure_causes import remedy
from gateway.control.pool_spec import replica_with_settings
from gateway.control.sessions.new_session import NewSession
from gateway.control.sessions.place import (
    Place,
    SessionFailed,
    SessionServices,
    make_place,
    place_of,
)
from gateway.control.source_files import SourceFiles
from gateway.control.user_variables import NAME_VARIABLES
from gateway.encryption import CannotDecrypt
from gateway.errors import Refusal
from gateway.identity.permissions import WorkloadKind
from store import Failure, Project
from workers import (
    Limits,
    Log,
    Outcome,
    Pool,
    PoolSpec,
    PseudoTerminal,
    ReplicaSpec,
    ShellSpec,
    StartFailed,
)
from workers.sizes import MIB

logger = logging.getLogger(__name__)

# The stream of the line that says that the function can be called, or that the shell runs.
READY = "ready"
ATTACH_TIMEOUT = 30.0  # seconds
LAST_LINES = 5.0  # seconds that the log stays for a client after the end
_TYPE_TIMEOUT = 5.0  # seconds that typed text waits for a program that does not read
_CPU = 1000  # thousandths of a core
_PROGRAMS = {"shell": ("bash", "--norc"), "python": ("python",)}


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
        self.terminal: PseudoTerminal | None = None
        self._services = services
        self._scope = trio.CancelScope()
        self._attached = trio.Event()
        self._followers = 0
        self._left = trio.Event()
        self._pool: Pool | None = None
        send, self.printed = trio.open_memory_channel[bytes](4)
        self._print = send

    # What its client does.

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

    async def call(self, request: bytes) -> Outcome:
        """Call the function with JSON text. Raises Refusal("state.conflict") before it is ready."""
        if self._pool is None:
            raise Refusal("state.conflict", "the function of the session is not ready")
        return await self._pool.predict(request)

    async def type(self, data: bytes) -> None:
        """Type into the terminal. Raises Refusal("state.conflict") where nothing reads it."""
        with trio.move_on_after(_TYPE_TIMEOUT):
            if self.terminal is not None:
                try:
                    return await self.terminal.write(data)
                except trio.ClosedResourceError:
                    pass
        raise Refusal("state.conflict", "no program of the session reads what is typed")

    # What it does.

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
            self._print.close()
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
                place = place_of(services, asked.build.id)
            kind: WorkloadKind = "model" if asked.kind == "function" else "run"
            key = stack.enter_context(services.keys.issued(self.creator, self.project.id, kind))
            deployment = asked.deployment
            variables = key | services.variables.of_model(self.project, deployment)
            if asked.kind == "function":
                await self._serve(place, variables)
            else:
                await self._open_shell(place, variables)

    async def _limits(self) -> Limits:
        limits = self._services.sandbox.limits(self.asked.memory_mb * MIB, _CPU)
        return await self._services.project_usage.within(self.project, limits)

    async def _serve(self, place: Place, variables: dict[str, str]) -> None:
        """Answers calls until it is cancelled."""
        services, asked = self._services, self.asked
        settings = services.settings.current
        replica = ReplicaSpec(
            code=place.code,
            environment=place.virtualenv,
            prefix=place.prefix,
            built=place.built,
            file=asked.file,
            function=asked.function,
            model_root=asked.model_root,
            variables=variables,
            name_variables=NAME_VARIABLES,
            limits=await self._limits(),
            network=asked.network,
            identity=sandbox_uids.of_session(self.id),
        )
        pool = services.workers.open_pool(
            PoolSpec(
                name="try",
                replica=replica_with_settings(replica, settings),
                log_folder=services.data.temporary_files,
                request_timeout=settings.model_request_timeout,
                start_tries=1,
            ),
            self.log,
        )
        try:
            await pool.wait_ready()
            self._pool = pool
            self.log.write("", READY)
            await pool.closed.wait()
        except StartFailed as error:
            explain = partial(_start_failed, error, place, asked)
            raise SessionFailed(await trio.to_thread.run_sync(explain)) from error
        finally:
            with trio.CancelScope(shield=True):
                pool.stop()
                await pool.closed.wait()

    async def _open_shell(self, place: Place, variables: dict[str, str]) -> None:
        """Runs the program in a terminal to its end."""
        services, asked = self._services, self.asked
        spec = ShellSpec(
            code=place.code,
            environment=place.virtualenv,
            prefix=place.prefix,
            built=place.built,
            command=_PROGRAMS[asked.kind],
            folder=services.workers.new_folder("session"),
            variables={"PS1": r"\w\$ ", **variables, "TERM": asked.term},
            limits=await self._limits(),
            network=asked.network,
            identity=sandbox_uids.of_session(self.id),
        )
        self.terminal = PseudoTerminal(asked.rows, asked.columns)
        self.log.write("", READY)
        ended = await services.workers.run_shell(spec, self.terminal, self._print.send)
        self.outcome = {"status": "ended", "exit_status": ended.status}
        # The client may not have read the last of what was printed.
        self._print.close()
        with trio.move_on_after(ATTACH_TIMEOUT):
            while self.printed.statistics().current_buffer_used:  # noqa: ASYNC110
                await trio.sleep(0.05)


def _start_failed(error: StartFailed, place: Place, asked: NewSession) -> Failure:
    code, has_script = place.code, (place.code / asked.script).is_file()
    source = SourceFiles(code, asked.model_root, asked.file, has_script, snapshot=place.snapshot)
    return Failure(
        step="START",
        summary="The function cannot be called",
        problem=error.summary,
        advice=remedy(error.summary, error.detail, source),
    )


def _first(group: BaseExceptionGroup[BaseException]) -> Exception:
    """The first error that is not a group itself."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Exception)
    return error
