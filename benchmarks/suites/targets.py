"""The goals of predictd, as bounds on the results of one run. All are ratios within a run, times
that a contract names, or memory."""

from collections.abc import Mapping

from benchmarks.comparison import Result
from benchmarks.report.record import Goal
from benchmarks.servers import NGINX, OURS

# Throughput with 16 callers, as a multiple of the peer's.
THROUGHPUT = {
    "uWSGI": 2.0,
    "Granian": 2.0,
    "FastAPI": 8.0,
    "LitServe": 30.0,
    "BentoML": 75.0,
    "MLServer": 75.0,
    "MLflow": 75.0,
}


def latency(results: Mapping[str, Result], pipe_us: float) -> list[Goal]:
    """The latency of one caller, against the floors, and its p99 against its p50."""
    ours = results[OURS]
    p50, p99 = ours.median_of(1, "p50_us"), ours.median_of(1, "p99_us")
    nginx = results[NGINX].median_of(1, "p50_us") if NGINX in results else None
    return [
        Goal(
            what="p50, 1 caller / (nginx's static reply + a pipe's round trip)",
            found=divided(p50, nginx + pipe_us if nginx else None),
            bound=2.0,
            why_not="nginx was not measured" if p50 else "predictd failed",
        ),
        Goal(what="p99 / p50, 1 caller", found=divided(p99, p50), bound=2.0),
    ]


def against_peers(results: Mapping[str, Result]) -> list[Goal]:
    """The goals against the peers."""
    ours = results[OURS]
    uwsgi = _named(results, "uWSGI")
    uwsgi_p50 = uwsgi.median_of(1, "p50_us") if uwsgi else None
    goals = [
        Goal(
            what="p50, 1 caller / uWSGI's, which isolates nothing",
            found=divided(ours.median_of(1, "p50_us"), uwsgi_p50),
            bound=0.75,
            why_not=_why_not(uwsgi),
        )
    ]
    for name, bound in THROUGHPUT.items():
        peer = _named(results, name)
        mine = ours.median_of(16, "requests_per_second")
        theirs = peer.median_of(16, "requests_per_second") if peer else None
        goals.append(
            Goal(
                what=f"throughput, 16 callers / {name}'s",
                found=divided(mine, theirs),
                bound=bound,
                sense=">=",
                why_not=_why_not(peer),
            )
        )
    return goals


def divided(above: float | None, below: float | None) -> float | None:
    """The quotient; None if one of them is not known."""
    return None if above is None or not below else above / below


def _named(results: Mapping[str, Result], name: str) -> Result | None:
    """Return the result of that name, with any suffix, as in "FastAPI on uvicorn"."""
    return next((r for n, r in results.items() if is_named(n, name)), None)


def is_named(server: str, name: str) -> bool:
    return server == name or server.startswith(f"{name} on ")


def _why_not(peer: Result | None) -> str:
    if peer is None:
        return "not in this run"
    return f"{peer.name} failed" if peer.failed else "predictd failed"
