"""A real replica, and the gateway's end of its wire spelled out by hand, without our own code."""

import json
import os
import select
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

TESTS = Path(__file__).parents[2]
PROJECTS = TESTS / "projects"
GOLDEN = TESTS / "workers" / "golden"
INSIDE = TESTS.parent / "workers" / "inside" / "python"

START, PREDICT = 1, 2
HELLO, READY, FAILED, ANSWER, RAISED, REFUSED, TRACKED = 16, 17, 18, 19, 20, 21, 22
CRNS = {name: f"crn:cdp:ml:local:a:workspace:w/{name}" for name in ("model", "build", "deployment")}
HEADER = struct.Struct("<IBQ")
REQUEST_PREFIX = "9f86d081884c7d659a2f"
PATIENCE = 20.0  # seconds for anything to happen; only a failing test waits that long


class Frame(NamedTuple):
    kind: int
    id: int
    body: Any


class Conversation:
    """Starts the replica; `close` ends it, in any state."""

    def __init__(self, program: Path, folder: Path, environment: dict[str, str]) -> None:
        theirs_in, self._outlet = os.pipe()
        self._inlet, theirs_out = os.pipe()
        self._received = b""
        self._folder = folder
        # R leaves its temporary files when it is killed. A folder of a test has too long a path for
        # the sockets of multiprocessing.
        self.temporary = Path(tempfile.mkdtemp(prefix="replica-"))
        with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
            words, variables = self.command(program, theirs_in, theirs_out)
            usual = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TMPDIR": str(self.temporary)}
            self.process = subprocess.Popen(
                words,
                pass_fds=(theirs_in, theirs_out),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**usual, **variables, **environment},
            )
        os.close(theirs_in)
        os.close(theirs_out)

    @staticmethod
    def command(program: Path, inlet: int, outlet: int) -> tuple[list[str | Path], dict[str, str]]:
        """What starts a replica of Python on two descriptors, and the variables that it needs."""
        return [program, INSIDE / "start.py", str(inlet), str(outlet)], {}

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()
        self.stop_reading()
        shutil.rmtree(self.temporary, ignore_errors=True)

    def start(
        self,
        project: Path,
        file: str,
        function: str,
        max_response_size: int = 10**7,
        raw: bool = False,
    ) -> Frame:
        """Hear HELLO, say START, and return what comes of it: READY or FAILED."""
        self.say_start(project, file, function, max_response_size, raw)
        return self.receive()

    def say_start(
        self,
        project: Path,
        file: str,
        function: str,
        max_response_size: int = 10**7,
        raw: bool = False,
    ) -> None:
        """Hear HELLO and say START."""
        assert self.receive().kind == HELLO
        model = {"file": file, "function": function, "root": str(project)}
        told = {**model, "max_response_size": max_response_size, "raw": raw, "crns": CRNS}
        told["request_prefix"] = REQUEST_PREFIX
        self.send(START, 0, json.dumps(told).encode())

    def predict(self, argument: object, number: int = 1) -> Frame:
        """One prediction and the frame that answers it."""
        self.send(PREDICT, number, json.dumps(argument).encode())
        answer = self.receive()
        assert answer.id == number
        return answer

    def send(self, kind: int, number: int, body: bytes) -> None:
        self.send_bytes(HEADER.pack(len(body), kind, number) + body)

    def send_bytes(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._outlet, data) :]

    def receive(self) -> Frame:
        frame = self.receive_bytes()
        _, kind, number = HEADER.unpack_from(frame)
        return Frame(kind, number, json.loads(frame[HEADER.size :]))

    def receive_bytes(self) -> bytes:
        """The next frame as it came."""
        self._read_up_to(HEADER.size)
        end = HEADER.size + HEADER.unpack_from(self._received)[0]
        self._read_up_to(end)
        frame, self._received = self._received[:end], self._received[end:]
        return frame

    def at_end(self) -> bool:
        """True once all hold on the replica's end is let go; False when something comes instead."""
        try:
            self._read_up_to(1)
        except EOFError:
            return True
        return False

    def hang_up(self) -> None:
        """Close our end, as a gateway does that goes or wants the replica gone."""
        if self._outlet >= 0:
            os.close(self._outlet)
            self._outlet = -1

    def stop_reading(self) -> None:
        if self._inlet >= 0:
            os.close(self._inlet)
            self._inlet = -1

    def exit_status(self) -> int:
        return self.process.wait(PATIENCE)

    @property
    def stdout(self) -> str:
        return (self._folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr").read_text()

    def _read_up_to(self, size: int) -> None:
        while len(self._received) < size:
            ready, _, _ = select.select([self._inlet], [], [], PATIENCE)
            assert ready, f"the replica says nothing; its stderr: {self.stderr}"
            chunk = os.read(self._inlet, 1 << 20)
            if not chunk:
                raise EOFError(f"the replica hung up; its stderr: {self.stderr}")
            self._received += chunk
