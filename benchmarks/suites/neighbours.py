"""`neighbours`: what a caller notices when another model is followed, killed and overloaded.

One caller calls a model at a steady rate. Beside it, in turns with nothing: a thousand followers of
a silent log, a thousand that do not read a growing log, requests that each end a replica, and a
model that forks without end.
"""

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from benchmarks import gateway_process
from benchmarks.load import python
from benchmarks.load.histogram import Histogram
from benchmarks.load.spec import Load, Target
from benchmarks.plan import Plan
from benchmarks.report.record import Goal, Row, Section, Table
from benchmarks.sampler import watching
from gateway.client import Client

FOLLOWERS = 1000
# One user may have fewer streams open at once, so there are several users.
EACH = 50
RATE = 200.0
STORM = 8
QUIET = "nothing"
# Time for followers to connect, and for a fork bomb to reach its limit.
SETTLE = 1.0


def run(plan: Plan) -> Section:
    _allow_descriptors()
    count = 100 if plan.quick else FOLLOWERS
    seen: dict[str, list[Histogram]] = {}
    idle: list[float] = []
    with gateway_process.started() as gateway:
        other = gateway.target(gateway.deploy("add", "add")[0], {"a": 3, "b": 5})
        gateway_process.check(other, 8)
        silent, chatty, dying, forking = gateway.deploy("neighbour", "behave", models=4)
        gateway_process.check(gateway.target(chatty, {"do": "print"}), "print")
        keys = _users(gateway, -(-count // EACH))
        besides: dict[str, Callable[[], AbstractContextManager[object]]] = {
            f"{count} followers of a silent log": lambda: _following(gateway, silent, keys, count),
            f"{count} followers that do not read": lambda: _following(gateway, chatty, keys, count),
            f"{STORM} callers that each end a replica": lambda: _dying(gateway, dying, plan),
            "a fork bomb": lambda: _forking(gateway, forking, plan),
        }
        for number in range(min(3, plan.rounds)):
            for name, beside in besides.items():
                for what, block in ((QUIET, nullcontext), (name, beside)):
                    plan.say(f"round {number + 1}: beside {what}")
                    with block():
                        time.sleep(SETTLE)
                        if "silent" in what:
                            idle.append(_cpu(gateway, plan.seconds))
                        load = Load(target=other, seconds=2 * plan.seconds, rate=RATE)
                        found = python.run(load)
                    if found.failed:
                        raise python.LoadFailed(f"{found.failed} requests failed beside {what}")
                    key = what if what != QUIET else f"{QUIET}, before {name}"
                    seen.setdefault(key, []).append(found.good)
    merged = {name: Histogram.merged(several) for name, several in seen.items()}
    return _section(merged, list(besides), sum(idle) / len(idle))


def _allow_descriptors() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _users(gateway: gateway_process.Gateway, count: int) -> list[str]:
    """The API keys of so many users who may view the project."""
    client: Client = gateway.client
    project = next(p for p in client.listing("/projects") if p["name"] == "neighbour")
    keys = []
    for number in range(count):
        name = f"follower-{number}"
        client.post("/users", {"username": name, "password": "a long password"})
        path = f"/projects/{project['id']}/collaborators/{name}"
        client.put(path, {"permission": "viewer"})
        keys.append(str(client.post(f"/users/{name}/v2_keys", {})["api_key"]))
    return keys


@contextmanager
def _following(
    gateway: gateway_process.Gateway, access_key: str, keys: list[str], count: int
) -> Iterator[None]:
    """So many clients that follow a model's log and read only the beginning of the response."""
    model = next(m for m in gateway.client.listing("/models") if m["access_key"] == access_key)
    path = f"/api/v2/projects/{model['project']['id']}/models/{model['id']}/logs?tail=1"
    sockets = []
    try:
        for number in range(count):
            headers = {"Authorization": f"Bearer {keys[number // EACH]}"}
            headers["Accept"] = "text/event-stream"
            target = Target(host=gateway.host, port=gateway.port, path=path, headers=headers)
            follower = socket.create_connection((gateway.host, gateway.port), 30)
            sockets.append(follower)
            follower.sendall(target.request())
            # Peeking leaves the bytes in the buffer.
            head = follower.recv(12, socket.MSG_PEEK)
            if head != b"HTTP/1.1 200":
                raise python.LoadFailed(f"follower {number + 1} is refused: {head!r}")
        yield
    finally:
        for follower in sockets:
            follower.close()


@contextmanager
def _dying(gateway: gateway_process.Gateway, access_key: str, plan: Plan) -> Iterator[None]:
    target = gateway.target(access_key, {"do": "die"})
    seconds = 2 * plan.seconds + 3 * SETTLE
    with python.running(
        Load(target=target, seconds=seconds, connections=STORM, patience=1.0, warm_up=0.0)
    ):
        yield


@contextmanager
def _forking(gateway: gateway_process.Gateway, access_key: str, plan: Plan) -> Iterator[None]:
    seconds = 2 * plan.seconds + 3 * SETTLE
    target = gateway.target(access_key, {"do": "fork", "seconds": seconds})
    with python.running(Load(target=target, seconds=0.1, connections=1, patience=1.0, warm_up=0.0)):
        yield


def _cpu(gateway: gateway_process.Gateway, seconds: float) -> float:
    """The share of a core that the gateway uses."""
    with watching({"gateway": [gateway.pid]}, every=None) as costs:
        time.sleep(seconds)
    return costs["gateway"].cpu_seconds / seconds


def _section(seen: dict[str, Histogram], besides: list[str], idle: float) -> Section:
    rows: list[Row] = [
        {"beside": name, "answers": found.count, **found.percentiles()}
        for name, found in seen.items()
    ]
    goals = [
        Goal(
            what=f"p99 beside {name} / beside nothing",
            found=seen[name].at(0.99) / seen[f"{QUIET}, before {name}"].at(0.99),
            bound=2.0,
        )
        for name in besides
    ]
    goals.append(Goal(what="of a core for the followers of a silent log", found=idle, bound=0.02))
    return Section(
        verb="neighbours",
        title="another model's followers, deaths and forks, and one who notices",
        says=f"One caller sends {RATE:g} requests a second to a model that adds two numbers.",
        tables=[Table("Open loop", rows)],
        goals=goals,
    )
