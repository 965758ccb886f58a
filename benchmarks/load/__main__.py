"""The generator: a separate process, asyncio on uvloop.

`python -m benchmarks.load` reads a Load as JSON from stdin and prints Answers. It writes `ready` to
stderr once its connections are open and warm, and begins at once.
"""

import asyncio
import gc
import resource
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from typing import Any

import msgspec
import uvloop

from benchmarks.load.connection import Connection
from benchmarks.load.histogram import Histogram
from benchmarks.load.pacing import Timer, due_times
from benchmarks.load.spec import NONCE, Answers, Load

_SECOND = 1_000_000_000


class Generator:
    """The callers of one load. `sent` and `seen` count from the end of the warm-up."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.began = self.until = 0
        self.sent = self.wrong = self.lost = 0
        self.last_due = self.last_answer = 0
        self.outstanding = self.most_outstanding = 0
        self.late: list[int] = []
        self.seen: dict[int, list[int]] = {}
        self.timeline: Counter[tuple[int, int]] = Counter()
        self._idle: deque[Connection] = deque()
        self._all: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._backlog: deque[int] = deque()
        self._settled = asyncio.Event()
        self._request = load.target.request()
        if load.nonce and NONCE not in self._request:
            raise ValueError("the request has no place for a nonce")
        self._recording = self._over = False

    async def run(self) -> Answers:
        load = self.load
        await asyncio.gather(*(self._open() for _ in range(load.connections)))
        if load.warm_up:
            await self._closed_loop(load.warm_up)
        self._recording = True
        print("ready", file=sys.stderr, flush=True)
        cpu = time.process_time()
        await (self._closed_loop(load.seconds) if load.rate is None else self._open_loop(load.rate))
        took = (time.monotonic_ns() if load.rate is None else self.until) - self.began
        self._over = True
        if not load.hang_up:
            await self._settle(load.patience)
        cpu = time.process_time() - cpu
        self.lost += self.outstanding + len(self._backlog)
        for connection in self._all:
            connection.close()
        return self._answers(took / _SECOND, cpu)

    async def _closed_loop(self, seconds: float) -> None:
        """Each connection sends its next request after the answer, until the time is over."""
        self.began = time.monotonic_ns()
        self.until = self.began + int(seconds * _SECOND)
        while self._idle:
            self._send(self._idle.popleft(), time.monotonic_ns())
        await asyncio.sleep(seconds)
        if not self.load.hang_up:
            await self._settle(self.load.patience)

    async def _open_loop(self, rate: float) -> None:
        """Sends requests when they are due, on a free connection or a new one."""
        load, timer, over = self.load, Timer(), asyncio.Event()
        due = due_times(rate, load.seconds, poisson=load.arrivals == "poisson")
        self.began = time.monotonic_ns() + 1_000_000
        self.until = self.began + int(load.seconds * _SECOND)
        upcoming = self.began + next(due)

        def wake() -> None:
            nonlocal upcoming
            timer.clear()
            while upcoming <= time.monotonic_ns():
                self._take_due(upcoming)
                following = next(due, None)
                if following is None:
                    over.set()
                    return
                upcoming = self.began + following
            timer.set(upcoming)

        loop = asyncio.get_running_loop()
        loop.add_reader(timer.fd, wake)
        timer.set(upcoming)
        await over.wait()
        loop.remove_reader(timer.fd)
        timer.close()

    def _take_due(self, due: int) -> None:
        self.last_due = due
        self.late.append(time.monotonic_ns() - due)
        if self._idle:
            self._send(self._idle.popleft(), due)
            return
        self._backlog.append(due)
        self._open_another()

    def _open_another(self) -> None:
        async def open_it() -> None:
            # Refused or reset: its due request waits for another connection, or is lost.
            with suppress(OSError):
                await self._open()

        if len(self._all) + len(self._opening) < self.load.most_connections:
            task = asyncio.ensure_future(open_it())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        sources = self.load.sources
        source = sources[(len(self._all) + len(self._opening)) % len(sources)]
        target = self.load.target
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._answered, self._ended),
            target.host,
            target.port,
            local_addr=None if source == "127.0.0.1" else (source, 0),
        )
        self._all.add(connection)
        self._free(connection)

    def _free(self, connection: Connection) -> None:
        now = time.monotonic_ns()
        if self.load.rate is None and now < self.until:
            self._send(connection, now)
        elif self._backlog:
            self._send(connection, self._backlog.popleft())
        else:
            self._idle.append(connection)

    def _send(self, connection: Connection, due: int) -> None:
        request = self._request
        if self.load.nonce:
            connection.nonce = b"%016x" % (0xF000000000000000 + self.sent)
            request = request.replace(NONCE, connection.nonce, 1)
        connection.due = due
        self.outstanding += 1
        if self._recording:
            self.sent += 1
            self.most_outstanding = max(self.most_outstanding, self.outstanding)
        connection.send(request)

    def _answered(self, connection: Connection, status: int, answer: bytes) -> None:
        now = self.last_answer = time.monotonic_ns()
        self.outstanding -= 1
        if self._recording:
            self.seen.setdefault(status, []).append(now - connection.due)
            self.timeline[(now - self.began) // _SECOND, status] += 1
            self.wrong += status == 200 and connection.nonce not in answer
        elif status != 200:
            raise RuntimeError(f"while warming up: {answer[:500]!r}")
        self._free(connection)
        self._tell_settled()

    def _ended(self, connection: Connection) -> None:
        """The server closed the connection; its pending request is lost."""
        self._all.discard(connection)
        if connection.busy:
            self.outstanding -= 1
            self.lost += self._recording
        with suppress(ValueError):
            self._idle.remove(connection)
        if not self._over:
            self._open_another()
        self._tell_settled()

    def _tell_settled(self) -> None:
        if not self.outstanding and not self._backlog:
            self._settled.set()

    async def _settle(self, patience: float) -> None:
        """Waits until all requests are answered, for at most `patience`."""
        self._settled.clear()
        if self.outstanding or self._backlog:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), patience)

    def _answers(self, seconds: float, cpu: float) -> Answers:
        return Answers(
            sent=self.sent,
            wrong=self.wrong,
            lost=self.lost,
            seconds=seconds,
            drained=max(0, self.last_answer - (self.last_due or self.until)) / _SECOND,
            by_status={str(s): Histogram.of(seen) for s, seen in sorted(self.seen.items())},
            late=Histogram.of(self.late),
            most_outstanding=self.most_outstanding,
            timeline=[(second, s, count) for (second, s), count in sorted(self.timeline.items())],
            cpu_seconds=cpu,
        )


def main() -> None:
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # A garbage collection here would be reported as a stall of the server.
    gc.disable()

    async def generate() -> Answers:
        loop = asyncio.get_running_loop()
        failed: asyncio.Future[Answers] = loop.create_future()

        def fail(_: object, context: dict[str, Any]) -> None:
            # asyncio would log an exception of a callback, and continue.
            if not failed.done():
                failed.set_exception(context.get("exception") or RuntimeError(context["message"]))

        loop.set_exception_handler(fail)
        done = asyncio.ensure_future(Generator(load).run())
        await asyncio.wait({done, failed}, return_when=asyncio.FIRST_COMPLETED)
        return failed.result() if failed.done() else done.result()

    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(generate())))


if __name__ == "__main__":
    main()
