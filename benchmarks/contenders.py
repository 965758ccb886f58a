"""Who is compared: predictd, and the peers and floors of `peers/`, all started the same way."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import rig
from benchmarks.contest import Contender, Entrant
from benchmarks.load.spec import Target
from benchmarks.peers.catalogue import PEERS, Peer

OURS = "predictd"
NGINX = "nginx"
REQUEST = {"a": 3, "b": 5}
ANSWER = 8


def ours() -> Contender:
    """A real gateway with `add` and one replica, everything on."""
    return Contender(name=OURS, isolation="process", start=_start_ours)


def peers(cache: Path, *, only: str = "") -> list[Contender]:
    """All peers and floors, or the one of that key."""
    chosen = [peer for key, peer in PEERS.items() if only in ("", key)]
    return [_peer(peer, cache) for peer in chosen]


@contextmanager
def _start_ours() -> Iterator[Entrant]:
    with rig.gateway() as gateway:
        [key] = gateway.deploy("add", "add")
        target = gateway.target(key, REQUEST)
        rig.check(target, ANSWER)
        yield Entrant(target=target, roles=gateway.roles)


def _peer(peer: Peer, cache: Path) -> Contender:
    @contextmanager
    def start() -> Iterator[Entrant]:
        with peer.started(cache) as served:
            target = Target(
                host=served.url_host,
                port=served.port,
                path=served.path,
                body=served.body,
                headers=dict(served.headers),
            )
            yield Entrant(target=target, roles={"server": list(served.pids)})

    return Contender(name=peer.name, isolation=peer.isolation, start=start)
