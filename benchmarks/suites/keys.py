"""`keys`: what checking a caller's key costs a prediction, and what the time of a refusal reveals.

One gateway has one model and one replica; only authentication is turned off and on. The turns of
one caller last some milliseconds, since the cost is smaller than a shared machine's variation from
one second to the next. Each turn is compared with its neighbour. The turns of 16 callers last a
second.

Then refusals: a wrong secret for an existing key, an unknown key, an expired one, a revoked one, in
random order on one connection. No two requests are equal, so none is cached. A caller could tell
the kinds apart if their times differ by more than chance: Welch's t of each against the unknown
ones, without the slowest tenth; a value beyond 4.5 counts as a difference.
"""

import gc
import math
import random
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from statistics import fmean, median, variance

import msgspec

from benchmarks import gateway_process, servers
from benchmarks.load import closed
from benchmarks.load.closed import Capacity
from benchmarks.load.python import LoadFailed
from benchmarks.load.spec import Target
from benchmarks.plan import Plan
from benchmarks.report.record import Bars, Goal, Row, Section, Table, spread
from gateway.client import Json

CALLERS = 16
OPEN, KEYED = "no key asked for", "key looked at"
# Requests in a turn of one caller. The change has emptied the caches for the first of them.
BURST, FIRST = 60, 20
PAIRS_A_SECOND = 40
TURN_SECONDS = 1.0
UNKNOWN = "unknown key"
REFUSALS_A_SECOND = 500
TELLS = 4.5

Times = dict[str, list[float]]


def run(plan: Plan) -> Section:
    with gateway_process.started() as gateway:
        [access_key] = gateway.deploy("add", "add")
        door = Door(gateway, access_key)
        pairs = _pairs(door, plan)
        turns = _turns(door, plan)
        refusals = _refusals(door, plan)
    return _section(pairs, turns, refusals)


class Door:
    """The one model, and its caller."""

    def __init__(self, gateway: gateway_process.Gateway, access_key: str) -> None:
        self._client = gateway.client
        [model] = self._client.listing("/models")
        self._model = f"/projects/{model['project']['id']}/models/{model['id']}"
        self.open = gateway.target(access_key, servers.REQUEST)
        self.keyed = self.sending(self.new_key()["api_key"])

    def asks_for_keys(self, asks: bool) -> None:
        self._client.patch(self._model, {"auth_enabled": asks})

    def new_key(self, expires: str = "") -> Json:
        return self._client.post("/users/admin/model_keys", {"expiry_date": expires})

    def revoke(self, key: Json) -> None:
        self._client.delete(f"/users/admin/model_keys/{key['key_id']}")

    def sending(self, key: str, **more: str) -> Target:
        """The call with this key."""
        headers = {"Authorization": f"Bearer {key}"} | more
        return msgspec.structs.replace(self.open, headers=headers)


def _pairs(door: Door, plan: Plan) -> Times:
    """The median of each turn with and without a key, in µs; neighbours have the same index."""
    count = round(PAIRS_A_SECOND * plan.seconds * plan.rounds)
    plan.say(f"{count} turns of 1 caller each way")
    found: Times = {OPEN: [], KEYED: []}
    ways = [(OPEN, door.open.request()), (KEYED, door.keyed.request())]
    with _connected(door.open) as connection:
        for number in range(count):
            for way, request in ways if number % 2 else ways[::-1]:
                door.asks_for_keys(way == KEYED)
                times = _timed(connection, [(way, request)] * BURST, 200)[way]
                found[way].append(median(times[FIRST:]))
    return found


def _turns(door: Door, plan: Plan) -> dict[str, list[Capacity]]:
    """The capacity for 16 callers in each turn."""
    found: dict[str, list[Capacity]] = {OPEN: [], KEYED: []}
    ways = [(OPEN, door.open), (KEYED, door.keyed)]
    for number in range(count := round(plan.rounds * plan.seconds / TURN_SECONDS)):
        plan.say(f"turn {number + 1} of {count}: {CALLERS} callers")
        for way, target in ways if number % 2 else ways[::-1]:
            door.asks_for_keys(way == KEYED)
            gateway_process.check(target, servers.ANSWER)
            found[way].append(closed.measure(target, CALLERS, TURN_SECONDS))
    return found


