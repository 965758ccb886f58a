"""The verb shell: a shell, Python or R in the environment of a model or a project.

Keys go to the gateway as they are typed, so Ctrl-C, completion and full-screen programs work in
the shell. The command ends with the shell's exit status.
"""

import base64
import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from types import FrameType

from gateway.cli.arguments import count
from gateway.cli.command import Group, argument, command
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.lookup import find_build, find_model
from gateway.cli.options import GPUS, KERNEL
from gateway.cli.project_of_folder import current_project
from gateway.cli.sessions import FollowedSession
from gateway.client import ClientError, Json

_CHUNK = 32 * 1024  # bytes that are typed at once
_END_OF_INPUT, _END_PAUSE = b"\x04", 1.0  # Ctrl-D; seconds
_PAUSE = 0.1  # seconds between two looks at whether the shell has ended


@command(
    "shell",
    "open a shell in the environment of a project or model",
    argument(
        "what",
        metavar="MODEL|PROJECT",
        nargs="?",
        help="what a model serves, or the files of a project (default: of the current folder)",
    ),
    argument("--build", metavar="N", type=count, help="build of MODEL (default: what it serves)"),
    GPUS,
    argument("--python", action="store_true", help="open Python instead of bash"),
    argument("--r", action="store_true", help="open R instead of bash"),
    KERNEL,
    examples=[
        "predictd shell predict --python",
        "predictd shell predict --build 7",
    ],
    group=Group.SERVE,
)
def shell(context: Context) -> int:
    """Opens bash, Python or R in a copy of the files, confined as a model is. Nothing that is
    changed there is kept."""
    project, model = _find(context)
    number = context.arguments.build
    if number and not model:
        raise CommandFailed("--build is for a model", "name the model", Exit.USAGE)
    build = find_build(context.client, model, number) if number and model else None
    size = _window_size()
    arguments = context.arguments
    kind = "r" if arguments.r else "python" if arguments.python else "shell"
    of_r = not model and (kind == "r" or (kind == "shell" and _is_of_r(context, project)))
    asked = {
        "kind": kind,
        "kernel": context.arguments.kernel or ("r" if of_r else ""),
        "nvidia_gpus": context.arguments.gpus or 0,
        "model_id": model["id"] if model else "",
        "build_id": build["id"] if build else "",
        "rows": size.lines,
        "columns": size.columns,
        "term": context.environment.get("TERM") or "dumb",
    }
    session = FollowedSession(context, project, asked)
    try:
        session.wait_ready()
        _JoinedTerminal(context, session).run()
    finally:
        session.end()
    session.check()
    status = int(session.outcome.get("exit_status", 0))
    return status if status >= 0 else 128 - status


def _find(context: Context) -> tuple[Json, Json | None]:
    """The project, and the model if one is named."""
    context.arguments.project = context.arguments.upload = None
    if not (what := context.arguments.what):
        return current_project(context, "")[0], None
    for project in context.client.listing("/projects"):
        if what in (project["name"], project["id"]):
            return project, None
    model = find_model(context, what)
    return model["project"], model


def _is_of_r(context: Context, project: Json) -> bool:
    """Whether the project has files of R and none of Python, so that its models have an environment
    of R, which the shell then uses, too."""
    if context.arguments.kernel or project["runtime_identifier"]:
        return False
    files = context.client.listing(f"/projects/{project['id']}/files")
    endings = {PurePosixPath(each["path"]).suffix for each in files if not each["is_dir"]}
    return ".py" not in endings and bool(endings & {".R", ".r"})


class _JoinedTerminal:
    """The user's terminal, joined with that of the session. Only the thread of `run` uses the
    kept connection of the client; each stream has one of its own."""

    def __init__(self, context: Context, session: FollowedSession) -> None:
        self._client = context.client
        self._session = session
        self._stdin = sys.stdin.fileno()
        self._ended = threading.Event()
        self._resized = False

    def run(self) -> None:
        """Returns when the shell has ended."""
        follow = threading.Thread(target=self._follow, daemon=True)
        show = threading.Thread(target=self._show, daemon=True)
        with _raw(self._stdin), self._size_changes():
            follow.start()
            show.start()
            self._type()
            show.join(2)

    def _type(self) -> None:
        while not self._ended.is_set():
            self._send_size()
            readable, _, _ = select.select([self._stdin], [], [], _PAUSE)
            if readable:
                data = os.read(self._stdin, _CHUNK)
                if not data:
                    break
                self._send(data)
        # A program may discard what was typed before it reads, so the end of the input is repeated.
        while not self._ended.is_set():
            self._send(_END_OF_INPUT)
            self._ended.wait(_END_PAUSE)

    def _send(self, data: bytes) -> None:
        self._post({"data": base64.b64encode(data).decode()})

    def _send_size(self) -> None:
        if self._resized:
            self._resized = False
            size = _window_size()
            self._post({"rows": size.lines, "columns": size.columns})

    def _post(self, body: Json) -> None:
        try:
            self._client.post(f"{self._session.path}:type", body)
        except ClientError as error:
            if not self._ended.wait(1):
                raise CommandFailed(str(error), "open another shell", Exit.FAILED) from error

    def _show(self) -> None:
        with suppress(ClientError):
            for data in self._client.blocks(f"{self._session.path}/terminal"):
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()

    def _follow(self) -> None:
        try:
            self._session.follow()
        except ClientError as error:
            failure = {"summary": "The session was cut off", "problem": str(error), "advice": ""}
            self._session.outcome = {"status": "failed", "failure": failure}
        finally:
            self._ended.set()

    @contextmanager
    def _size_changes(self) -> Iterator[None]:
        def changed(number: int, frame: FrameType | None) -> None:
            self._resized = True

        before = signal.signal(signal.SIGWINCH, changed)
        try:
            yield
        finally:
            signal.signal(signal.SIGWINCH, before)


def _window_size() -> os.terminal_size:
    """The size of the window in which the user types, if it is one that has a size: a serial line
    and some programs that open terminals have none."""
    with suppress(OSError):
        size = os.get_terminal_size(sys.stdin.fileno())
        if all(size):
            return size
    return shutil.get_terminal_size()


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Keys arrive as they are typed, inside the block."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
