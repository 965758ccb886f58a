"""`open-pages`: what a caller of a model notices of many open pages.

One caller calls a model at a steady rate, in turns beside nothing and beside 200 open pages of
several users: lists, the model's overview, builds, deployments, its charts. Each page follows its
live regions, as browsers do, and a process of its own reads them. The calls change the charts and
counts that the pages show, so that there is something to send.
"""

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import NamedTuple
from urllib.parse import quote, urlencode

from benchmarks import gateway_process, servers
from benchmarks.load import python
from benchmarks.load.histogram import Histogram
from benchmarks.load.spec import Load, Target
from benchmarks.plan import Plan
from benchmarks.report.record import Goal, Row, Section, Table
from benchmarks.sampler import watching
from gateway.client import Client

OPEN = 200
# One user may have fewer streams open at once, so there are several users.
EACH = 25
RATE = 200.0
QUIET = "nothing"
# Until all pages have been sent once, at a bounded share of the gateway's time.
SETTLE = 2.0
# Reads the descriptors that it is given.
_READER = """
import os, select, sys
poll, regions = select.poll(), 0
for number in (0, *map(int, sys.argv[1:])):
    poll.register(number, select.POLLIN)
while True:
    for number, _ in poll.poll():
        data = os.read(number, 1 << 20)
        if number == 0:
            print(regions)
            sys.exit()
        regions += data.count(b"event: region")
        if not data:
            poll.unregister(number)
"""


def run(plan: Plan) -> Section:
    count = 50 if plan.quick else OPEN
    pages = f"{count} open pages"
    seen: dict[str, list[Turn]] = {QUIET: [], pages: []}
    with gateway_process.started() as gateway:
        target = gateway.target(gateway.deploy("add", "add")[0], servers.REQUEST)
        gateway_process.check(target, servers.ANSWER)
        cookies = [_signed_in(gateway) for _ in range(-(-count // EACH))]
        addresses = _addresses(gateway)
        load = Load(target=target, seconds=2 * plan.seconds, rate=RATE)
        for number in range(plan.rounds):
            for what in seen:
                plan.say(f"round {number + 1}: beside {what}")
                opened = count if what == pages else 0
                seen[what].append(_turn(gateway, load, cookies, addresses, opened))
    return _section(seen, pages)


class Turn(NamedTuple):
    """What was measured in one turn: latencies, the share of a core that the gateway used, and how
    many regions of pages it sent a second."""

    latency: Histogram
    core: float
    regions: float


def _turn(
    gateway: gateway_process.Gateway,
    load: Load,
    cookies: Sequence[str],
    addresses: Sequence[str],
    count: int,
) -> Turn:
    with _following(gateway, cookies, addresses, count) as reader:
        time.sleep(SETTLE)
        with watching({"gateway": [gateway.pid]}, every=None) as costs:
            found = python.run(load)
        regions, _ = reader.communicate()
    if found.failed:
        raise python.LoadFailed(f"{found.failed} requests failed beside {count} open pages")
    core = costs["gateway"].cpu_seconds / load.seconds
    return Turn(found.good, core, int(regions) / (SETTLE + load.seconds))


def _signed_in(gateway: gateway_process.Gateway) -> str:
    """The cookie of a new user's session."""
    name, password = f"viewer-{secrets.token_hex(4)}", secrets.token_hex(8)
    wish = {"username": name, "password": password, "administrator": True}
    gateway.client.post("/users", wish)
    body = urlencode({"name": name, "password": password}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    target = Target(
        host=gateway.host, port=gateway.port, path="/sign-in", headers=headers, body=body
    )
    with socket.create_connection((gateway.host, gateway.port), 30) as connection:
        connection.sendall(target.request())
        head = connection.recv(65536).decode()
    (cookie,) = (
        line.partition(": ")[2].partition(";")[0]
        for line in head.split("\r\n")
        if line.lower().startswith("set-cookie: predictd_session")
    )
    return cookie


def _addresses(gateway: gateway_process.Gateway) -> list[str]:
    """Pages that move."""
    client: Client = gateway.client
    (model,) = client.listing("/models")
    project = f"/projects/{model['project']['id']}"
    at = f"{project}/models/{model['id']}"
    of_model = [f"{at}{tab}" for tab in ("", "/deployments", "/builds", "/monitoring")]
    return ["/", "/projects", "/models", project, "/admin/models", *of_model]


@contextmanager
def _following(
    gateway: gateway_process.Gateway,
    cookies: Sequence[str],
    addresses: Sequence[str],
    count: int,
) -> Iterator["subprocess.Popen[bytes]"]:
    """So many pages are open. The process reads them until its standard input ends, and prints how
    many regions came."""
    with ExitStack() as stack:
        streams = []
        for number in range(count):
            path = f"/events?page={quote(addresses[number % len(addresses)])}"
            headers = {"Cookie": cookies[number // EACH], "Accept": "text/event-stream"}
            target = Target(host=gateway.host, port=gateway.port, path=path, headers=headers)
            stream = socket.create_connection((gateway.host, gateway.port), 30)
            streams.append(stack.enter_context(stream))
            stream.sendall(target.request())
            # Peeking leaves the bytes in the buffer.
            head = stream.recv(12, socket.MSG_PEEK)
            if head != b"HTTP/1.1 200":
                raise python.LoadFailed(f"page {number + 1} is refused: {head!r}")
        numbers = [stream.fileno() for stream in streams]
        reader = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", _READER, *map(str, numbers)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=numbers,
            )
        )
        stack.callback(reader.kill)
        yield reader


def _section(seen: dict[str, list[Turn]], pages: str) -> Section:
    merged = {what: Histogram.merged([each.latency for each in seen[what]]) for what in seen}
    rows: list[Row] = [
        {
            "beside": what,
            "answers": found.count,
            **found.percentiles(),
            "gateway": f"{100 * median(each.core for each in seen[what]):.1f} % of a core",
            "regions sent": f"{median(each.regions for each in seen[what]):.1f} /s",
        }
        for what, found in merged.items()
    ]
    goals = [
        Goal(
            what=f"{name} beside {pages} / beside {QUIET}",
            found=merged[pages].at(share) / merged[QUIET].at(share),
            bound=1.1,
        )
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]
    return Section(
        verb="open-pages",
        title="200 open pages that move, and one who calls a model",
        says=f"One caller sends {RATE:g} requests a second to a model that adds two numbers.",
        tables=[Table("Open loop", rows)],
        goals=goals,
    )
