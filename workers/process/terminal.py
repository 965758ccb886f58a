"""A program in a pseudo-terminal, such as a shell, run to its end in a working copy of a build.

The gateway has one end of the terminal and the program the other, as its standard streams. The
program never opens a terminal device, which Landlock would refuse: it inherits an open one.
`setsid` makes it the controlling terminal of a session of its own, so that Ctrl-C, job control and
window sizes work.

Output is not read ahead: where the caller does not take it, the program waits, as on any terminal.
A Ctrl-C arrives all the same. When the program ends, its whole tree is killed, so no daemon keeps
the terminal open.
"""

import errno
import fcntl
import os
import struct
import termios
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from workers import untrusted_tree
from workers.confinement import HOME, SandboxView
from workers.confinement.levels import program
from workers.process import workspace
from workers.process.command import CommandOwner, Ended
from workers.process.environment import environment_of
from workers.process.languages import INSIDE, PACKAGES
from workers.process.process import Process
from workers.process.tree import ProcessTree
from workers.shortages import in_thread
from workers.spec import ShellSpec

_READ = 16 * 1024  # bytes


class PseudoTerminal:
    """The gateway's end of a pseudo-terminal; `theirs` is the program's."""

    def __init__(self, rows: int, columns: int) -> None:
        """Raises OSError in a shortage."""
        self._ours, self.theirs = os.openpty()
        os.set_blocking(self._ours, False)
        self._writing = trio.Lock()
        self._closed = False
        self.resize(rows, columns)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the window; the program gets a SIGWINCH."""
        if not self._closed:
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(self._ours, termios.TIOCSWINSZ, size)

    async def read(self) -> bytes:
        """What was printed next; b"" when no process has the terminal open any more."""
        while True:
            await trio.lowlevel.checkpoint()
            try:
                return os.read(self._ours, _READ)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._ours)
            except OSError as error:
                if error.errno == errno.EIO:
                    return b""
                raise

    async def write(self, data: bytes) -> None:
        """Type `data`. Waits while the program does not read. Raises trio.ClosedResourceError."""
        async with self._writing:
            left = memoryview(data)
            while left:
                if self._closed:
                    raise trio.ClosedResourceError
                try:
                    left = left[os.write(self._ours, left) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._ours)

    def close_theirs(self) -> None:
        """The program has it, or was not started."""
        if self.theirs >= 0:
            os.close(self.theirs)
            self.theirs = -1

    def close(self) -> None:
        self.close_theirs()
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._ours)
            os.close(self._ours)


async def run_shell(
    tree: ProcessTree,
    spec: ShellSpec,
    terminal: PseudoTerminal,
    printed: Callable[[bytes], Awaitable[object]],
) -> Ended:
    """How the program ended; `printed` gets what it prints. `tree` is a new one.

    Raises OSError where it cannot be started. On return, error or cancellation its whole tree is
    dead, its working copy is removed and the terminal is closed.
    """
    notes = _Notes()
    try:
        await tree.acquire_gpus()
        with trio.CancelScope(shield=True):  # half a copy is of no use
            await in_thread(workspace.make, spec.code, spec.folder, spec.built or HOME)
        view = _view(spec)
        await in_thread(tree.prepare, view, limiter=tree.limiter)
        try:
            process = _spawn(tree, spec, view, terminal)
        finally:
            terminal.close_theirs()
        owner = CommandOwner(tree, process, notes)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, terminal, printed)
            await tree.run(process, [], owner)
        for line in notes.lines:
            await printed(f"\r\n{line}\r\n".encode())
        return owner.result(0)
    finally:
        terminal.close()
        await tree.remove()
        await tree.surely(untrusted_tree.remove, spec.folder)


class _Notes:
    """What is said about the program: which limit it met."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line)


async def _pass_on(terminal: PseudoTerminal, printed: Callable[[bytes], Awaitable[object]]) -> None:
    while data := await terminal.read():
        await printed(data)


def _spawn(
    tree: ProcessTree, spec: ShellSpec, view: SandboxView, terminal: PseudoTerminal
) -> Process:
    setsid = program("setsid")
    if not setsid:
        raise FileNotFoundError(errno.ENOENT, "setsid is not installed (package util-linux)")
    variables = environment_of(spec)
    path = filter(None, (variables.get("PYTHONPATH", ""), str(PACKAGES)))
    return tree.spawn(
        [setsid, "--ctty", "--wait", *spec.command],
        cwd=_code(spec),
        variables={**variables, "PYTHONPATH": os.pathsep.join(path)},
        view=view,
        stdout=terminal.theirs,
        stderr=terminal.theirs,
        reads_output=True,
    )


def _view(spec: ShellSpec) -> SandboxView:
    return SandboxView(
        home=_code(spec),
        tmp=spec.folder / "tmp",
        read=(spec.environment, INSIDE),
        prefix=spec.prefix,
        built=spec.built,
        network=spec.network,
        identity=spec.identity,
    )


def _code(spec: ShellSpec) -> Path:
    return spec.folder / "code"
