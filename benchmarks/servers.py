"""The servers that are compared: predictd, peers and floors, all started the same way."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks import gateway_process
from benchmarks.comparison import RunningServer, Server
from benchmarks.load.spec import Target
from benchmarks.peers.catalogue import PEERS, PLUMBER, Peer

OURS = "predictd"
NGINX = PEERS["nginx"].name
REQUEST = {"a": 3, "b": 5}
ANSWER = 8


def ours(name: str = OURS, file: str = "add.py") -> Server:
    """A real gateway with `add` and one replica, and every feature on."""
    return Server(name=name, isolation="process", start=partial(_start_ours, file))


def peers(cache: Path) -> list[Server]:
    """All peers and floors."""
    return [_peer(peer, cache) for peer in PEERS.values()]


def plumber(cache: Path) -> Server:
    """The server of functions of R."""
    return _peer(PLUMBER, cache)


def nginx(cache: Path) -> Server:
    """The floor of HTTP."""
    return _peer(PEERS["nginx"], cache)


@contextmanager
def _start_ours(file: str) -> Iterator[RunningServer]:
    with tempfile.TemporaryDirectory(prefix="predictd-benchmark-") as folder:
        data = Path(folder) / "data"
        with gateway_process.started_on(data) as gateway:
            [key] = gateway.deploy("add", "add", file=file)
        # A second start, with a built model: the environments of peers are made before, too.
        began = time.monotonic()
        with gateway_process.started_on(data) as gateway:
            target = gateway.target(key, REQUEST)
            gateway_process.check(target, ANSWER)
            seconds = time.monotonic() - began
            yield RunningServer(target=target, roles=gateway.roles, seconds_to_answer=seconds)


def _peer(peer: Peer, cache: Path) -> Server:
    @contextmanager
    def start() -> Iterator[RunningServer]:
        with peer.started(cache) as served:
            target = Target(
                host=served.host,
                port=served.port,
                path=served.path,
                body=served.body,
                headers=dict(served.headers),
            )
            yield RunningServer(
                target=target,
                roles={"server": served.pids},
                seconds_to_answer=served.seconds_to_answer,
            )

    return Server(name=peer.name, isolation=peer.isolation, start=start)
