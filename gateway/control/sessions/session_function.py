"""The function of a session: a pool of one replica, which answers calls until it is cancelled."""

from functools import partial

import trio

from gateway.control import sandbox_uids
from gateway.control.failure_causes import remedy
from gateway.control.pool_spec import replica_with_settings
from gateway.control.resources import ScriptMemory
from gateway.control.sessions.new_session import NewSession
from gateway.control.sessions.place import (
    READY,
    Place,
    SessionContext,
    SessionFailed,
    limits_of,
)
from gateway.control.source_files import SourceFiles
from gateway.control.user_variables import NAME_VARIABLES
from gateway.errors import Refusal
from store import Failure
from workers import Outcome, Pool, PoolSpec, ReplicaSpec, StartFailed


class SessionFunction:
    """The function that a session tries."""

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self._pool: Pool | None = None

    async def call(self, request: bytes) -> Outcome:
        """Call it with JSON text. Raises Refusal("state.conflict") before it is ready."""
        if self._pool is None:
            raise Refusal("state.conflict", "the function of the session is not ready")
        return await self._pool.predict(request)

    async def run(self, place: Place, variables: dict[str, str], memory: ScriptMemory) -> None:
        """Answers calls until it is cancelled. Raises SessionFailed where it cannot start."""
        context = self._context
        services, asked = context.services, context.asked
        settings = services.settings.current
        replica = ReplicaSpec(
            code=place.code,
            environment=place.virtualenv,
            prefix=place.prefix,
            built=place.built,
            language=place.language,
            file=asked.file,
            function=asked.function,
            model_root=asked.model_root,
            variables=variables,
            name_variables=NAME_VARIABLES,
            limits=await limits_of(context),
            gpus=asked.nvidia_gpus,
            network=asked.network,
            identity=sandbox_uids.of_session(context.session_id),
        )
        pool = services.workers.open_pool(
            PoolSpec(
                name="try",
                replica=replica_with_settings(replica, settings),
                log_folder=services.data.temporary_files,
                request_timeout=settings.model_request_timeout,
                start_tries=1,
            ),
            context.log,
        )
        memory.measure_by(lambda: sum(each.memory() for each in pool.monitored))
        try:
            await pool.wait_ready()
            self._pool = pool
            context.log.write("", READY)
            await pool.closed.wait()
        except StartFailed as error:
            explain = partial(_start_failed, error, place, asked)
            raise SessionFailed(await trio.to_thread.run_sync(explain)) from error
        finally:
            with trio.CancelScope(shield=True):
                pool.stop()
                await pool.closed.wait()


def _start_failed(error: StartFailed, place: Place, asked: NewSession) -> Failure:
    code, has_script = place.code, (place.code / asked.script).is_file()
    source = SourceFiles(code, asked.model_root, asked.file, has_script, snapshot=place.snapshot)
    return Failure(
        step="START",
        summary="The function cannot be called",
        problem=error.summary,
        advice=remedy(error.summary, error.detail, source),
    )
