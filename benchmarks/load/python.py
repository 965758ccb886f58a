"""The near side of our own generator: starts its process, reads what it counted."""

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
    """A generator gave up; the message is the end of what it said."""


class Running:
    """A generator that is at work."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.pid = process.pid

    def answers(self) -> Answers:
        """Waits for its end. Raises LoadFailed."""
        out, said = self._process.communicate()
        if self._process.returncode:
            raise LoadFailed(said.decode(errors="replace").strip()[-2000:])
        return msgspec.json.decode(out, type=Answers)


@contextmanager
def running(load: Load) -> Iterator[Running]:
    """A generator that has begun; it ends with the block."""
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
    """One load from its beginning to its end. Raises LoadFailed."""
    with running(load) as generator:
        return generator.answers()
