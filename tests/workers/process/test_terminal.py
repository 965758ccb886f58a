"""A program in a terminal: typed to, resized, interrupted; nothing of it is left."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.support.skipping import not_here
from workers import (
    ConfinementUnavailable,
    Ended,
    PseudoTerminal,
    ShellSpec,
    Workers,
    open_workers,
)
from workers.confinement import open_confinement
from workers.process.process import marked

PATIENCE = 30.0


class Shell:
    """A shell that runs, and what it has printed."""

    def __init__(self, terminal: PseudoTerminal) -> None:
        self.terminal = terminal
        self.printed = b""
        self.ended: Ended | None = None

    async def take(self, data: bytes) -> None:
        self.printed += data

    async def type(self, text: str) -> None:
        await self.terminal.write(text.encode())

    async def until(self, text: str) -> None:
        with trio.fail_after(PATIENCE):
            while text.encode() not in self.printed:  # noqa: ASYNC110 - the shell sets no event
                await trio.sleep(0.01)


@pytest.fixture(params=["none", "landlock", "users"])
async def workers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workers]:
    """Workers of each level that root, or the user of the tests, can have here."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)  # who is confined has to come by: pytest's own folders are closed
    instance_id = f"shell-{tmp_path.name}"
    try:
        confinement = open_confinement(request.param, tmp_path / "data" / "confinement")
        async with open_workers(
            tmp_path / "data" / "replicas", instance_id, confinement=confinement
        ) as workers:
            yield workers
    except ConfinementUnavailable as error:
        not_here(str(error))
    assert marked(f"{instance_id}/") == []


Run = Callable[[Shell], Awaitable[None]]


async def in_shell(workers: Workers, tmp_path: Path, use: Run) -> Ended | None:
    """Use a shell in a copy of a folder with the file `data`; return how it ended by itself."""
    sealed, environment = tmp_path / "data" / "sealed", tmp_path / "data" / "environment"
    sealed.mkdir()
    (sealed / "data").write_text("sealed")
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    spec = ShellSpec(
        code=sealed,
        environment=environment,
        prefix=Path(sys.base_prefix),
        command=("bash", "--norc"),
        folder=workers.new_folder("shell"),
        variables={"TERM": "dumb", "PS1": "ready> "},
    )
    shell = Shell(PseudoTerminal(24, 80))

    async def run() -> None:
        shell.ended = await workers.run_shell(spec, shell.terminal, lambda data: shell.take(data))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await shell.until("ready>")
        await use(shell)
        if shell.ended is None:
            nursery.cancel_scope.cancel()
    assert not spec.folder.exists()
    assert (sealed / "data").read_text() == "sealed"
    return shell.ended


async def _end(shell: Shell) -> None:
    with trio.fail_after(PATIENCE):
        while shell.ended is None:  # noqa: ASYNC110 - the shell sets no event
            await trio.sleep(0.01)


async def test_shell_has_a_terminal(workers: Workers, tmp_path: Path) -> None:
    """A shell has a controlling terminal with the window's size, job control, and the working copy
    as its home; its exit status is told."""

    async def use(shell: Shell) -> None:
        await shell.type("test -t 0 && stty size; cat data; echo changed > data\n")
        await shell.until("24 80")
        await shell.until("sealed")
        shell.terminal.resize(50, 120)
        await shell.type("stty size; [ $PWD = $HOME ] && echo at\\ home\n")
        await shell.until("50 120")
        await shell.until("\nat home")
        await shell.type("sleep 1000 &\njobs\n")
        await shell.until("Running")
        await shell.type("python -c 'import cdsw; print(cdsw.__name__)'; exit 7\n")
        await shell.until("\ncdsw")
        await _end(shell)

    ended = await in_shell(workers, tmp_path, use)
    assert ended is not None
    assert ended.status == 7


async def test_control_c_interrupts_the_command_not_the_shell(
    workers: Workers, tmp_path: Path
) -> None:
    """Ctrl-C ends what runs in the foreground, also during a flood of output."""

    async def use(shell: Shell) -> None:
        await shell.type("sleep 1000\n")
        await shell.until("sleep 1000")
        await trio.sleep(0.3)
        await shell.terminal.write(b"\x03")
        await shell.type("yes flood\n")
        await shell.until("flood\r\nflood\r\n")
        await shell.terminal.write(b"\x03")
        await shell.type("echo still $((40 + 2))\n")
        await shell.until("still 42")

    await in_shell(workers, tmp_path, use)


async def test_daemon_of_a_shell_ends_with_it(workers: Workers, tmp_path: Path) -> None:
    """A daemon that has left the session, with the terminal open or not, ends with the shell."""

    async def use(shell: Shell) -> None:
        await shell.type("setsid -f sleep 1001; (setsid -f sleep 1002 <&- >&- 2>&-); exit\n")
        await _end(shell)

    assert await in_shell(workers, tmp_path, use) is not None


async def test_output_that_is_not_read_waits(workers: Workers, tmp_path: Path) -> None:
    """A flood that no client reads is not kept in memory: the program waits."""

    async def use(shell: Shell) -> None:
        async def stuck(data: bytes) -> None:
            await trio.sleep_forever()

        shell.take = stuck  # type: ignore[method-assign]
        await shell.type("yes\n")
        await trio.sleep(0.3)

    await in_shell(workers, tmp_path, use)
