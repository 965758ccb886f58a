"""Starts, checks and warms a peer, and ends it without leftovers.

A server counts only after the right answer, and is warm after many over one connection. It runs in
a temporary folder, on a copy of its files, with a separate environment. So settings of the caller
and leftovers of earlier runs do not affect it.
"""

import http.client
import json
import os
import shutil
import socket
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.peers import subreaper
from benchmarks.peers.failure import PeerFailed

HOST = "127.0.0.1"
WARM_UP = 200
_TRIES = 5
_LOOK_EVERY = 0.01
_OUTPUT = "output.txt"
_TEMPLATE = ".template"
# Where distributions put servers; these folders are not in the PATH of all users.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])


@dataclass(frozen=True)
class Question:
    """The request to a peer, and how 8 is found in its reply."""

    path: str = "/predict"
    body: bytes = b'{"a":3,"b":5}'
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    result: Callable[[Any], object] = lambda reply: reply


@dataclass(frozen=True)
class Served:
    """A peer that answers correctly at `http://{host}:{port}{path}`."""

    host: str
    port: int
    path: str
    body: bytes
    headers: Mapping[str, str]
    pids: list[int]
    """Its processes, all of them, as they were when it had been warmed."""
    seconds_to_answer: float
    """From the start of its command to the first right answer."""


@dataclass(frozen=True)
class Launch:
    """How a server is started: `$port`, `$spare_port`, `$work` and `$bin` are filled in."""

    command: Sequence[str]
    before: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    patience: float = 60.0


@contextmanager
def serving(
    peer: str, launch: Launch, question: Question, files: Path, environment: Path | None
) -> Iterator[Served]:
    """Starts the server of a folder of `files`, with its virtualenv's programs, if it has one."""
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        work = Path(folder)
        port, spare_port = _free_ports(2)
        names = {
            "port": str(port),
            "spare_port": str(spare_port),
            "work": str(work),
            "bin": str(environment / "bin") if environment else "",
        }

        def fill(texts: Sequence[str]) -> list[str]:
            return [string.Template(text).safe_substitute(names) for text in texts]

        _lay_out(files, work, fill)
        variables = _variables(work, environment)
        variables |= dict(zip(launch.variables, fill([*launch.variables.values()]), strict=True))
        if launch.before:
            _prepare(peer, fill(launch.before), work, variables)
        began = time.monotonic()
        with _kept(peer, fill(launch.command), work, variables) as process:
            asking = _Asking(peer, port, question, work / _OUTPUT)
            asking.wait_answered(process, began + launch.patience)
            seconds = time.monotonic() - began
            asking.warm_up()
            yield Served(
                host=HOST,
                port=port,
                path=question.path,
                body=question.body,
                headers=question.headers,
                pids=[child.pid for child in psutil.Process(process.pid).children(recursive=True)],
                seconds_to_answer=seconds,
            )


class _Asking:
    """One caller of one server, which knows the right answer."""

    def __init__(self, peer: str, port: int, question: Question, output: Path) -> None:
        self._peer = peer
        self._port = port
        self._question = question
        self._output = output

    def wait_answered(self, process: subprocess.Popen[bytes], due: float) -> None:
        """Returns at the first answer, which must be right; retries refused connections."""
        why = "no connection"
        while True:
            if process.poll() is not None:
                raise self._failed(f"ended by itself with status {process.returncode}")
            if time.monotonic() > due:
                raise self._failed(f"did not answer in time: {why}")
            connection = self._connection()
            try:
                status, reply = self._ask(connection)
            except (OSError, http.client.HTTPException) as error:
                why = f"{type(error).__name__}: {error}"
            else:
                if status == 200:
                    return self._check(reply)
                why = f"{status} {reply[:200]!r}"
            finally:
                connection.close()
            time.sleep(_LOOK_EVERY)

    def warm_up(self) -> None:
        """Gets many answers over one connection, which must all be right.

        A proxy that reloads while its server starts (HAProxy) disconnects, so there are retries.
        """
        for _ in range(_TRIES):
            if (answered := self._answers_in_a_row()) == WARM_UP:
                return
        raise self._failed(f"closed the connection after {answered} requests")

    def _answers_in_a_row(self) -> int:
        connection = self._connection()
        try:
            for count in range(1, WARM_UP + 1):
                status, reply = self._ask(connection)
                if status != 200:
                    raise self._failed(f"answered {status} {reply[:200]!r} when warmed")
                self._check(reply)
                if connection.sock is None:
                    return count
            return WARM_UP
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(f"broke off when warmed: {error!r}") from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(HOST, self._port, timeout=5.0)

    def _ask(self, connection: http.client.HTTPConnection) -> tuple[int, bytes]:
        asked = self._question
        connection.request("POST", asked.path, body=asked.body, headers=dict(asked.headers))
        response = connection.getresponse()
        return response.status, response.read()

    def _check(self, reply: bytes) -> None:
        try:
            right = self._question.result(json.loads(reply)) == 8
        except (ValueError, LookupError, TypeError):
            right = False
        if not right:
            raise self._failed(f"gave the wrong answer: {reply[:200]!r}")

    def _failed(self, reason: str) -> PeerFailed:
        return PeerFailed(self._peer, reason, _lines(self._output))


@contextmanager
def _kept(
    peer: str, command: list[str], work: Path, variables: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs the command below a subreaper, in its own session; ends all its processes."""
    argv = [sys.executable, "-I", "-S", str(subreaper.__file__), *command]
    with (work / _OUTPUT).open("ab") as output:
        process = subprocess.Popen(
            argv,
            cwd=work,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=3 * subreaper.GRACE)
        except subprocess.TimeoutExpired:
            raise PeerFailed(peer, "could not be ended", _lines(work / _OUTPUT)) from None


def _prepare(peer: str, command: list[str], work: Path, variables: dict[str, str]) -> None:
    with (work / _OUTPUT).open("ab") as output:
        done = subprocess.run(
            command,
            cwd=work,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    if done.returncode != 0:
        raise PeerFailed(peer, f"`{' '.join(command)}` failed", _lines(work / _OUTPUT))


def _lay_out(files: Path, work: Path, fill: Callable[[Sequence[str]], list[str]]) -> None:
    for file in files.iterdir():
        if file.suffix == _TEMPLATE:
            (work / file.stem).write_text(*fill([file.read_text()]))
        elif file.is_file():
            shutil.copy(file, work)


def _variables(work: Path, environment: Path | None) -> dict[str, str]:
    """No variable of the caller: a PYTHONPATH or a setting of the peer would change the figures."""
    programs = f"{environment / 'bin'}{os.pathsep}{PATH}" if environment else PATH
    folders = {"HOME": str(work), "TMPDIR": str(work)}
    return {"PATH": programs, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", **folders}


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago: the servers cannot be given a listening socket."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [int(s.getsockname()[1]) for s in sockets]


def _lines(output: Path) -> list[str]:
    return output.read_text(errors="replace").splitlines() if output.exists() else []
