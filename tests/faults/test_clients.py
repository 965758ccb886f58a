"""Clients that are many, gone, deaf or out of date: others do not wait for them."""

import json
import re
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.client import ApiError, Client, Json
from tests.faults.bench import HELD_UP, Bench, Peak, Took, descriptors, resident
from tests.faults.conftest import Observe
from tests.faults.matrix import fault
from tests.support.polling import until
from tests.support.served_gateway import (
    Gateway,
    at,
    write,
)
from tests.support.skipping import not_here

MB, MIB = 1_000_000, 1024 * 1024


@pytest.fixture(scope="module")
def bench(patient_bench: Bench) -> Bench:
    """Clients may have to wait for long here."""
    return patient_bench


def connect(gateway: Gateway) -> socket.socket:
    address = urlsplit(gateway.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def request(model: Json, content: Json) -> bytes:
    """One call as bytes."""
    body = json.dumps({"accessKey": model["access_key"], "request": content})
    return (
        "POST /model HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


@fault(
    "3,000 idle connections",
    injection="3,000 clients connect; a third say nothing, a third half a head, a third idle "
    "after an answer",
    bound="others' answers stay right and quick; memory per client is small; all is given back",
)
def test_idle_connections_hold_nothing_else(bench: Bench, observe: Observe) -> None:
    """Clients that hold a connection hold nothing else."""
    count = 3000
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < count + 500:
        not_here(f"a process may not have {count} descriptors here")
    before = resident(bench.gateway.pid)
    with bench.unnoticed() as prober:
        with ExitStack() as clients:
            for number in range(count):
                client = clients.enter_context(connect(bench.gateway))
                if number % 3 == 1:
                    client.sendall(b"POST /model HTTP/1.1\r\nHost: localhost\r\nContent-")
                elif number % 3 == 2:
                    client.sendall(request(bench.others[0], {"n": number}))
            until(lambda: descriptors(bench.gateway) >= count)
            grown = resident(bench.gateway.pid) - before
            answered = prober.right
            until(lambda: prober.right > answered + 40)
        until(lambda: descriptors(bench.gateway) < 200)
    assert grown < 150 * MB
    assert prober.slowest < HELD_UP
    observe(
        f"{grown / count / 1000:.0f} kB a client; "
        f"others waited {prober.slowest * 1000:.0f} ms at most"
    )


@contextmanager
def few_descriptors(gateway: Gateway, more: int) -> Iterator[None]:
    """The gateway may open so many more descriptors than it has; afterwards as many as before."""
    most = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    low = descriptors(gateway) + more
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (low, most[1]))
    try:
        yield
    finally:
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, most)


@fault(
    "the gateway is out of descriptors",
    injection="its limit is lowered to 12 above what it has, 60 clients connect and a replica dies",
    bound="those connected are answered; with descriptors again all heals, without a restart",
)
def test_clients_wait_for_free_descriptors(bench: Bench, observe: Observe) -> None:
    """A connected client is served; a new one waits until there are descriptors."""
    with bench.unnoticed():
        with connect(bench.gateway) as kept, few_descriptors(bench.gateway, 12):
            kept.sendall(request(bench.others[1], {"n": 0}))
            assert b"200 OK" in kept.recv(4096)
            with ExitStack() as clients:
                for _ in range(60):
                    clients.enter_context(connect(bench.gateway))
                until(lambda: exhausted(bench.gateway))
                kept.sendall(request(bench.hostile, {"do": "os_exit"}))
                assert b"502" in kept.recv(4096)
                kept.sendall(request(bench.others[1], {"n": 1}))
                assert b"200 OK" in kept.recv(4096)
        with Took() as took:
            bench.settle()
    observe(f"connected ones answered; whole {took} after")


def exhausted(gateway: Gateway) -> bool:
    """Whether less than a handful of descriptors is left to the gateway."""
    low, _ = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    return descriptors(gateway) >= low - 1