def _refusals(door: Door, plan: Plan) -> Times:
    """The time of each refusal, by kind, in microseconds."""
    plan.say("refusals")
    door.asks_for_keys(True)
    good, revoked = door.new_key(), door.new_key()
    door.revoke(revoked)
    soon = datetime.now(UTC) + timedelta(seconds=1)
    expired = door.new_key(soon.isoformat())["api_key"]
    gateway_process.wait(
        lambda: closed.ask(door.sending(expired))[0] == 401, 10, "the expiry of a key"
    )
    keys: dict[str, Callable[[], str]] = {
        UNKNOWN: lambda: f"{secrets.token_hex(32)}.{secrets.token_hex(32)}",
        "unknown key, once more": lambda: f"{secrets.token_hex(32)}.{secrets.token_hex(32)}",
        "wrong secret of a key there is": lambda: f"{good['key_id']}.{secrets.token_hex(32)}",
        "revoked key": lambda: str(revoked["api_key"]),
        "expired key": lambda: expired,
    }
    order = list(keys) * round(REFUSALS_A_SECOND * plan.seconds * plan.rounds)
    random.shuffle(order)
    # No head is sent twice, so none is cached.
    requests = [
        (kind, door.sending(keys[kind](), **{"X-Number": f"{number:08}"}).request())
        for number, kind in enumerate(order)
    ]
    with _connected(door.open) as connection:
        return _timed(connection, requests, 401)


@contextmanager
def _connected(target: Target) -> Iterator[socket.socket]:
    """The connection of one caller, without garbage collections meanwhile."""
    with socket.create_connection((target.host, target.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        gc.disable()
        try:
            yield connection
        finally:
            gc.enable()


def _timed(connection: socket.socket, requests: Iterable[tuple[str, bytes]], status: int) -> Times:
    """Sends one request after the other; returns the times by kind. Raises LoadFailed."""
    times: Times = {}
    right = f"HTTP/1.1 {status} ".encode()
    for kind, request in requests:
        began = time.perf_counter_ns()
        connection.sendall(request)
        answer = connection.recv(65536)
        times.setdefault(kind, []).append((time.perf_counter_ns() - began) / 1000)
        if not answer.startswith(right) or not answer.endswith(b"}"):
            raise LoadFailed(f"{kind}: {answer[:300]!r}")
    return times


def _section(pairs: Times, turns: dict[str, list[Capacity]], refusals: Times) -> Section:
    unknown = _trimmed(refusals[UNKNOWN])
    told = {kind: _welch(_trimmed(each), unknown) for kind, each in refusals.items()}
    neighbours = zip(pairs[KEYED], pairs[OPEN], strict=True)
    ratio = median(keyed / unkeyed for keyed, unkeyed in neighbours)
    return Section(
        verb="keys",
        title="what a caller's key costs, and what a refusal tells",
        says="One model with one replica; its authentication goes off and on.",
        tables=[
            Table("1 caller, closed loop", [_pair_row(way, each) for way, each in pairs.items()]),
            Table(
                f"{CALLERS} callers, closed loop",
                [_turn_row(way, each) for way, each in turns.items()],
            ),
            Table(
                "401 model.unauthorized, one caller",
                [_refusal_row(kind, each, *told[kind]) for kind, each in refusals.items()],
                says="Without the slowest tenth. A difference of `would tell` would have been told "
                "by so many requests.",
            ),
        ],
        pictures=[
            Bars(
                title="A refusal's time, by what was wrong with the key",
                unit="µs",
                values={kind: median(each) for kind, each in refusals.items()},
                says="All the same is best.",
            )
        ],
        goals=[
            Goal(what=f"p50, 1 caller, {KEYED} / {OPEN}", found=ratio, bound=1.03),
            Goal(
                what="Welch's |t| of refusals against unknown keys",
                found=max(abs(t) for t, _ in told.values()),
                bound=TELLS,
            ),
        ],
    )


def _pair_row(way: str, turns: Sequence[float]) -> Row:
    return {"way": way, "turns": len(turns), "p50_us": median(turns)}


def _turn_row(way: str, turns: Sequence[Capacity]) -> Row:
    rates = [turn.requests_per_second for turn in turns]
    return {
        "way": way,
        "requests_per_second": median(rates),
        "p50_us": median(turn.p50_us for turn in turns),
        "spread": spread(rates),
    }


def _refusal_row(kind: str, each: list[float], t: float, error: float) -> Row:
    kept = _trimmed(each)
    return {
        "what came": kind,
        "requests": len(each),
        "p50_us": median(each),
        "mean_us": fmean(kept),
        "Welch's t": t,
        "would tell_us": TELLS * error,
    }


def _trimmed(times: Sequence[float]) -> list[float]:
    return sorted(times)[: len(times) * 9 // 10]


def _welch(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """The difference of the means in standard errors, and that error."""
    error = math.sqrt(variance(one) / len(one) + variance(other) / len(other))
    return (fmean(one) - fmean(other)) / error, error
