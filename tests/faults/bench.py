"""The bench on which faults are injected: one gateway, one hostile model, two that must not notice.

The oracle is outside of the gateway. Two models are asked by callers of their own, twenty times a
second each, and must give back each caller's nonce; the tables of processes, descriptors and
threads must be afterwards what they were before.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from gateway.client import Json
from tests.support.polling import until
from tests.support.served_gateway import (
    Gateway,
    Prober,
    at,
    copy,
    write,
)

ECHO = "def echo(args):\n    return args\n"
# How long a request may take at the bench, in seconds.
TIME_LIMIT = 1.5
# Others who wait so many seconds are held up: by a time-out, which is ten and more. Beside
# another file's fork bomb 20 ms may become a second or two; `benchmarks fairness` looks closer.
HELD_UP = 5.0


class Tables(NamedTuple):
    """How much there is of what must not grow."""

    processes: int
    descriptors: int
    threads: int


class Bench:
    """`hostile` does what it is told; `others` belong to other projects."""

    def __init__(self, gateway: Gateway, hostile: Json, others: list[Json]) -> None:
        self.gateway, self.hostile, self.others = gateway, hostile, others

    def tables(self) -> Tables:
        """As they are once the pace of the moment is over."""
        return Tables(
            len(self.gateway.processes()), descriptors(self.gateway), thread_count(self.gateway)
        )

    @contextmanager
    def unnoticed(self) -> Iterator[Prober]:
        """The block does not affect other models, and nothing is left of it."""
        self.settle()
        before = self.tables()
        with Prober(self.gateway, self.others, {}).running() as prober:
            yield prober
        self.settle()
        until(lambda: within(self.tables(), before))

    def settle(self) -> None:
        """Waits until the hostile model serves again with both of its replicas."""
        path = f"{at(self.hostile)}/replicas"

        def is_whole() -> bool:
            replicas = self.gateway.client.get(path)["replicas"]
            return [each["status"] for each in replicas] == ["idle", "idle"]

        until(is_whole)
        self.do("echo")

    def busy(self) -> int:
        """How many replicas of the hostile model work on a request."""
        replicas = self.gateway.client.get(f"{at(self.hostile)}/replicas")["replicas"]
        return sum(each["status"] == "busy" for each in replicas)

    def do(self, deed: str, **more: object) -> Json:
        """Tells the hostile model to do something; the reply with its `status`."""
        told = self.gateway.call(self.hostile, {"do": deed, **more})
        return {**told.body, "status": told.status}

    def fails(self, expected: int, code: str, do: str, **more: object) -> str:
        """The same, where the caller must hear of a failure: its message."""
        told = self.do(do, **more)
        assert (told["status"], told["error"]["code"]) == (expected, code), told
        assert told["success"] is False
        return str(told["message"])


def within(now: Tables, before: Tables) -> bool:
    """Whether nothing has grown; a thread or a connection that is kept for a while may stay."""
    return (
        now.processes <= before.processes
        and now.descriptors <= before.descriptors + 3
        and now.threads <= before.threads + 5
    )


def descriptors(gateway: Gateway) -> int:
    return len(os.listdir(f"/proc/{gateway.pid}/fd"))


def thread_count(gateway: Gateway) -> int:
    return len(os.listdir(f"/proc/{gateway.pid}/task"))


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Peak:
    """The most memory that a process holds while the block runs, beyond what it held before."""

    def __init__(self, pid: int) -> None:
        self._pid, self._done = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._before = self._most = resident(pid)

    @property
    def grown(self) -> int:
        return self._most - self._before

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._most = max(self._most, resident(self._pid))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kept_waiting(pid: int) -> float:
    """For how many seconds a process could have run and others did, on a machine that is shared."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def on_disk(folder: Path) -> int:
    """Bytes that a folder holds."""
    return sum(path.lstat().st_size for path in folder.rglob("*"))


@contextmanager
def open_bench(root: Path, hostile_file: str = "hostile.py", **settings: str) -> Iterator[Bench]:
    """A gateway on a data folder beneath `root` with the three models."""
    given = {"model_request_timeout": str(TIME_LIMIT), **settings}
    with Gateway(root / "data", **given) as gateway:
        hostile = gateway.serve(
            copy("hostile", root / "hostile"), hostile_file, "behave", replicas=2
        )
        others = [
            gateway.serve(write(root / name, {"echo.py": ECHO}), "echo.py", "echo", replicas=1)
            for name in ("one", "other")
        ]
        yield Bench(gateway, hostile, others)


def replica_pids(gateway: Gateway, model: Json) -> list[int]:
    """The processes that serve a model, as the gateway tells them."""
    replicas = gateway.client.get(f"{at(model)}/replicas")["replicas"]
    return [each["pid"] for each in replicas if each["pid"]]


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


class Took:
    """How long a block took, in the end; as text in seconds."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s"


def started(pid: int) -> float:
    """When a process began, by the clock of the machine since it was booted."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
