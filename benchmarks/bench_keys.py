"""`keys`: what looking at a caller's key costs a prediction, and what a refusal's time tells.

One model, one replica, one gateway: authentication goes off and on between the turns, so nothing
else differs. A turn is short and they alternate, since what is to be found is less than a shared
machine wavers from one second to the next; each turn is held against the one before it.

Then refusals: a wrong secret for a key there is, an unknown key, an expired one, a revoked one, in
random order on one connection, no two requests alike, so that none is remembered. Who measures from
outside learns which it was if their times differ by more than chance: Welch's t of each against
the unknown ones, without the slowest tenth; beyond 4.5 is held to tell.
"""

import math
import random
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from statistics import fmean, median, variance

import msgspec

from benchmarks import contenders, rig
from benchmarks.load import closed
from benchmarks.load.closed import Capacity
from benchmarks.load.own import LoadFailed
from benchmarks.load.spec import Target
from benchmarks.plan import Plan
from benchmarks.report.record import Bars, Goal, Row, Section, Table, spread
from gateway.client import Json

CALLERS = (1, 16)
OPEN, KEYED = "no key asked for", "key looked at"
TURN_SECONDS = 1.0
UNKNOWN = "unknown key"
REFUSED = 401
REFUSALS_A_SECOND = 500
TELLS = 4.5


def run(plan: Plan) -> Section:
    with rig.gateway() as gateway:
        [access_key] = gateway.deploy("add", "add")
        door = Door(gateway, access_key)
        found = _cost(door, plan)
        times = _refusals(door, plan)
    return _section(found, times)


class Door:
    """The one model, and who calls it."""

    def __init__(self, gateway: rig.Gateway, access_key: str) -> None:
        self._client = gateway.client
        [model] = self._client.listing("/models")
        self._model = f"/projects/{model['project']['id']}/models/{model['id']}"
        self.open = gateway.target(access_key, contenders.REQUEST)
        self.keyed = self.sending(self.new_key()["api_key"])

    def asks_for_keys(self, asks: bool) -> None:
        self._client.patch(self._model, {"auth_enabled": asks})

    def new_key(self, expires: str = "") -> Json:
        return self._client.post("/users/admin/model_keys", {"expiry_date": expires})

    def revoke(self, key: Json) -> None:
        self._client.delete(f"/users/admin/model_keys/{key['key_id']}")

    def sending(self, key: str, **more: str) -> Target:
        """The same call with a key."""
        headers = {"Authorization": f"Bearer {key}"} | more
        return msgspec.structs.replace(self.open, headers=headers)


def _cost(door: Door, plan: Plan) -> dict[tuple[str, int], list[Capacity]]:
    """What each way gave in each turn, by callers."""
    found: dict[tuple[str, int], list[Capacity]] = {}
    ways = [(OPEN, door.open), (KEYED, door.keyed)]
    for number in range(_turns(plan)):
        plan.say(f"turn {number + 1} of {_turns(plan)}: {OPEN}, {KEYED}")
        for callers in CALLERS:
            # There and back: what drifts is on neither side.
            for way, target in ways if number % 2 else reversed(ways):
                door.asks_for_keys(way == KEYED)
                rig.check(target, contenders.ANSWER)
                found.setdefault((way, callers), []).append(
                    closed.measure(target, callers, TURN_SECONDS)
                )
    return found


def _turns(plan: Plan) -> int:
    return round(plan.rounds * plan.seconds / TURN_SECONDS)


