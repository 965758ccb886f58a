"""The progress of a build: a bar with the running step, its seconds, and what is left."""

from typing import Any

from gateway.cli.progress import BuildProgress, estimate_from

NAMES = ("SNAPSHOT", "ENVIRONMENT", "BUILD_SCRIPT", "PROBE", "SEAL")


def steps(*states: str) -> list[dict[str, Any]]:
    padded = (*states, *["waiting"] * (len(NAMES) - len(states)))
    return [
        {"name": name, "state": state, "seconds": None}
        for name, state in zip(NAMES, padded, strict=True)
    ]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_bar_follows_the_seconds_of_the_last_build() -> None:
    """The part that is filled is the time that has passed of the time that the last build took."""
    clock = Clock()
    progress = BuildProgress("build 2", {"BUILD_SCRIPT": 18.0, "PROBE": 2.0}, clock)
    progress.update(steps("done", "done", "running"))
    clock.now += 10
    assert str(progress) == "build 2  ██████████░░░░░░░░░░  build script 10 s, about 10 s left"
    clock.now += 10
    assert str(progress) == "build 2  ██████████████████░░  build script 20 s, 18 s last time"
    progress.update(steps("done", "done", "done", "running"))
    clock.now += 1
    assert str(progress) == "build 2  ███████████████████░  probe 1 s, about 1 s left"


def test_failed_build_is_ending() -> None:
    """Its processes end and its files are removed; the bar does not jump to its end."""
    clock = Clock()
    progress = BuildProgress("build 2", {"BUILD_SCRIPT": 18.0, "PROBE": 2.0}, clock)
    progress.update(steps("done", "done", "running"))
    clock.now += 10
    progress.update(steps("done", "done", "failed"))
    assert str(progress) == "build 2  ░░░░░░░░░░░░░░░░░░░░  ending 0 s"


def test_bar_of_a_first_build_counts_steps() -> None:
    """Without an earlier build there is no estimate."""
    clock = Clock()
    progress = BuildProgress("build 1", {}, clock)
    assert str(progress) == "build 1  ░░░░░░░░░░░░░░░░░░░░  waiting 0 s"
    progress.update(steps("done", "done", "running"))
    clock.now += 3
    assert str(progress) == "build 1  ████████░░░░░░░░░░░░  build script 3 s"


def test_estimate_is_of_the_last_build_that_succeeded() -> None:
    """A build that failed early says nothing of how long a whole one takes."""
    built = {"status": "built", "steps": [{"name": "PROBE", "state": "done", "seconds": 1.5}]}
    failed = {"status": "build failed", "steps": []}
    assert estimate_from([built, failed]) == {"PROBE": 1.5}
    assert estimate_from([failed]) == {}
