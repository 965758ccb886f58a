"""Starts the process of the built-in generator and reads its results."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.load.spec import Answers, Load

ROOT = Path(__file__).parents[2]
_COMMAND = [sys.executable, "-m", "benchmarks.load"]


class LoadFailed(Exception):
    """A generator failed; the message is the end of its output."""


class Running:
    """A running generator."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.pid = process.pid

    def answers(self) -> Answers:
        """Waits for the end and returns the answers. Raises LoadFailed."""
        out, said = self._process.communicate()
        if self._process.returncode:
            raise LoadFailed(said.decode(errors="replace").strip()[-2000:])
        return msgspec.json.decode(out, type=Answers)


@contextmanager
def running(load: Load) -> Iterator[Running]:
    """Starts a generator, which ends with the block at the latest."""
    process = subprocess.Popen(
        _COMMAND,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(msgspec.json.encode(load))
        process.stdin.close()
        process.stdin = None
        first = process.stderr.readline()
        if first != b"ready\n":
            said = first + process.stderr.read()
            raise LoadFailed(said.decode(errors="replace").strip()[-2000:])
        yield Running(process)
    finally:
        process.kill()
        process.communicate()


def run(load: Load) -> Answers:
    """Runs one load from its beginning to its end. Raises LoadFailed."""
    with running(load) as generator:
        return generator.answers()
