"""The generator, as a process, against a server that does as it is told."""

import re
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks.load import python
from benchmarks.load.spec import NONCE, Load, Target

Reply = Callable[[bytes], bytes | None]


def answer(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


@contextmanager
def serving(reply: Reply) -> Iterator[Target]:
    """A server with a thread for each connection; None hangs up."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.readline():
                length = 0
                while (line := self.rfile.readline()).strip():
                    if found := re.match(rb"content-length: (\d+)", line, re.IGNORECASE):
                        length = int(found[1])
                replied = reply(head + self.rfile.read(length))
                if replied is None:
                    return
                self.wfile.write(replied)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 100

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a generator that hangs up is part of the test

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Target(host="127.0.0.1", port=server.server_address[1], body=b'{"n":"%b"}' % NONCE)
        server.shutdown()


def echo(request: bytes) -> bytes:
    return answer(request)


def test_a_closed_loop_counts_every_answer() -> None:
    """What was sent was answered, by good answers, within the time."""
    with serving(echo) as target:
        found = python.run(Load(target=target, seconds=0.3, connections=2, nonce=True, warm_up=0.1))
    assert found.sent == found.good.count > 0
    assert (found.failed, found.lost, found.wrong) == (0, 0, 0)
    assert found.most_outstanding == 2


def test_an_open_loop_sends_as_many_as_are_due() -> None:
    """The rate is the schedule's, regardless of the server."""
    with serving(echo) as target:
        found = python.run(Load(target=target, seconds=0.5, rate=200, connections=2, warm_up=0.0))
    assert found.sent == 100
    assert found.good.count == 100
    assert found.late.count == 100


def test_a_stall_counts_for_all_who_came_during_it() -> None:
    """One answer that takes long is felt by every request that was due meanwhile."""
    count = 0

    def stall_once(request: bytes) -> bytes:
        nonlocal count
        count += 1
        if count == 10:
            time.sleep(0.4)
        return answer(request)

    # A single connection, as a server with one thread would have it.
    with serving(stall_once) as target:
        load = Load(
            target=target, seconds=1.0, rate=100, connections=1, most_connections=1, warm_up=0.0
        )
        found = python.run(load)
    assert found.sent == found.good.count == 100
    # Some forty were due in those 0.4 s; twenty of them waited for half of it and more.
    assert found.good.between(150e6, 1e10) >= 15


def test_the_answer_to_another_request_is_noticed() -> None:
    """An answer that does not carry its request's number is wrong."""
    with serving(lambda _: answer(b"always the same")) as target:
        found = python.run(Load(target=target, seconds=0.2, rate=50, nonce=True, warm_up=0.0))
    assert found.wrong == found.failed == found.sent == 10


def test_requests_without_an_answer_are_lost() -> None:
    """A server that hangs up has lost the request, and the load continues."""
    with serving(lambda _: None) as target:
        load = Load(target=target, seconds=0.2, rate=50, warm_up=0.0, patience=1.0)
        found = python.run(load)
    assert found.sent > 0
    assert found.lost == 10
    assert found.by_status == {}


def test_statuses_are_told_apart() -> None:
    """A refusal is no good answer, but is an answer."""
    with serving(lambda _: answer(b"", 429)) as target:
        found = python.run(Load(target=target, seconds=0.2, rate=50, warm_up=0.0))
    assert {status: seen.count for status, seen in found.by_status.items()} == {"429": 10}
    assert (found.failed, found.lost) == (10, 0)
    assert sum(count for _, _, count in found.timeline) == 10


def test_hanging_up_waits_for_nobody() -> None:
    """A caller that hangs up abandons its request."""
    over = threading.Event()

    def hang(request: bytes) -> bytes | None:
        over.wait(30)
        return None

    with serving(hang) as target:
        load = Load(target=target, seconds=0.2, rate=50, warm_up=0.0, hang_up=True)
        began = time.monotonic()
        found = python.run(load)
        took = time.monotonic() - began
        over.set()
    assert found.lost == 10
    assert took < 20


def test_a_load_that_fails_says_why() -> None:
    """Without a server, the last output of the generator is the error."""
    with serving(echo) as target:
        pass
    with pytest.raises(python.LoadFailed, match="Connect"):
        python.run(Load(target=target, seconds=0.1))