@fault(
    "a queue with half the clients gone",
    injection="200 clients wait for two replicas; every other one closes or resets its own",
    bound="each of the rest gets its own nonce; the model never sees the work of those gone",
)
def test_queue_skips_disconnected_clients(bench: Bench, observe: Observe) -> None:
    """A queue skips the requests of disconnected clients."""
    count = 200
    with bench.unnoticed(), ExitStack() as clients:

        def ask(number: int, seconds: float) -> socket.socket:
            client = clients.enter_context(connect(bench.gateway))
            content = {"do": "sleep", "seconds": seconds, "nonce": number}
            client.sendall(request(bench.hostile, content))
            return client

        # Both replicas work until all have asked and half of them have gone.
        first = [ask(number, 3.0) for number in (-1, -2)]
        until(lambda: bench.busy() == 2)
        before = descriptors(bench.gateway)
        waiting = [ask(number, 0.0) for number in range(count)]
        until(lambda: descriptors(bench.gateway) >= before + count)
        for number in range(0, count, 2):
            if number % 4:  # with a reset
                waiting[number].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            waiting[number].close()
        until(lambda: descriptors(bench.gateway) <= before + count // 2)
        assert not select.select(first, [], [], 0)[0], "too late: the queue had moved on"
        kept = range(1, count, 2)
        for number in kept:
            body = waiting[number].recv(65536).partition(b"\r\n\r\n")[2]
            assert json.loads(body)["response"] == number
    log = bench.gateway.cli("logs", "behave", "--tail", str(10 * count)).out
    begun = sorted(int(number) for number in re.findall(r"begun (-?\d+)", log))
    assert begun == [-2, -1, *kept]
    observe(f"{len(kept)} of {len(kept)} right answers, 0 of {count // 2} begun for lost clients")


@fault(
    "clients that never read their answers",
    injection="200 clients ask for 1 MB each, 60 for 20 MB each, and never read",
    bound="256 MiB of answers are held at most; others' answers stay right and quick; all is given "
    "back",
)
@pytest.mark.parametrize(("count", "size"), [(200, MB), (60, 20 * MB)], ids=["many", "large"])
def test_unread_answers_are_bounded(bench: Bench, observe: Observe, count: int, size: int) -> None:
    """Answers that clients do not read are kept for a bounded time and size, then dropped."""
    bench.do("big", bytes=size)  # so that the process that checks large answers is there already
    with bench.unnoticed() as prober, Peak(bench.gateway.pid) as peak, ExitStack() as clients:
        for _ in range(count):
            client = clients.enter_context(connect(bench.gateway))
            client.sendall(request(bench.hostile, {"do": "big", "bytes": size}))
        bench.do("echo")  # which is served after them
        until(lambda: bench.busy() == 0)
    observe(
        f"{count} of {size / MB:.0f} MB: {peak.grown / MB:.0f} MB more at most; "
        f"others waited {prober.slowest * 1000:.0f} ms at most"
    )
    assert prober.slowest < HELD_UP
    # What is held, what is on its way from two replicas, and what the allocator keeps.
    assert peak.grown < 256 * MIB + 100 * MB


@fault(
    "a key revoked in a storm",
    injection="a model is deleted while 8 clients call it without a pause",
    bound="from the moment that the deletion is acknowledged every call is 401",
)
def test_revoked_key_is_refused_at_once(bench: Bench, tmp_path: Path, observe: Observe) -> None:
    """Revocation is immediate: the model answers no call that begins afterwards."""
    source = {"echo.py": "def echo(args):\n    return args\n"}
    model = bench.gateway.serve(write(tmp_path / "revoked", source), "echo.py", "echo", replicas=2)
    revoked = threading.Event()
    done = threading.Event()

    def storm(_: int) -> list[tuple[bool, int]]:
        """Whether the key was revoked when the call began, and what was answered."""
        told = []
        while not done.is_set():
            late = revoked.is_set()
            told.append((late, bench.gateway.call(model, {"n": 1}).status))
        return told

    with ThreadPoolExecutor(8) as pool:
        storms = pool.map(storm, range(8))
        bench.gateway.client.delete(at(model))
        revoked.set()
        for _ in range(100):
            assert bench.gateway.call(model, {"n": 1}).status == 401
        done.set()
        answers = [each for told in storms for each in told]
    assert {status for late, status in answers if late} == {401}
    assert {status for late, status in answers if not late} <= {200, 401, 503}
    observe(f"{sum(late for late, _ in answers)} calls afterwards, all 401")


@fault(
    "the admin API with a key of another or none",
    injection="every verb with no key, half the key, the key and a blank line, a model's key",
    bound="401 each; nothing is changed",
)
def test_only_the_whole_admin_key_is_accepted(bench: Bench, observe: Observe) -> None:
    """Only the whole key is accepted."""
    key = bench.gateway.key
    wrong = ["", key[:-1], key + "x", key.swapcase(), bench.hostile["access_key"]]
    before = bench.gateway.client.listing("/models")
    for each in wrong:
        for method in ("GET", "POST", "DELETE"):
            with Client(bench.gateway.url, each) as client, pytest.raises(ApiError) as told:
                {"GET": client.get, "POST": client.post, "DELETE": client.delete}[method](
                    at(bench.hostile)
                )
            assert told.value.status == 401
    assert bench.gateway.client.listing("/models") == before
    observe(f"{len(wrong) * 3} of {len(wrong) * 3} refused")


@fault(
    "many new connections",
    injection="2,000 connections, one call each, from 16 threads",
    bound="each is answered; nothing is left of them",
)
def test_closed_connection_costs_nothing(bench: Bench, observe: Observe) -> None:
    """A connection costs nothing when it is closed."""
    with bench.unnoticed(), ThreadPoolExecutor(16) as pool, Took() as took:
        told = pool.map(lambda n: bench.gateway.call(bench.others[0], {"n": n}).body, range(2000))
        assert [each["response"]["n"] for each in told] == list(range(2000))
    observe(f"2,000 of 2,000 right, in {took}")


@fault(
    "clients that download slowly",
    injection="16 clients ask for a file of 300 MB each and take nothing of it",
    bound="the gateway takes less than 40 MB for all of them; others never notice",
)
def test_slow_download_is_read_in_pieces(bench: Bench, observe: Observe, tmp_path: Path) -> None:
    """A file is read as fast as its client reads it, a piece at a time."""
    gateway, count = bench.gateway, 16
    with (tmp_path / "large").open("wb") as file:
        file.truncate(300 * MB)
    asked = {"name": "downloads", "template": "local", "path": str(tmp_path)}
    project = gateway.client.post("/projects", asked)["id"]
    head = (
        f"GET /api/v2/projects/{project}/files/large:download HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {gateway.key}\r\n\r\n"
    ).encode()
    with bench.unnoticed(), Peak(gateway.pid) as peak, ExitStack() as clients:
        for _ in range(count):
            client = clients.enter_context(connect(gateway))
            client.sendall(head)
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        time.sleep(1)  # in which all would be read that is going to be
    assert peak.grown < 40 * MB
    observe(f"{peak.grown / MB:.0f} MB more for {count} clients")
