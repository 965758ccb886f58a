"""The program of a session: a shell, Python or R in a terminal, until it has ended."""

import trio

from gateway.control import sandbox_uids
from gateway.control.resources import ScriptMemory
from gateway.control.sessions.place import READY, Place, SessionContext, limits_of
from gateway.errors import Refusal
from workers import PseudoTerminal, ShellSpec

_LAST_OUTPUT = 30.0  # seconds that the last output waits for its reader
_TYPE_TIMEOUT = 5.0  # seconds that typed text waits for a program that does not read
_PROGRAMS = {"shell": ("bash", "--norc"), "python": ("python",), "r": ("R", "--no-save")}


class SessionProgram:
    """The program that a session runs; `printed` receives what it prints."""

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self._terminal: PseudoTerminal | None = None
        self._print, self.printed = trio.open_memory_channel[bytes](4)

    async def type(self, data: bytes) -> None:
        """Type into the terminal. Raises Refusal("state.conflict") where nothing reads it."""
        with trio.move_on_after(_TYPE_TIMEOUT):
            if self._terminal is not None:
                try:
                    return await self._terminal.write(data)
                except trio.ClosedResourceError:
                    pass
        raise Refusal("state.conflict", "no program of the session reads what is typed")

    def resize(self, rows: int, columns: int) -> None:
        """Tell the program the new size of the window."""
        if self._terminal is not None:
            self._terminal.resize(rows, columns)

    async def run(self, place: Place, variables: dict[str, str], memory: ScriptMemory) -> int:
        """Runs it to its end. Returns its exit status."""
        context = self._context
        services, asked = context.services, context.asked
        spec = ShellSpec(
            code=place.code,
            environment=place.virtualenv,
            prefix=place.prefix,
            built=place.built,
            language=place.language,
            command=_PROGRAMS[asked.kind],
            folder=services.workers.new_folder("session"),
            variables={"PS1": r"\w\$ ", **variables, "TERM": asked.term},
            limits=await limits_of(context),
            gpus=asked.nvidia_gpus,
            network=asked.network,
            identity=sandbox_uids.of_session(context.session_id),
        )
        self._terminal = PseudoTerminal(asked.rows, asked.columns)
        context.log.write("", READY)
        ended = await services.workers.run_shell(
            spec, self._terminal, self._print.send, memory.measure_by
        )
        # The client may not have read the last of what was printed.
        self._print.close()
        with trio.move_on_after(_LAST_OUTPUT):
            while self.printed.statistics().current_buffer_used:  # noqa: ASYNC110
                await trio.sleep(0.05)
        return ended.status

    def close(self) -> None:
        """No more is printed."""
        self._print.close()