def _refusals(door: Door, plan: Plan) -> dict[str, list[float]]:
    """How long each refusal of each kind took, in microseconds."""
    plan.say("refusals")
    door.asks_for_keys(True)
    good, revoked = door.new_key(), door.new_key()
    door.revoke(revoked)
    soon = datetime.now(UTC) + timedelta(seconds=1)
    expired = door.new_key(soon.isoformat())["api_key"]
    rig.wait(lambda: closed.ask(door.sending(expired))[0] == REFUSED, 10, "the expiry of a key")
    keys: dict[str, Callable[[], str]] = {
        UNKNOWN: lambda: f"{secrets.token_hex(32)}.{secrets.token_hex(32)}",
        "unknown key, once more": lambda: f"{secrets.token_hex(32)}.{secrets.token_hex(32)}",
        "wrong secret of a key there is": lambda: f"{good['key_id']}.{secrets.token_hex(32)}",
        "revoked key": lambda: str(revoked["api_key"]),
        "expired key": lambda: expired,
    }
    each = round(REFUSALS_A_SECOND * plan.seconds * plan.rounds)
    order = [kind for kind in keys for _ in range(each)]
    random.shuffle(order)
    times: dict[str, list[float]] = {kind: [] for kind in keys}
    with socket.create_connection((door.open.host, door.open.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, kind in enumerate(order):
            # No head comes twice, so none is remembered.
            request = door.sending(keys[kind](), **{"X-Number": f"{number:08}"}).request()
            began = time.perf_counter_ns()
            connection.sendall(request)
            answer = connection.recv(65536)
            times[kind].append((time.perf_counter_ns() - began) / 1000)
            if not answer.startswith(b"HTTP/1.1 401 ") or not answer.endswith(b"}"):
                raise LoadFailed(f"{kind}: {answer[:300]!r}")
    return times


def _section(
    found: dict[tuple[str, int], list[Capacity]], times: dict[str, list[float]]
) -> Section:
    unknown = _trimmed(times[UNKNOWN])
    told = {kind: _welch(_trimmed(each), unknown) for kind, each in times.items()}
    most = max(abs(t) for t, _ in told.values())
    return Section(
        verb="keys",
        title="what a caller's key costs, and what a refusal tells",
        says="One replica; authentication goes off and on between turns of a second. Ratios are "
        "those of neighbouring turns.",
        tables=[
            *(_cost_table(found, callers) for callers in CALLERS),
            Table(
                "401 model.unauthorized, one caller",
                [_refusal_row(kind, each, *told[kind]) for kind, each in times.items()],
                says="Without the slowest tenth. A difference of `would tell` would have been told "
                "by so many requests.",
            ),
        ],
        pictures=[
            Bars(
                title="A refusal's time, by what was wrong with the key",
                unit="µs",
                values={kind: median(each) for kind, each in times.items()},
                says="All the same is best.",
            )
        ],
        goals=[
            *(
                Goal(
                    what=f"p50, {_named(callers)}, {KEYED} / {OPEN}",
                    found=_ratio(found, callers),
                    bound=1.03,
                )
                for callers in CALLERS
            ),
            Goal(what="Welch's |t| of refusals against unknown keys", found=most, bound=TELLS),
        ],
    )


def _cost_table(found: dict[tuple[str, int], list[Capacity]], callers: int) -> Table:
    rows: list[Row] = []
    for way in (OPEN, KEYED):
        turns = found[way, callers]
        rows.append(
            {
                "way": way,
                "requests_per_second": median(turn.requests_per_second for turn in turns),
                "p50_us": median(turn.p50_us for turn in turns),
                "p99_us": median(turn.p99_us for turn in turns),
                "spread": spread([turn.p50_us for turn in turns]),
            }
        )
    return Table(f"{_named(callers)}, closed loop", rows)


def _ratio(found: dict[tuple[str, int], list[Capacity]], callers: int) -> float:
    pairs = zip(found[KEYED, callers], found[OPEN, callers], strict=True)
    return median(keyed.p50_us / unkeyed.p50_us for keyed, unkeyed in pairs)


def _named(callers: int) -> str:
    return f"{callers} caller{'s' if callers > 1 else ''}"


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
    """How many standard errors the means are apart, and that error."""
    error = math.sqrt(variance(one) / len(one) + variance(other) / len(other))
    return (fmean(one) - fmean(other)) / error, error
