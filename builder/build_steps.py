"""The steps of a build: six named steps, each with a state and its times.

A `BuildSteps` never changes: every event returns a new one, so a listener keeps what it was given.
The table `NEXT` has the allowed events; any other raises `IllegalStep` and changes nothing.

    waiting --start--> running --finish--> done
                          |-----fail-----> failed
                          `-----skip-----> skipped
"""

from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

SNAPSHOT = "SNAPSHOT"
CHECK = "CHECK"
ENVIRONMENT = "ENVIRONMENT"
BUILD_SCRIPT = "BUILD_SCRIPT"
PROBE = "PROBE"
SEAL = "SEAL"
STEPS = (SNAPSHOT, CHECK, ENVIRONMENT, BUILD_SCRIPT, PROBE, SEAL)

State = Literal["waiting", "running", "done", "failed", "skipped"]
Event = Literal["start", "finish", "fail", "skip"]

NEXT: dict[tuple[State, Event], State] = {
    ("waiting", "start"): "running",
    ("running", "finish"): "done",
    ("running", "fail"): "failed",
    ("running", "skip"): "skipped",
}


class IllegalStep(Exception):
    """The state of a step does not allow the event."""


class BuildStep(Struct, frozen=True):
    """One step. `started_at` is a time as `now` writes it; `seconds` is how long the step took."""

    name: str
    state: State = "waiting"
    started_at: str | None = None
    seconds: float | None = None


class BuildSteps(Struct, frozen=True):
    """All steps of one build, in their order."""

    steps: tuple[BuildStep, ...] = tuple(map(BuildStep, STEPS))

    def __getitem__(self, name: str) -> BuildStep:
        return next(step for step in self.steps if step.name == name)

    def start(self, name: str, at: str) -> "BuildSteps":
        return self._after(name, "start", started_at=at)

    def finish(self, name: str, seconds: float) -> "BuildSteps":
        return self._after(name, "finish", seconds=seconds)

    def fail(self, name: str, seconds: float) -> "BuildSteps":
        return self._after(name, "fail", seconds=seconds)

    def skip(self, name: str) -> "BuildSteps":
        return self._after(name, "skip")

    def _after(self, name: str, event: Event, **times: str | float) -> "BuildSteps":
        step = self[name]
        state = NEXT.get((step.state, event))
        if state is None:
            raise IllegalStep(f"{name} is {step.state}: it cannot {event}")
        taken = replace(step, state=state, **times)
        return BuildSteps(tuple(taken if each is step else each for each in self.steps))


# Where `build` starts from with a snapshot that is not checked, as in a rebuild.
SNAPSHOT_TAKEN = BuildSteps(
    (BuildStep(SNAPSHOT, "done"), BuildStep(CHECK, "skipped"), *map(BuildStep, STEPS[2:]))
)


def now() -> str:
    """Return the time as records write it: `2026-11-21T02:35:00.123456Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
