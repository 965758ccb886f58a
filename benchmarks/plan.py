"""How long and how often each verb measures."""

import os
import sys
from pathlib import Path

import msgspec


def default_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "predictd-benchmarks"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds` a point is measured, in each of `rounds`; servers take turns within a round.

    A quick run shows that everything works; do not quote its figures. Peers stay installed in
    `cache` between runs.
    """

    quick: bool = False
    seconds: float = 4.0
    rounds: int = 5
    cache: Path = msgspec.field(default_factory=default_cache)

    def with_rounds(self, rounds: int) -> "Plan":
        return msgspec.structs.replace(self, rounds=rounds)

    def say(self, what: str) -> None:
        """Print progress on stderr."""
        print(f"... {what}", file=sys.stderr, flush=True)


def quick(plan: Plan) -> Plan:
    return msgspec.structs.replace(plan, quick=True, seconds=1.0, rounds=2)
