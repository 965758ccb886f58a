"""The progress of a build on one line: a bar, the step that runs, its seconds, what is left.

The estimate is the last successful build of the model: its seconds for each step. Without one the
bar counts steps. A step that takes longer than last time says so, and the bar waits for it.
"""

import time
from collections.abc import Callable, Sequence

from gateway.client import Json

_WIDTH = 20
_ENDED = ("done", "skipped", "failed")


class BuildProgress:
    """`str()` is the line as of now. `estimate` has the seconds of each step, by its name."""

    def __init__(
        self, label: str, estimate: dict[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._label = label
        self._estimate = estimate
        self._clock = clock
        self._steps: Sequence[Json] = ()
        self._running = ""
        self._since = clock()

    def update(self, steps: Sequence[Json]) -> None:
        """Takes the steps of the build as they are now."""
        self._steps = steps
        running = next((each["name"] for each in steps if each["state"] == "running"), "")
        if running != self._running:
            self._running, self._since = running, self._clock()

    def __str__(self) -> str:
        what = title(self._running) if self._running else self._between()
        seconds = self._clock() - self._since
        return f"{self._label}  {self._bar()}  {what} {seconds:.0f} s{self._left()}"

    def _between(self) -> str:
        has_failed = any(each["state"] == "failed" for each in self._steps)
        return "ending" if has_failed else "waiting"

    def _bar(self) -> str:
        filled = round(_WIDTH * self._fraction())
        return "█" * filled + "░" * (_WIDTH - filled)

    def _fraction(self) -> float:
        """How much of the build is done, as far as the estimate knows."""
        if not self._steps:
            return 0.0
        if not self._estimate:
            return sum(each["state"] in _ENDED for each in self._steps) / len(self._steps)
        total = sum(map(self._estimated, self._steps))
        return min(1.0, 1 - self._seconds_left() / total) if total else 0.0

    def _seconds_left(self) -> float:
        left = 0.0
        for each in self._steps:
            if each["state"] in ("waiting", "failed"):
                left += self._estimated(each)
            elif each["state"] == "running":
                left += max(0.0, self._estimated(each) - (self._clock() - self._since))
        return left

    def _estimated(self, step: Json) -> float:
        return self._estimate.get(step["name"], 0.0)

    def _left(self) -> str:
        if not self._estimate or not self._running:
            return ""
        last = self._estimate.get(self._running, 0.0)
        if self._clock() - self._since > last + 1:
            return f", {last:.0f} s last time"
        return f", about {self._seconds_left():.0f} s left"


def estimate_from(builds: Sequence[Json]) -> dict[str, float]:
    """The seconds of each step of the last successful build; {} if there is none."""
    for build in reversed(builds):
        if build["status"] == "built":
            steps = build.get("steps", ())
            return {each["name"]: each["seconds"] for each in steps if each["seconds"]}
    return {}


def title(step: str) -> str:
    """A step as users read it: `build script`."""
    return step.replace("_", " ").lower()
